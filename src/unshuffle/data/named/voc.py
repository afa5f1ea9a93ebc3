"""PASCAL VOC: photographs with several kinds of objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SHAPE = "JPEGImages/*.jpg and ImageSets/Main/{train.txt, aeroplane_train.txt, …}, as in VOCdevkit/VOC2012"
_JUDGED = {"1": 1, "-1": 0, "0": -1}


@register
@dataclass(frozen=True)
class VOC:
    """Photographs, each with any of 20 classes of objects in it (2007 to 2012 share the layout).

    Layout: ``VOCdevkit/VOC2012/{JPEGImages/*.jpg, ImageSets/Main/*.txt}``, below the folder or in the ``.tar`` as it is
    distributed; the lists say of each class and image 1 (there), -1 (not there) or 0 (difficult to see, not judged).
    Size: VOC 2012 has 5,717 train and 5,823 val images; 2 GB.
    Licence: photographs from Flickr under its terms; for research. From: http://host.robots.ox.ac.uk/pascal/VOC/voc2012

    Labels are an array (N, 20) of 1 (there), 0 (not there) and -1 (difficult: left out of the figures).

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015.
    """

    split: Literal["train", "val", "trainval"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("VOC", "split", self.split, ("train", "val", "trainval"))

    def tested(self) -> VOC | None:
        """``val``: the labels of ``test`` are not public."""
        return replace(self, split="val") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
            ValueError: a list is damaged, or there are several years.
        """
        tree = Tree(root, (".jpg", ".txt"), name="VOC", shape=SHAPE)
        main = f"ImageSets/Main/{self.split}.txt"
        base = tree.base(main, within=("VOC2012/", ""))  # of several years, that one is meant
        ids = tree.text(f"{base}{main}").split()
        labels = np.stack([self._column(tree, base, name, ids) for name in CLASSES], axis=1)
        names = [f"{base}JPEGImages/{i}.jpg" for i in ids]
        return tree.dataset(names, base, items, Labels(CLASSES, labels))

    def _column(self, tree: Tree, base: str, name: str, ids: list[str]) -> np.ndarray:
        """What is known of one class, image by image."""
        path = f"{base}ImageSets/Main/{name}_{self.split}.txt"
        words = tree.text(path).split()
        known = dict(zip(words[::2], words[1::2]))
        try:
            return np.array([_JUDGED[known[i]] for i in ids], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"{path} is damaged: no 1, -1 or 0 for image {error}.") from error
