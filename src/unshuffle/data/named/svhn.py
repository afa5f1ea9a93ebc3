"""SVHN: digits of house numbers, cropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.matlab import read_table
from unshuffle.data.named.packed import only_images
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

SHAPE = "train_32x32.mat, test_32x32.mat and, for the rest of the training images, extra_32x32.mat (cropped digits)"


@register
@dataclass(frozen=True)
class SVHN:
    """Digits of house numbers in photographs, 32 × 32 pixels; ``--source.size 32`` reads them as they are.

    Layout: the cropped digits' ``train_32x32.mat``, ``test_32x32.mat`` and ``extra_32x32.mat``, where 0 is class 10.
    Size: 73,257, 26,032 and 531,131 images; 182 MB, 64 MB and 1.3 GB.
    From: http://ufldl.stanford.edu/housenumbers

    Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
    """

    split: Literal["train", "extra", "test"] = "train"
    """Which part; extra: the further training images, which are easier."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("SVHN", "split", self.split, ("train", "extra", "test"))

    def tested(self) -> SVHN | None:
        """``test``."""
        return None if self.split == "test" else replace(self, split="test")

    def open(self, root: str | Path, items: Any) -> Pixels:
        """The images of this part, in memory.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is damaged, or ``items`` reads no images.
        """
        source, name = only_images("SVHN", items), f"{self.split}_32x32.mat"
        tree = Tree(root, (".mat",), name="SVHN", shape=SHAPE)
        path = tree.base(name) + name
        pixels, labels = read_table(tree, path, "X"), read_table(tree, path, "y").ravel()
        fits = pixels.ndim == 4 and pixels.shape[:3] == (32, 32, 3) and pixels.dtype == np.uint8
        if not (fits and len(labels) == pixels.shape[-1] > 0 and labels.min() >= 1 and labels.max() <= 10):
            raise ValueError(
                f"{path} must hold bytes `X` (32, 32, 3, N) and as many `y` from 1 to 10; got {pixels.shape} of "
                f"{pixels.dtype} and {len(labels)}. Fetch it again."
            )
        images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))
        return Pixels(images, labels.astype(np.int64) % 10, tuple("0123456789"), source, name="svhn")
