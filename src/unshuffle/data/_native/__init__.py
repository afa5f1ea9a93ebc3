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
_OUT_OF_MEMORY, _OUTSIDE, _WRONG_LENGTH = 1, 2, 3  # as in door.h and views.c

_pointer, _long = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES = {
    "unshuffle_views": (_pointer, *[_long] * 4, *[_pointer] * 14, _long, _long, _pointer, _long),
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
    return (
        _compiled.plain(images)
        and images.dtype == torch.uint8
        and images.ndim == 4
        and images.shape[1] in (1, 3)
        and _load() is not None
    )


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
        TypeError: ``images`` are not bytes on the CPU.
        ValueError: the shape of an argument is another one, or a box does not lie within its image.
        MemoryError: there was no room for scratch space.
    """
    _check_shapes(images, (*box, *colours, *rest), numbers, size)
    types = [*[torch.int64] * 4, torch.bool, torch.float32, torch.int64, torch.bool, torch.bool, torch.float64]
    types += [torch.bool, torch.float32, torch.float32]
    given = [
        part.to("cpu", dtype).contiguous() for part, dtype in zip((*box, *colours, *rest, *numbers), types, strict=True)
    ]
    images = images.contiguous()
    lengths = (_long * len(given))(*(part.numel() for part in given))
    out = torch.empty(len(given[0]), images.shape[1], size, size, dtype=torch.float32, device="cpu")
    library = _load()
    assert library is not None
    status = library.unshuffle_views(
        images.data_ptr(), *images.shape, *(part.data_ptr() for part in given),
        lengths, size, len(out), out.data_ptr(), _compiled.threads_for(out.numel()),
    )  # fmt: skip
    if status == _OUT_OF_MEMORY:
        raise MemoryError("unshuffle: no memory for unshuffle_views.")
    if status == _OUTSIDE:
        raise ValueError("views: boxes must lie within their images, and have a pixel at least.")
    assert status != _WRONG_LENGTH, "views: the door let through what it checks"
    return out


_PARTS = ("top", "left", "height", "width", "mirrored", "factors", "order", "changed", "grey", "sigma", "solarised")


def _check_shapes(images: Tensor, drawn: tuple[Tensor, ...], numbers: tuple[Tensor, Tensor], size: int) -> None:
    """Refuse what the library would read beyond its end, or read as something else."""
    if images.dtype != torch.uint8 or not images.is_cpu:
        raise TypeError(f"views: `images` must be torch.uint8 on the CPU; got {images.dtype} on {images.device}.")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or (not images.numel() and drawn[0].numel()):
        raise ValueError(
            f"views: `images` must be (B, C, H, W) with C = 1 or 3, not empty where there are views; "
            f"got {_shape(images)}."
        )
    if size < 1:
        raise ValueError(f"views: `size` must be positive; got {size}.")
    if len(drawn) != len(_PARTS) or len(numbers) != 2:
        raise ValueError(f"views: {', '.join(_PARTS)}, offset and scale are needed; got {len(drawn)} + {len(numbers)}.")
    count = (len(drawn[0]),) if drawn[0].ndim else ()
    expected = {name: (*count, 4) if name in ("factors", "order") else count for name in _PARTS}
    line = {"offset": (images.shape[1],), "scale": (images.shape[1],)}
    for (name, shape), part in zip({**expected, **line}.items(), (*drawn, *numbers)):
        if tuple(part.shape) != shape or not shape:
            wanted = f"{shape}, as `top` has {count[0]} views" if name in expected and count else shape
            raise ValueError(f"views: `{name}` must have the shape {wanted or '(count,)'}; got {_shape(part)}.")


def _shape(part: Tensor) -> tuple[int, ...]:
    return tuple(part.shape)
