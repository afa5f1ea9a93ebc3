"""ImageNet (ILSVRC 2012) in folders by synset."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

SHAPE = "train/n01440764/*.JPEG and val/n01440764/*.JPEG, the validation images sorted into folders, too"
_NAME = re.compile(r"(.*/)?(train|val)/(n\d{8})/[^/]+", re.DOTALL)


@register
@dataclass(frozen=True)
class ImageNet:
    """Photographs of 1,000 kinds of things; any part of the synsets will do.

    Layout: ``{train,val}/{synset}/*.JPEG``. The training part is distributed as a tar of tars: unpack both. The
    validation images come in one folder: sort them into folders by synset first, as the script ``valprep.sh`` does that
    PyTorch's examples name.
    Size: 1,281,167 train and 50,000 val images; 138 GB and 6.3 GB.
    Licence: for research and teaching, by registration. From: https://image-net.org/download

    Labels are the synsets in the order of their names.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.
    """

    split: Literal["train", "val"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("ImageNet", "split", self.split, ("train", "val"))

    def tested(self) -> ImageNet | None:
        """``val``: the labels of ``test`` are not public."""
        return replace(self, split="val") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: there is none.
        """
        tree = Tree(root, (".jpeg", ".jpg"), name="ImageNet", shape=SHAPE)
        told = {name: match.group(2, 3) for name in tree.files.names if (match := _NAME.fullmatch(name))}
        classes = tuple(sorted({synset for _, synset in told.values()}))  # alike in both parts
        number = {synset: place for place, synset in enumerate(classes)}
        names = [name for name, (split, _) in told.items() if split == self.split]
        if not names:
            raise tree.missing(f"{self.split}/n…/*.JPEG")
        return tree.dataset(names, "", items, Labels(classes, [number[told[name][1]] for name in names]))
