"""The door to the hot loops in C that make views (:mod:`unshuffle._compiled` says what a door is)."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from unshuffle import _compiled

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / _compiled.NAME
_OUT_OF_MEMORY, _OUTSIDE = 1, 2  # as in door.h and views.c

_pointer, _long = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES = {
    "unshuffle_views": (_pointer, *[_long] * 4, *[_pointer] * 13, _long, _long, _pointer, _long),
}


@cache
def _load(path: Path = LIBRARY) -> ctypes.CDLL | None:
    """The library, or None with a warning where there is one that does not fit."""
    return _compiled.load(path, FOLDER, _SIGNATURES)


def available() -> bool:
    """Whether views of images on the CPU are made in C here: the library was built, fits, and is not switched off."""
    return _compiled.enabled and _load() is not None


def takes(images: Tensor) -> bool:
    """Whether ``images`` may go through this door: bytes, of one channel or three."""
    return _compiled.plain(images) and images.dtype == torch.uint8 and images.shape[1] in (1, 3) and _load() is not None


def views(
    images: Tensor,
    box: tuple[Tensor, ...],
    colours: tuple[Tensor, ...],
    rest: tuple[Tensor, ...],
    numbers: tuple[Tensor, Tensor],
    size: int,
) -> Tensor:
    """Views (count, channels, size, size), of which view v is one of image v modulo the number of images.

    Args:
        images: bytes (B, C, H, W).
        box: ``top``, ``left``, ``height``, ``width`` and ``mirrored``, (count,) each.
        colours: ``factors`` and ``order`` (count, 4), and ``changed`` (count,).
        rest: ``grey``, ``sigma`` and ``solarised``, (count,) each.
        numbers: what is subtracted from levels from 0 to 255, and what the rest is multiplied by, (C,) each.
        size: pixels a side.

    Raises:
        ValueError: a box does not lie within its image.
        MemoryError: there was no room for scratch space.
    """
    types = [*[torch.int64] * 4, torch.bool, torch.float32, torch.int64, torch.bool, torch.bool, torch.float64]
    types += [torch.bool, torch.float32, torch.float32]
    given = [
        part.to("cpu", dtype).contiguous() for part, dtype in zip((*box, *colours, *rest, *numbers), types, strict=True)
    ]
    images = images.contiguous()
    out = torch.empty(len(given[0]), images.shape[1], size, size)
    library = _load()
    assert library is not None
    status = library.unshuffle_views(
        images.data_ptr(), *images.shape, *(part.data_ptr() for part in given),
        size, len(out), out.data_ptr(), _compiled.threads_for(out.numel()),
    )  # fmt: skip
    if status == _OUT_OF_MEMORY:
        raise MemoryError("unshuffle: no memory for unshuffle_views.")
    if status == _OUTSIDE:
        raise ValueError("views: boxes must lie within their images, and have a pixel at least.")
    return out
