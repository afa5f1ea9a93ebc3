"""CIFAR-10: small photographs of ten classes."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from unshuffle import _check
from unshuffle.data.bounded import read_bounded
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.packed import arrays, only_images, opened
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

SHAPE = (
    "data_batch_1.bin to data_batch_5.bin and test_batch.bin (the binary version; the Python version is pickled, and "
    "pickles are never loaded), or cifar10_jpeg_train.npz and cifar10_jpeg_test.npz"
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD = 1 + 3 * 32 * 32


@register
@dataclass(frozen=True)
class CIFAR10:
    """Photographs of 32 × 32 pixels; ``--source.size 32`` reads them as they are.

    Layout: the binary version's batches; or ``cifar10_jpeg_train.npz`` and ``cifar10_jpeg_test.npz``, each with all
    files of a part one after another as bytes (``data``), where each begins and the last ends (``offset``), and
    ``label``.
    Size: 50,000 and 10,000 images; 170 MB. From: https://www.cs.toronto.edu/~kriz/cifar.html

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("CIFAR10", "split", self.split, ("train", "test"))

    def tested(self) -> CIFAR10 | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> Pixels:
        """The images of this part, in memory.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is damaged, or ``items`` reads no images.
        """
        source = only_images("CIFAR10", items)
        with opened(root, f"cifar10_jpeg_{self.split}.npz") as packed:
            if packed is not None:
                pixels, labels = _decoded(arrays(packed, ("data", "offset", "label"), root), root)
                return Pixels(pixels, labels, CLASSES, source, name="cifar10")
        tree = Tree(root, (".bin",), name="CIFAR-10", shape=SHAPE)
        batches = [f"data_batch_{k}.bin" for k in range(1, 6)] if self.split == "train" else ["test_batch.bin"]
        base = tree.base(batches[0])
        records = np.concatenate([_records(tree, base + batch) for batch in batches])
        pixels = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
        return Pixels(pixels, records[:, 0], CLASSES, source, name="cifar10")


def _records(tree: Tree, name: str) -> np.ndarray:
    """(N, 3073) bytes: a label, then red, green and blue row by row."""
    if name not in tree.place:
        raise tree.missing(name)
    with tree.files.open(tree.place[name]) as file:
        content = np.frombuffer(read_bounded(file, name), np.uint8)
    if not len(content) or len(content) % RECORD or content[::RECORD].max() >= len(CLASSES):
        raise ValueError(
            f"{name} holds no whole records of {RECORD:,} bytes, a label and 32 x 32 pixels; fetch it again."
        )
    return content.reshape(-1, RECORD)


def _decoded(packed: dict[str, np.ndarray], root: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Image files that lie one after another in an array of bytes, as pixels, and their labels."""
    data, offset, labels = packed.values()
    if data.dtype != np.uint8 or offset.shape != (len(labels) + 1,) or not len(labels):
        raise ValueError(
            f"{str(root)!r}: `offset` must hold one number more than `label`, and `data` bytes; got {offset.shape}, "
            f"{labels.shape} and {data.dtype}."
        )
    pixels = np.empty((len(labels), 32, 32, 3), np.uint8)
    for k, (start, end) in enumerate(pairwise(offset)):
        pixels[k] = _image(data[start:end], f"image {k} of {str(root)!r}")
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels


def _image(content: np.ndarray, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content.tobytes())) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ValueError(f"{name} cannot be read ({error}); make the file again.") from error
    if pixels.shape != (32, 32, 3):
        raise ValueError(f"{name} must have 32 x 32 pixels; got {pixels.shape[0]} x {pixels.shape[1]}.")
    return pixels
