"""CIFAR-100: small photographs of a hundred classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle.data.bounded import read_bounded
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.packed import only_images
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

SHAPE = (
    "cifar-100-binary/{train.bin, test.bin, fine_label_names.txt} (the binary version; the Python version is pickled, "
    "and pickles are never loaded)"
)
RECORD = 2 + 3 * 32 * 32


@register
@dataclass(frozen=True)
class CIFAR100:
    """Photographs of 32 × 32 pixels in a hundred classes; ``--source.size 32`` reads them as they are.

    Layout: the binary version's ``train.bin``, ``test.bin`` and ``fine_label_names.txt``.
    Size: 50,000 and 10,000 images; 160 MB. From: https://www.cs.toronto.edu/~kriz/cifar.html

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("CIFAR100", "split", self.split, ("train", "test"))

    def tested(self) -> CIFAR100 | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> Pixels:
        """The images of this part, in memory.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is damaged, or ``items`` reads no images.
        """
        source = only_images("CIFAR100", items)
        tree = Tree(root, (".bin", ".txt"), name="CIFAR-100", shape=SHAPE)
        base = tree.base("fine_label_names.txt")
        classes = tree.text(f"{base}fine_label_names.txt").split()
        name = f"{base}{self.split}.bin"
        if name not in tree.place:
            raise tree.missing(name)
        with tree.files.open(tree.place[name]) as file:
            content = np.frombuffer(read_bounded(file, name), np.uint8)
        if not len(content) or len(content) % RECORD or content[1::RECORD].max() >= len(classes):
            raise ValueError(f"{name} holds no whole records of {RECORD:,} bytes, two labels and 32 x 32 pixels.")
        records = content.reshape(-1, RECORD)
        pixels = records[:, 2:].copy().reshape(-1, 3, 32, 32)
        return Pixels(pixels, records[:, 1], classes, source, name="cifar100")
