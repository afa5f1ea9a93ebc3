"""Values far from zero, which float32 would round off before their mean is subtracted: a sine on an offset of 1e8.

float32 has 24 bits. Where its rounding error exceeds a thousandth of the range of a channel, the channel is moved near
zero first, in the precision of the data. All else is left alone, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ROUNDING = 2.0**-24
"""Largest relative rounding error of float32."""
TOLERATED = 1e-3
"""Part of a channel's range that rounding may change."""
NOISE = 2.0**-47
"""Relative range of float64 values that is rounding error, not signal."""


def loses_precision(item: np.ndarray) -> bool:
    """Whether float32 would round off what varies in a channel of an item (channels, rows, time) or a clip."""
    if item.dtype.itemsize <= 2 or item.dtype == np.float32 or not item.size:
        return False
    _, spread, peak = _extent(_by_channel(item))
    return bool((_signal(item.dtype, spread, peak) & (ROUNDING * peak > TOLERATED * spread)).any())


def centered(item: np.ndarray) -> np.ndarray:
    """Subtract each channel's mean: integers exactly, floats in float64. Constant channels become 0."""
    channels = _by_channel(item)
    low, spread, peak = _extent(channels)
    if item.dtype.kind in "iu":
        wide = np.uint64 if item.dtype.kind == "u" else np.int64
        # Differences of 64 bits wrap around to the right ones without a sign.
        near = channels.astype(wide).view(np.uint64) - low.astype(wide).view(np.uint64)[:, None]
    else:
        near = channels.astype(np.float64)
    result = near.astype(np.float64)
    result -= result.mean(1, keepdims=True)
    result[~_signal(item.dtype, spread, peak)] = 0
    axis = channel_axis(item.ndim)
    return np.moveaxis(result.reshape(np.moveaxis(item, axis, 0).shape), 0, axis)


def near_zero(items: Tensor) -> Tensor:
    """A batch in float64 or wide integers whose lossy channels begin at 0; all other values and types as they are."""
    lossy = _lossy(items)
    if lossy is None:
        return items
    mask, low = lossy
    return items - torch.where(mask, low, torch.zeros_like(low))


def refuse_rounding(function: str, items: Tensor) -> None:
    """Raise where float32 would round off what varies in a batch whose level is to be kept.

    Raises:
        ValueError: it would.
    """
    lossy = _lossy(items)
    if lossy is not None and lossy[0].any():
        raise ValueError(
            f"{function}: float32 would round off values as far from 0 as {float(items.abs().max()):.3g}; subtract an "
            "offset from the data, or normalize them (`normalize=True`)."
        )


def channel_axis(ndim: int) -> int:
    """Axis of the channels: of (C, T) 0, of (C, H, W) 0, of (frames, C, H, W) 1."""
    return max(ndim - 3, 0)


def _lossy(items: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which channels of which items lose precision, and their least values; None where none can."""
    if items.dtype not in (torch.float64, torch.int32, torch.int64) or not items.numel():
        return None
    channel = channel_axis(items.ndim - 1) + 1
    others = [axis for axis in range(1, items.ndim) if axis != channel or items.ndim == 2]
    low, high = items.amin(others, keepdim=True), items.amax(others, keepdim=True)
    spread, peak = (high - low).double(), torch.maximum(low.double().abs(), high.double().abs())
    floor = NOISE * peak if items.is_floating_point() else 0
    return (spread > floor) & (ROUNDING * peak > TOLERATED * spread), low


def _by_channel(item: np.ndarray) -> np.ndarray:
    moved = np.moveaxis(item, channel_axis(item.ndim), 0)
    return moved.reshape(len(moved), -1)


def _extent(channels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least value of each channel, its range (of integers without rounding) and its largest magnitude."""
    low, high = channels.min(1), channels.max(1)
    exact = [(int(h) - int(lo)) if channels.dtype.kind in "iub" else float(h) - float(lo) for lo, h in zip(low, high)]
    peak = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    return low, np.array(exact, dtype=np.float64), peak


def _signal(kind: np.dtype, spread: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Channels that vary, and by more than float64 rounds."""
    return spread > (NOISE * peak if kind.kind == "f" else 0)
