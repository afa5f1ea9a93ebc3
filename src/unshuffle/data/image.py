"""Images in folders and archives, with real decoders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from unshuffle._ranges import Margin, Pixels, Range
from unshuffle.data.files import FileDataset, called, find
from unshuffle.data.image_files import SUFFIXES, read_image
from unshuffle.data.image_modes import upright_rgb
from unshuffle.data.labels import found_labels
from unshuffle.data.loaders import as_item
from unshuffle.values import register

Pixel = Annotated[float, Range(-1e38, 1e38)]
"""Value of a pixel in a file."""


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
    background: Annotated[int, Range(0, 255)] = 255
    """Gray level behind transparent pixels, from 0 (black) to 255 (white)."""
    range: tuple[Pixel, Pixel] | None = None
    """Values that become black and white, for single channels of 16 or 32 bits and floats; values beyond are clipped.
    8-bit images stay as they are. None: 16 bits are divided by 256, and all whose range is unknown are refused."""
    max_pixels: Annotated[int, Range(1, 2**40)] | None = None
    """Largest image, width times height, that is decoded; None: Pillow's limit, 89,478,485."""

    noun: ClassVar[str] = "image"
    any_size: ClassVar[str] = "For pictures of any size give a list of PIL images."

    def __post_init__(self) -> None:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"Images: `range` must be two numbers, the lower one first; got {self.range}.")

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
            ValueError: it is no image, too small, or its values have no known range.
            Exception: it is damaged; decoders raise anything.
        """
        return read_image(file, self.prepare, max_pixels=self.max_pixels)

    def prepare(self, image: Image.Image) -> Tensor:
        """One picture as uint8, of ``item_shape``, turned upright as its EXIF data say.

        Raises:
            ValueError: it is smaller than ``smallest``, or its values have no known range.
        """
        if min(image.size) < self.smallest:
            raise ValueError(
                f"{image.size[0]} x {image.size[1]} pixels; at least {self.smallest} x {self.smallest} needed"
            )
        image.draft("RGB", (self.size, self.size))
        square = ImageOps.fit(self.rgb(image), (self.size, self.size), method=Image.Resampling.BICUBIC)
        if self.grey:
            return torch.from_numpy(np.array(square.convert("L"))).unsqueeze(0)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()

    def rgb(self, image: Image.Image) -> Image.Image:
        """One picture of any size in RGB, upright, transparent pixels on ``background``, values scaled by ``range``."""
        return upright_rgb(image, background=self.background, value_range=self.range)


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
        super().__init__(files, source.decode, source, found_labels(files), name=called(root))
