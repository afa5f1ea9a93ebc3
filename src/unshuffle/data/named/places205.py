"""Places: photographs of scenes, on which features of ImageNet's are judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.transfer import listed
from unshuffle.values import register

SHAPE = "train_places205.csv and val_places205.csv, and the pictures at the paths that they list"
IMAGES = ("", "images256/", "data/vision/torralba/deeplearning/images256/")
"""Where the pictures may lie beside the lists; the last as they are packed."""


@register
@dataclass(frozen=True)
class Places205:
    """Scenes of 205 kinds.

    Layout: ``train_places205.csv`` and ``val_places205.csv``, each line a path such as ``a/abbey/gsun_1.jpg`` and the
    number of its class; the pictures below the same folder, or below ``images256`` there.
    Size: 2,448,873 and 20,500 images of 256 × 256 pixels; 130 GB. From: http://places.csail.mit.edu

    Source: Zhou et al., "Learning Deep Features for Scene Recognition using Places Database", NeurIPS 2014.
    """

    split: Literal["train", "val"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Places205", "split", self.split, ("train", "val"))

    def tested(self) -> Places205 | None:
        """``val``."""
        return replace(self, split="val") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: the list, or every image, is missing.
            ValueError: a line of the list is no path and number.
        """
        tree = Tree(root, (".jpg", ".csv"), name="Places205", shape=SHAPE)
        name = f"{self.split}_places205.csv"
        base = tree.base(name)
        rows = [row.rpartition(" ") for row in tree.text(base + name).splitlines() if row.strip()]
        if any(not path or not number.isdecimal() for path, _, number in rows):
            raise ValueError(f"{name} of {str(tree.root)!r} must hold a path and a number a line; fetch it again.")
        first = next((base + place for place in IMAGES if rows and base + place + rows[0][0] in tree.place), base)
        classes = [str(number) for number in range(1 + max((int(number) for _, _, number in rows), default=0))]
        return listed(tree, first, items, [(path, str(int(number))) for path, _, number in rows], classes)
