"""Linear filters of a picture's rows and columns, each picture with its own: scaling, mirroring, blurring.

Whatever is separable is two sums over a few neighbours, first along the rows and then down the columns:
``out[i] = sum_t weights[i, t] * in[first[i] + t]``. A :class:`Taps` says which, for every picture of a batch; it is the
only form that filters of this package take, so a crop that is scaled and turned over costs what a crop costs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Taps(NamedTuple):
    """For each picture and each output place, the first input place that counts, and how much it and the next do.

    ``first`` is (B, out) int64, ``weights`` (B, out, taps); ``first + taps`` never exceeds the input.
    """

    first: Tensor
    weights: Tensor


def filtered(
    images: Float[Tensor, "batch c h w"], down: Taps, across: Taps, *, clip: float = math.inf
) -> Float[Tensor, "batch c height width"]:
    """Filters each picture along its rows and then down its columns, clipped to 0 ... ``clip`` after each.

    Where sums are taken, the axis comes first and all else lies in a row behind it: sums of whole rows are fast. Pillow
    clips between the two as well, since the filter overshoots at edges.
    """
    columns = images.permute(0, 3, 1, 2).contiguous()
    # In two steps, of which each moves whole stretches: one step takes longer.
    turned = _summed(columns, across, clip).permute(0, 2, 3, 1).contiguous()
    return _summed(turned.transpose(1, 2).contiguous(), down, clip).transpose(1, 2).contiguous()


def _summed(items: Float[Tensor, "batch n a b"], taps: Taps, most: float) -> Float[Tensor, "batch out a b"]:
    """Weighted sums of neighbours: what an embedding bag computes, on a CPU many times faster than products do."""
    batch, n, *inner = items.shape
    size, count = taps.weights.shape[1:]
    begin = taps.first + torch.arange(0, batch * n, n, device=items.device)[:, None]
    places = begin[..., None] + torch.arange(count, device=items.device)
    summed = torch.nn.functional.embedding_bag(
        places.view(-1, count), items.view(batch * n, -1),
        per_sample_weights=taps.weights.reshape(-1, count), mode="sum",
    )  # fmt: skip
    return (summed if most == math.inf else summed.clamp_(0, most)).view(batch, size, *inner)


def scaling(
    start: Int[Tensor, "batch"],
    extent: Int[Tensor, "batch"],
    length: int,
    size: int,
    *,
    turned: Bool[Tensor, "batch"] | None = None,
) -> Taps:
    """Scales stretches of an axis to ``size`` by Pillow's bicubic filter, which averages where it shrinks.

    Args:
        start: where the stretch of each picture begins.
        extent: how long it is; nothing outside of it counts.
        length: of the axis; no stretch goes beyond it.
        size: what each becomes.
        turned: which pictures to mirror.

    Source: Pillow, ``Resample.c`` (Keys' cubic with a = -1/2, widened by the factor of shrinking, normalised).
    """
    start, extent = start[:, None], extent[:, None]
    scale = extent.double() / size
    wide = scale.clamp(min=1)
    place = torch.arange(size, device=start.device, dtype=torch.float64)
    if turned is not None:
        place = torch.where(turned[:, None], size - 1 - place, place)
    centre = (place + 0.5) * scale
    count = min(length, math.ceil(4 * max(length / size, 1)) + 1)
    first = (start + (centre - 2 * wide + 0.5).long()).clamp(0, length - count)
    # From here on there are many numbers: single precision, and no comparisons, which are slow.
    step = torch.arange(count, device=start.device, dtype=torch.float32)
    inside = (first - start).float()[..., None] + step
    beyond = (-inside).clamp_(min=0) + (inside - (extent[..., None] - 1).float()).clamp_(min=0)
    nearest = ((first - start + 0.5 - centre) / wide).float()[..., None]
    distance = torch.addcmul(nearest, step, (1 / wide).float()[..., None]).abs_()
    weights = _bicubic(distance.add_(beyond, alpha=2))
    return Taps(first, weights.div_(weights.sum(-1, keepdim=True)))


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' piecewise cubic with a = -1/2, as a sum of two that end at 1 and at 2."""
    rest = 1 - distance
    near, far = rest.clamp(min=0), (rest + 1).clamp_(min=0)
    return near.square_().mul_(1 - 2 * rest).addcmul_(far.square_(), rest, value=0.5)
