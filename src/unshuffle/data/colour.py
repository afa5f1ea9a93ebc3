"""Colours changed as Pillow's enhancers change them: brightness, contrast, saturation and hue, in any order.

Pictures are real numbers from 0 to 255, where Pillow rounds to whole ones after each change; both clip after each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle._ranges import Fraction, NonNegative, Range
from unshuffle.data.crops import between
from unshuffle.values import register

RED, GREEN, BLUE = 0.299, 0.587, 0.114  # of brightness: ITU-R 601
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class Changes(NamedTuple):
    """What happens to the colours of each picture.

    ``factors`` is (B, 4): of brightness, contrast and saturation, 1 for no change, and by how many turns of the circle
    of colours hue moves. ``order`` is (B, 4), which of the four comes first, second, …; ``changed`` (B,) says whether
    any of it happens.
    """

    factors: Tensor
    order: Tensor
    changed: Tensor


@register
@dataclass(frozen=True)
class ColourJitter:
    """Changes brightness, contrast, saturation and hue of some pictures, in an order drawn for each.

    Source: torchvision's ColorJitter on Pillow's images.
    """

    brightness: NonNegative = 0.4
    """By which share it rises or falls, at the most."""
    contrast: NonNegative = 0.4
    """The same of contrast, around the mean brightness."""
    saturation: NonNegative = 0.2
    """The same of saturation."""
    hue: Annotated[float, Range(0, 0.5)] = 0.1
    """By which share of the circle of colours hue moves either way, at the most a half."""
    chance: Fraction = 0.8
    """How often any of it happens."""

    def draw(self, count: int, generator: torch.Generator) -> Changes:
        """Changes for ``count`` pictures: factors uniform around none, and any of the 24 orders."""
        uniform = torch.rand(9, count, generator=generator, device=generator.device)
        around = [(max(0.0, 1 - most), 1 + most) for most in (self.brightness, self.contrast, self.saturation)]
        bounds = [*around, (-self.hue, self.hue)]
        factors = torch.stack([between(bound, drawn) for bound, drawn in zip(bounds, uniform)], 1)
        return Changes(factors, uniform[4:8].argsort(0).T, uniform[8] < self.chance)


def recoloured(images: Float[Tensor, "batch c h w"], changes: Changes) -> Float[Tensor, "batch c h w"]:
    """The pictures with their changes; those of one channel have no saturation and no hue."""
    if not changes.changed.any():
        return images
    # Sorted by the turn at which hue moves, those that stay as they are at the end: what comes before that turn
    # happens to pictures that lie side by side, and what comes after it too.
    turn = torch.where(changes.changed, (changes.order == HUE).int().argmax(1), 4)
    place = turn.argsort(stable=True)
    ends = torch.bincount(turn, minlength=5).cumsum(0).tolist()
    images = images.index_select(0, place.to(images.device))
    factors, order = (part[place[: ends[3]]] for part in (changes.factors, changes.order))
    linear, factors = order[order != HUE].view(-1, 3).T.to(images.device), factors.to(images.device)
    for step, which in enumerate(linear):
        _enhance_(images[ends[step] : ends[3]], which[ends[step] :], factors[ends[step] :])
    if images.shape[1] == 3:
        turn_hue_(images[: ends[3]], factors[:, HUE])
    for step, which in enumerate(linear):
        _enhance_(images[: ends[step]], which[: ends[step]], factors[: ends[step]])
    return images.index_select(0, place.argsort().to(images.device))


def _enhance_(images: Tensor, which: Tensor, factors: Tensor) -> None:
    """One of brightness, contrast and saturation of each picture, in place: each is a blend with a duller one."""
    if images.shape[1] == 1:
        factors = factors.index_fill(1, torch.tensor(SATURATION, device=factors.device), 1.0)
    keep = factors.gather(1, which[:, None])[..., None, None]
    grey = brightness(images)
    # What it is blended with: nothing, its mean brightness, or its brightness at every pixel.
    # (A half is rounded up, whichever way its last bit fell.)
    mean = (grey.mean((2, 3), keepdim=True) + 0.5001).floor_()
    contrast, saturation = ((which == kind).float()[:, None, None, None] for kind in (CONTRAST, SATURATION))
    base = (grey * (saturation * (1 - keep))).add_(mean.mul_(contrast * (1 - keep)))
    torch.addcmul(base, images, keep, out=images).clamp_(0, 255)


def brightness(images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 1 h w"]:
    """How bright each pixel is: what Pillow makes of colours as it makes them grey."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return (red * RED).add_(green, alpha=GREEN).add_(blue, alpha=BLUE)


def turn_hue_(images: Float[Tensor, "batch 3 h w"], turns: Float[Tensor, "batch"]) -> None:
    """Moves each picture's colours around the circle, in place; the greatest and the least channel stay as they are.

    With ``c = most - least``, ``p = (red - least) / c - 1/2`` and ``s = (green - blue) / c``, a colour is
    ``1/4 + p * (abs(s) / 3 - 1/2)`` of a turn away from red, on the side that the sign of s tells. That is the usual
    three cases in one formula: comparisons cost many times what products do.
    """
    red, green, blue = images.unbind(1)
    least = torch.minimum(red, green).minimum(blue)
    most = torch.maximum(red, green).maximum(blue)
    chroma = most - least
    each = chroma.clamp(min=1e-6).reciprocal_()
    side = (green - blue).mul_(each)
    part = (red - least).mul_(each).sub_(0.5)
    away = torch.abs(side, out=each).mul_(1 / 3).sub_(0.5).mul_(part).add_(0.25)
    hue = torch.copysign(away, side, out=part).add_(1 + turns[:, None, None]).frac_()
    # Red falls off from one to two sixths of a turn on either side of it, and green and blue of where they are.
    least.sub_(chroma)
    most.add_(chroma)
    chroma.mul_(6)
    for channel, centre, base, sign in ((red, 1 / 2, least, 1), (green, 1 / 3, most, -1), (blue, 2 / 3, most, -1)):
        share = torch.sub(hue, centre, out=side).abs_().clamp_(1 / 6, 1 / 3)
        torch.addcmul(base, chroma, share, value=sign, out=channel)
