"""Data sets whose labels lie in MATLAB files: flowers, cars. Nothing in such a file is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.mat_files import read_mat
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.transfer import listed
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Flowers102:
    """Flowers of 102 kinds.

    Layout: ``jpg/image_00001.jpg`` and so on, ``imagelabels.mat`` and ``setid.mat`` beside that folder.
    Size: 2,040 (train and valid) and 6,149 images; 350 MB. From: https://www.robots.ox.ac.uk/~vgg/data/flowers/102

    Source: Nilsback & Zisserman, "Automated Flower Classification over a Large Number of Classes", ICVGIP 2008.
    """

    split: Literal["train", "test"] = "train"
    """Which part; train is the data set's train and valid."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Flowers102", "split", self.split, ("train", "test"))

    def tested(self) -> Flowers102 | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a table, or every image, is missing.
            ValueError: a table is damaged.
        """
        tree = Tree(root, (".jpg", ".mat"), name="Flowers-102", shape="jpg/*.jpg, imagelabels.mat and setid.mat")
        base = tree.base("setid.mat")
        labels = read_table(tree, f"{base}imagelabels.mat", "labels").ravel()
        parts = ("tstid",) if self.split == "test" else ("trnid", "valid")
        numbers = np.concatenate([read_table(tree, f"{base}setid.mat", part).ravel() for part in parts])
        classes = [str(k) for k in range(1, int(labels.max()) + 1)]
        pairs = [(f"jpg/image_{i:05}.jpg", str(labels[i - 1])) for i in numbers.tolist()]
        return listed(tree, base, items, pairs, classes)


@register
@dataclass(frozen=True)
class Cars:
    """Stanford Cars: 196 models.

    Layout: ``cars_train/*.jpg``, ``cars_test/*.jpg`` and ``devkit/{cars_meta, cars_train_annos,
    cars_test_annos_withlabels}.mat``; the last may also lie beside that folder, as it is distributed.
    Size: 8,144 and 8,041 images; 2 GB.

    Source: Krause et al., "3D Object Representations for Fine-Grained Categorization", ICCV workshops 2013.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Cars", "split", self.split, ("train", "test"))

    def tested(self) -> Cars | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a table, or every image, is missing.
            ValueError: a table is damaged.
        """
        tree = Tree(root, (".jpg", ".mat"), name="Stanford Cars", shape="cars_train/*.jpg and devkit/cars_meta.mat")
        base = tree.base("devkit/cars_meta.mat")
        name = "cars_train_annos.mat" if self.split == "train" else "cars_test_annos_withlabels.mat"
        path = next((x for x in (f"{base}devkit/{name}", base + name) if x in tree.place), f"{base}devkit/{name}")
        rows = read_table(tree, path, "annotations").ravel()
        names = read_table(tree, f"{base}devkit/cars_meta.mat", "class_names")
        classes = [str(np.ravel(one)[0]) for one in names.ravel()]
        pairs = [
            (f"cars_{self.split}/{np.ravel(row['fname'])[0]}", classes[int(np.ravel(row["class"])[0]) - 1])
            for row in rows
        ]
        return listed(tree, base, items, pairs, classes)


def read_table(tree: Tree, path: str, name: str) -> np.ndarray:
    """An array of a MATLAB file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or lacks the array.
    """
    if path not in tree.place:
        raise tree.missing(path)
    with tree.files.open(tree.place[path]) as file:
        return read_mat(file, [name], f"{path} of {str(tree.root)!r}")[name]
