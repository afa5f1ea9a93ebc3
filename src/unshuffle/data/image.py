"""Images in folders, with real decoders, and labels from sub-folders where there are any."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle.data.loaders import Unreadable
from unshuffle.values import register

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@register
@dataclass(frozen=True)
class Images:
    """How image files become samples: the short side is scaled to ``size``, the middle square is kept."""

    size: int = 96
    """Pixels a side of the square that the network sees."""
    smallest: int = 16
    """Images with fewer pixels than this on a side are skipped and counted as unreadable."""

    def open(self, root: str | Path) -> ImageFolder:
        """The images below ``root`` as a data set."""
        return ImageFolder(root, self)

    def prepare(self, image: Image.Image) -> Tensor:
        """One picture as uint8 (3, size, size), turned upright as its EXIF data say.

        Raises:
            ValueError: it is smaller than ``smallest``.
        """
        if min(image.size) < self.smallest:
            raise ValueError(
                f"{image.size[0]} x {image.size[1]} pixels; at least {self.smallest} x {self.smallest} needed"
            )
        image.draft("RGB", (self.size, self.size))
        upright = ImageOps.exif_transpose(image)
        square = ImageOps.fit(_as_rgb(upright), (self.size, self.size), method=Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


class ImageFolder(Dataset):
    """All images below a folder, in the order of their paths; sub-folders of the first level are labels.

    ``names`` are paths relative to the folder, ``classes`` the sub-folders' names (empty where images lie flat).
    Files that cannot be read come back as :class:`Unreadable`; the loaders count and skip them.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        NotADirectoryError: it is a file.
    """

    def __init__(self, root: str | Path, source: Images = Images()) -> None:
        self.root, self.source = Path(root), source
        self.paths = _image_files(self.root)
        self.names = [p.relative_to(self.root).as_posix() for p in self.paths]
        self.name = self.root.resolve().name
        folders = [n.split("/")[0] if "/" in n else None for n in self.names]
        labelled = None not in folders and len(set(folders)) > 1
        self.classes: tuple[str, ...] = tuple(sorted({f for f in folders if f})) if labelled else ()
        self.labels = [self.classes.index(f) for f in folders if f] if labelled else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int | None] | Unreadable:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd EXIF data and the like, one line a file
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(self.paths[index]) as image:
                    item = self.source.prepare(image)
        except Exception as error:  # decoders raise anything on a damaged file: SyntaxError, struct.error, TypeError, …
            return Unreadable(self.names[index], _reason(error))
        return item, None if self.labels is None else self.labels[index]


def _as_rgb(image: Image.Image) -> Image.Image:
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


def _image_files(root: Path) -> list[Path]:
    """Image files below ``root``, hidden ones left out."""
    if not root.exists():
        raise FileNotFoundError(f"no folder {str(root)!r}: give one that holds images ({', '.join(SUFFIXES)}).")
    if not root.is_dir():
        raise NotADirectoryError(f"{str(root)!r} is a file: give the folder that holds the images.")
    found = (p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    visible = [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]
    if not visible:
        raise FileNotFoundError(
            f"no image in {str(root)!r}: looked for {', '.join(SUFFIXES)} in it and its sub-folders."
        )
    return sorted(visible)


def _reason(error: Exception) -> str:
    """What is wrong with a file, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be identified"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0] or type(error).__name__
