"""Images in folders and archives, with real decoders."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unshuffle._ranges import Margin, Pixels
from unshuffle.data.files import FileDataset, called, find
from unshuffle.data.labels import labels_of
from unshuffle.data.loaders import as_item
from unshuffle.values import register

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@register
@dataclass(frozen=True)
class Images:
    """How image files become samples: the short side is scaled to ``size``, the middle square is kept."""

    size: Pixels = 96
    """Pixels a side of the square that the network sees."""
    smallest: Margin = 16
    """Images with fewer pixels than this on a side are skipped and counted as unreadable."""
    grey: bool = False
    """Keep the brightness alone: one channel instead of three."""

    noun: ClassVar[str] = "image"
    any_size: ClassVar[str] = "For pictures of any size give a list of PIL images."

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """(3, size, size), or (1, size, size) where ``grey``."""
        return 1 if self.grey else 3, self.size, self.size

    def settle(self, root: str | Path) -> tuple[Images, list[str]]:
        """Itself: nothing is left open."""
        return self, []

    def as_item(self, sample: Any) -> Tensor:
        """A PIL image of any size, scaled and cropped; a tensor or an array as it is."""
        return self.prepare(sample) if hasattr(sample, "getbands") else as_item(sample)

    def open(self, root: str | Path) -> ImageFolder:
        """The images below ``root`` as a data set."""
        return ImageFolder(root, self)

    def decode(self, file: BinaryIO, name: str = "") -> Tensor:
        """One image file as uint8, of ``item_shape``.

        Raises:
            ValueError: it is no image, or too small.
            Exception: it is damaged; decoders raise anything.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF data and the like, one line a file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(file) as image:
                    return self.prepare(image)
            except UnidentifiedImageError:
                raise ValueError("not an image that can be identified") from None

    def prepare(self, image: Image.Image) -> Tensor:
        """One picture as uint8, of ``item_shape``, turned upright as its EXIF data say.

        Raises:
            ValueError: it is smaller than ``smallest``.
        """
        if min(image.size) < self.smallest:
            raise ValueError(
                f"{image.size[0]} x {image.size[1]} pixels; at least {self.smallest} x {self.smallest} needed"
            )
        image.draft("RGB", (self.size, self.size))
        upright = ImageOps.exif_transpose(image)
        square = ImageOps.fit(as_rgb(upright), (self.size, self.size), method=Image.Resampling.BICUBIC)
        if self.grey:
            return torch.from_numpy(np.array(square.convert("L"))).unsqueeze(0)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


class ImageFolder(FileDataset):
    """All images below a folder, or in a zip, a tar or tar shards, in the order of their paths; folders are labels.

    ``names`` are paths relative to the folder, ``classes`` the sub-folders' names (empty where images lie flat).
    Files that cannot be read come back as :class:`Unreadable`; the loaders count and skip them.

    Args:
        root: see :func:`~unshuffle.data.files.find`.
        source: how files become samples.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        NotADirectoryError: it is a file, but no archive.
        ValueError: the archive is damaged.
    """

    def __init__(self, root: str | Path, source: Images = Images()) -> None:
        files = find(root, SUFFIXES, what="image")
        super().__init__(files, source.decode, source, labels_of(files.names), name=called(root))


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB. Pillow alone would clip 16-bit grey to white and floats to black.

    Raises:
        ValueError: the pixels are floats, whose range is unknown.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown; store 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.array(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency would draw a warning
    return image.convert("RGB")
