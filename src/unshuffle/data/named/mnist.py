"""MNIST: handwritten digits."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle.data.bounded import LARGEST, RATIO, read_bounded
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.packed import arrays, only_images, opened
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

SHAPE = "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz and the two of t10k, or an mnist.npz"
_FILES = {"train": "train", "test": "t10k"}


@register
@dataclass(frozen=True)
class MNIST:
    """Handwritten digits, grey, 28 × 28 pixels; ``--source.size 28 --source.grey`` reads them as they are.

    Layout: the four idx files, gzipped or not, or an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``.
    Size: 60,000 and 10,000 images; 12 MB.
    From: http://yann.lecun.com/exdb/mnist/

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("MNIST", "split", self.split, ("train", "test"))

    def tested(self) -> MNIST | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> Pixels:
        """The images of this part, in memory.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is damaged, or ``items`` reads no images.
        """
        source = only_images("MNIST", items)
        with opened(root, "mnist.npz") as packed:
            if packed is not None:
                pixels, labels = arrays(packed, (f"x_{self.split}", f"y_{self.split}"), root).values()
                return _checked(pixels, labels, source, root)
        tree = Tree(root, ("ubyte", "ubyte.gz"), name="MNIST", shape=SHAPE)
        pixels, labels = (self._idx(tree, kind, axes) for kind, axes in (("images", 3), ("labels", 1)))
        return _checked(pixels, labels, source, root)

    def _idx(self, tree: Tree, kind: str, axes: int) -> np.ndarray:
        stem = f"{_FILES[self.split]}-{kind}"
        for name in tree.place:
            if name.rpartition("/")[2].replace(".idx", "-idx").removesuffix(".gz") == f"{stem}-idx{axes}-ubyte":
                with tree.files.open(tree.place[name]) as file:
                    return read_idx(read_bounded(file, name), name)
        raise tree.missing(f"{stem}-idx{axes}-ubyte.gz")


def read_idx(content: bytes, name: str) -> np.ndarray:
    """An array of bytes in the idx format: two zeros, the type (8), the number of axes, their lengths, the values.

    Raises:
        ValueError: it is not such a file, or cut short.
    """
    try:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                return _values(packed, len(content) * RATIO, name)
        return _values(io.BytesIO(content), len(content), name)
    except (struct.error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{name} is no idx file of bytes, or cut short ({error}); fetch it again.") from error


def _values(file: Any, most: int, name: str) -> np.ndarray:
    """The array in an idx file of which at most ``most`` bytes can be had."""
    zeros, kind, axes = struct.unpack(">HBB", file.read(4))
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    size = math.prod(shape)
    if (zeros, kind) != (0, 8):
        raise ValueError(f"{name} is no idx file of bytes, or cut short; fetch it again.")
    if size > min(most, LARGEST):
        raise ValueError(f"{name} is no idx file of bytes, or cut short: {size:,} bytes cannot be in it.")
    values = file.read(size + 1)  # one more would be too many; it also makes gzip compare its checksum
    if len(values) != size:
        raise ValueError(f"{name} is no idx file of bytes, or cut short; fetch it again.")
    return np.frombuffer(values, np.uint8).reshape(shape).copy()


def _checked(pixels: np.ndarray, labels: np.ndarray, source: Any, root: str | Path) -> Pixels:
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or labels.shape != (len(pixels),) or not len(pixels):
        raise ValueError(
            f"MNIST in {str(root)!r} must be bytes (N, height, width) with a label each; got images {pixels.shape} of "
            f"{pixels.dtype} and labels {labels.shape}."
        )
    return Pixels(pixels[:, None], labels, tuple("0123456789"), source, name="mnist")
