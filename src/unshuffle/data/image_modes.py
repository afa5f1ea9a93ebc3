"""Image modes of Pillow converted to 8-bit gray or RGB: transparency is composited, wide integers are scaled.

Pillow's own ``convert`` drops alpha, so that colors of invisible pixels show, clips 16-bit gray to white and floats to
black. Every function that reads an image file or a PIL image converts it here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

WHITE = 255
"""Gray level behind transparent pixels, unless another is chosen."""
TWELVE_BITS = 4095
"""Largest value of 12-bit data: 16-bit images without larger values would be nearly black."""
Range = tuple[float, float]


class _Stored(NamedTuple):
    """Facts about the pixels of a file that Pillow forgets once they are loaded."""

    raw: str
    """Pillow's name of the layout, such as ``RGB;16B``; empty for an image that was made in memory."""
    key: Any
    """The color that is transparent (the ``tRNS`` chunk of a PNG), in the units of the file; None without one."""
    low_bytes: np.ndarray | None
    """Lower bytes of 16-bit colors, read only where the key needs them."""
    unsigned: bool
    """32-bit integers have no sign, though Pillow's mode ``I`` has one."""


def upright_rgb(image: Image.Image, *, background: int = WHITE, value_range: Range | None = None) -> Image.Image:
    """Convert an image of any mode to RGB, turned upright as its EXIF data say.

    Args:
        image: a PIL image, loaded or just opened.
        background: gray level from 0 to 255 behind transparent pixels.
        value_range: the values that become black and white, for single-channel integers of more than 8 bits and floats.

    Raises:
        ValueError: integers outside 0..65535, 16-bit gray of 12 bits or fewer, or floats, without a ``value_range``;
            NaN; or 16 bits a channel of color with a ``value_range``.
    """
    stored = _stored(image)
    return _eight_bits(ImageOps.exif_transpose(image), stored, background, value_range).convert("RGB")


def gray_or_rgb(image: Image.Image, *, background: int = WHITE) -> Image.Image:
    """Convert an image of any mode to 8-bit gray (``L``) where it has one channel, else to RGB.

    Raises:
        ValueError: as :func:`upright_rgb`.
    """
    return _eight_bits(image, _stored(image), background, None)


def _stored(image: Image.Image) -> _Stored:
    tile = getattr(image, "tile", None)
    args = tile[0][3] if tile else ""
    raw = str(args[0] if isinstance(args, tuple) and args else args or "")
    key = image.info.get("transparency") if image.mode in ("1", "L", "RGB") or image.mode.startswith("I") else None
    low_bytes = _low_bytes(image) if key is not None and raw == "RGB;16B" else None
    tags = getattr(image, "tag_v2", {})
    unsigned = image.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,))[0] == 1
    return _Stored(raw, key, low_bytes, unsigned)


def _low_bytes(image: Any) -> np.ndarray | None:
    """Second bytes of the channels of a 16-bit RGB file, of which Pillow keeps the first; upright as the image."""
    file, position = image.fp, image.fp.tell()
    file.seek(0)
    twin: Any = Image.open(file)
    twin.tile = [tile._replace(args="RGB;16L") for tile in twin.tile]
    low = np.array(ImageOps.exif_transpose(twin))
    file.seek(position)
    return low


def _eight_bits(image: Image.Image, stored: _Stored, background: int, value_range: Range | None) -> Image.Image:
    """The image in mode L or RGB."""
    if value_range is not None and ";16" in stored.raw and not image.mode.startswith("I"):
        raise ValueError("it has 16 bits a channel of color, of which 8 are read; `range` scales single channels only")
    if image.mode.startswith("I") or image.mode == "F":
        values = _values(image, stored)
        opaque, alpha = Image.fromarray(_scaled(values, value_range)), _mask(values, stored)
    else:
        opaque, alpha = _parted(image, stored)
    if alpha is None or alpha.getextrema()[0] == 255:  # type: ignore[operator]
        return opaque
    canvas = Image.new(opaque.mode, opaque.size, background if opaque.mode == "L" else (background,) * 3)
    canvas.paste(opaque, mask=alpha)
    return canvas


def _parted(image: Image.Image, stored: _Stored) -> tuple[Image.Image, Image.Image | None]:
    """Colors, in mode L or RGB, and how opaque they are; None where all are."""
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if image.mode == "RGBA":
        return image.convert("RGB"), image.getchannel("A")
    if image.mode in ("1", "L"):
        gray = image.convert("L")
        return gray, None if stored.key is None else _mask(np.array(gray), stored)
    alpha = None if stored.key is None or image.mode != "RGB" else _mask(np.array(image), stored)
    return image.convert("RGB"), alpha


def _mask(values: np.ndarray, stored: _Stored) -> Image.Image | None:
    """0 where pixels have the transparent color, else 255."""
    if stored.key is None:
        return None
    if values.ndim == 2:
        found = values == _in_eight_bits(stored) if values.dtype == np.uint8 else values == stored.key
    elif stored.low_bytes is not None:
        found = (values.astype(np.int64) * 256 + stored.low_bytes == np.array(stored.key)).all(-1)
    else:
        found = (values == np.array(stored.key)).all(-1)
    return Image.fromarray(np.where(found, 0, 255).astype(np.uint8))


def _in_eight_bits(stored: _Stored) -> int:
    """The transparent gray level: files of 1, 2 and 4 bits have it in their own units, which Pillow scales for 1."""
    bits = {"L;2": 2, "L;4": 4}.get(stored.raw, 8)
    return int(stored.key) * 255 // (2**bits - 1)


def _values(image: Image.Image, stored: _Stored) -> np.ndarray:
    values = np.array(image)
    return values.view(np.uint32) if stored.unsigned else values


def _scaled(values: np.ndarray, value_range: Range | None) -> np.ndarray:
    """Single-channel numbers as bytes.

    Raises:
        ValueError: their range is not known.
    """
    floats = values.dtype.kind == "f"
    if value_range is not None:
        low, high = value_range
        if floats and np.isnan(values).any():
            raise ValueError("some of its pixels are NaN; replace them")
        levels = (values.astype(np.float64) - low) * (255 / (high - low))
        return levels.round().clip(0, 255).astype(np.uint8)
    if floats:
        raise ValueError(
            "its pixels are floats, whose range is unknown; give it (--source.range LOW HIGH), or store 8 or 16 bits"
        )
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise ValueError(
            f"its integers, {least} to {most}, lie outside 0 to 65535; give their range (--source.range LOW HIGH)"
        )
    if 0 < most <= TWELVE_BITS:
        raise ValueError(
            f"its 16-bit values reach only {most} of 65535, nearly black; give their range (--source.range 0 "
            f"{2 ** most.bit_length() - 1}, or 0 65535 where it is meant to be dark)"
        )
    return (values // 256).astype(np.uint8)
