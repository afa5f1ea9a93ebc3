"""What was drawn for each image of a batch, and the views that come of it, in C or in PyTorch.

On a CPU the loops in C make one view after the other, each of which stays in cache; in PyTorch, the reference and the
path of other devices, every step is done to many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unshuffle.data import _native
from unshuffle.data.blur import blurred
from unshuffle.data.colour import Changes, brightness, recoloured
from unshuffle.data.crops import Boxes, cut


class Draws(NamedTuple):
    """What happens to each image of a batch: its crop, its colours, whether it turns grey, the deviation of its blur
    (0 for none), whether it is solarised; (B,) each of the last three."""

    boxes: Boxes
    colours: Changes
    grey: Tensor
    sigma: Tensor
    solarised: Tensor

    def of(self, rows: slice) -> Draws:
        """Those of some of the images."""
        boxes, colours = Boxes(*(part[rows] for part in self.boxes)), Changes(*(part[rows] for part in self.colours))
        return Draws(boxes, colours, self.grey[rows], self.sigma[rows], self.solarised[rows])


def joined(drawn: Sequence[Draws]) -> Draws:
    """Several draws as those of one batch."""
    boxes, colours, *rest = zip(*drawn)
    return Draws(
        Boxes(*map(torch.cat, zip(*boxes))), Changes(*map(torch.cat, zip(*colours))), *map(torch.cat, rest)
    )  # fmt: skip


def made(images: UInt8[Tensor, "batch c h w"], draws: Draws, size: int) -> Float[Tensor, "batch c size size"]:
    """One view of each image, as drawn: real numbers from 0 to 255, on the device of the images."""
    if _native.takes(images):
        return made_in_c(images, draws, size, torch.zeros(images.shape[1]), torch.ones(images.shape[1]))
    return made_in_pytorch(images, draws, size)


def made_in_c(
    images: UInt8[Tensor, "batch c h w"], draws: Draws, size: int, offset: Float[Tensor, "c"], scale: Float[Tensor, "c"]
) -> Float[Tensor, "count c size size"]:
    """Views by ``_native/views.c``: those of all images, then again of all images, as many as were drawn.

    What is ``offset`` less is multiplied by ``scale``, for each channel.
    """
    return _native.views(images, draws.boxes, draws.colours, draws[2:], (offset, scale), size)


def made_in_pytorch(
    images: UInt8[Tensor, "batch c h w"], draws: Draws, size: int
) -> Float[Tensor, "batch c size size"]:
    """The same as :func:`made`, of whole batches at a time, on any device."""
    views = recoloured(cut(images, draws.boxes, size), draws.colours)
    if draws.grey.any() and images.shape[1] == 3:
        grey = draws.grey.to(views)[:, None, None, None]
        torch.addcmul(brightness(views).mul_(grey), views, 1 - grey, out=views)
    views = _blurred_where(draws.sigma > 0, views, draws.sigma)
    if draws.solarised.any():
        # The lesser of x and 255 - x is x below the threshold of 128 and the negative from there on.
        negative = torch.where(draws.solarised, 255.0, 510.0).to(views)[:, None, None, None] - views
        views = torch.minimum(views, negative, out=negative)
    return views


def _blurred_where(chosen: Tensor, images: Tensor, sigma: Tensor) -> Tensor:
    """Blurs some of the images; the others are not computed."""
    count = int(chosen.sum())
    if count == len(images):
        return blurred(images, sigma.to(images.device))
    if not count:
        return images
    rows = chosen.nonzero()[:, 0]
    changed = blurred(images.index_select(0, rows.to(images.device)), sigma[rows].to(images.device))
    source = torch.arange(len(images)).masked_scatter_(chosen, len(images) + torch.arange(count))
    return torch.cat([images, changed]).index_select(0, source.to(images.device))
