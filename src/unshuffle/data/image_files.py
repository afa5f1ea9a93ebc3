"""Image files opened by Pillow, with errors that say what to do: formats without a decoder, size limits, long text."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import BinaryIO, TypeVar

from PIL import Image, PngImagePlugin, UnidentifiedImageError

T = TypeVar("T")
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jpe", ".jfif",
    ".apng", ".avif", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".jxl",
)  # fmt: skip
"""Files that are images. Those that cannot be decoded here are refused one by one, and so named and counted."""
_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PLUGINS = {
    "HEIC": ("pip install pillow-heif", "pillow_heif"),
    "AVIF": ("pip install -U pillow", "pillow_avif"),
    "JPEG XL": ("pip install pillow-jxl-plugin", "pillow_jxl"),
    "JPEG 2000": ("a build of Pillow with OpenJPEG", ""),
}
_limit = threading.RLock()


def read_image(file: BinaryIO, use: Callable[[Image.Image], T], *, max_pixels: int | None = None) -> T:
    """Open an image file and apply a function to the image, which is closed afterwards.

    Args:
        file: the bytes, which can be sought.
        use: called with the opened image.
        max_pixels: largest width times height; None: Pillow's limit, ``Image.MAX_IMAGE_PIXELS``.

    Raises:
        ValueError: no image, a format without a decoder, or more pixels than allowed.
        Exception: it is damaged; decoders raise anything.
    """
    try:
        return _read(file, use, max_pixels)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
        file.seek(0)
        return _read(_without_long_text(file), use, max_pixels)


def _read(file: BinaryIO, use: Callable[[Image.Image], T], max_pixels: int | None) -> T:
    with warnings.catch_warnings(), _allowed(max_pixels):
        warnings.simplefilter("ignore")  # odd EXIF data and the like, one line a file
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with _opened(file) as image:
                return use(image)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            told = str(error).partition(", could be")[0].replace("Image size", "image of", 1)
            raise ValueError(
                f"{told}, as a decompression bomb does; allow more where it is none (--source.max-pixels)"
            ) from error


def _opened(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        name = _format(file.read(64))
    if name is None:
        raise ValueError("not an image that can be identified")
    if _load_plugin(name):
        file.seek(0)
        try:
            return Image.open(file)
        except UnidentifiedImageError:
            raise ValueError(f"damaged: it begins as an image in the format {name}, and is none") from None
    raise ValueError(f"an image in the format {name}, which cannot be decoded here: {_PLUGINS[name][0]}, or convert it")


def _format(head: bytes) -> str | None:
    """The format of a file that Pillow does not identify, by its first bytes."""
    brands = head[8:64]
    if head[4:8] == b"ftyp" and (b"avif" in brands or b"avis" in brands):
        return "AVIF"
    if head[4:8] == b"ftyp" and any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")):
        return "HEIC"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    return "JPEG 2000" if head.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")) else None


@cache
def _load_plugin(name: str) -> bool:
    """Whether Pillow can open the format, after a plugin was imported where one is installed."""
    kind = {"HEIC": "HEIF", "JPEG XL": "JXL", "JPEG 2000": "JPEG2000"}.get(name, name)
    module = _PLUGINS[name][1]
    if kind not in Image.OPEN and module:
        try:
            plugin = import_module(module)
        except (ImportError, OSError):
            return False
        getattr(plugin, "register_heif_opener", lambda: None)()
    return kind in Image.OPEN


@contextmanager
def _allowed(max_pixels: int | None) -> Iterator[None]:
    """Another limit in place of Pillow's, which is one for the whole process."""
    if max_pixels is None:
        yield
        return
    with _limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _without_long_text(file: BinaryIO) -> BinaryIO:
    """A PNG without the text and color profiles that Pillow refuses to unpack; its pixels need none of them."""
    kept, total = io.BytesIO(), 0
    kept.write(file.read(8))
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        content = file.read(size + 4)
        if kind in _TEXT:
            total += (length := _unpacked_length(kind, content[:-4]))
            if length > PngImagePlugin.MAX_TEXT_CHUNK or total > PngImagePlugin.MAX_TEXT_MEMORY:
                total -= length
                continue
        kept.write(header + content)
    kept.seek(0)
    return kept


def _unpacked_length(kind: bytes, content: bytes) -> int:
    """Bytes of a chunk once it is unpacked, as far as they are no more than one too many."""
    start = content.find(b"\0") + 2  # behind the keyword and the method of compression
    if kind == b"iTXt":
        if content[start - 1 : start] != b"\1":
            return len(content)
        start = content.find(b"\0", content.find(b"\0", start + 1) + 1) + 1
    elif kind == b"tEXt":
        return len(content)
    try:
        return len(zlib.decompressobj().decompress(content[start:], PngImagePlugin.MAX_TEXT_CHUNK + 1))
    except zlib.error:
        return PngImagePlugin.MAX_TEXT_CHUNK + 1
