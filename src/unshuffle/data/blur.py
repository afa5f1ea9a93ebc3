"""Blur as Pillow does it: three moving averages, which look like a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import Fraction, NonNegative
from unshuffle.data.crops import between
from unshuffle.data.resample import Taps, filtered
from unshuffle.values import register

PASSES = 3


@register
@dataclass(frozen=True)
class Blur:
    """Blurs some pictures, each by a width of its own.

    Source: Pillow's GaussianBlur (Gwosdek et al. 2011), as DINO and most ports of SimCLR call it. SimCLR itself takes a
    Gaussian kernel of a tenth of the picture's side.
    """

    chance: Fraction = 0.5
    """How often."""
    sigma: tuple[NonNegative, NonNegative] = (0.1, 2.0)
    """The least and the greatest standard deviation, in pixels."""

    def __post_init__(self) -> None:
        _check.interval("Blur", "sigma", self.sigma, least=0)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard deviations (count,): 0 for pictures that stay as they are."""
        uniform = torch.rand(2, count, generator=generator, dtype=torch.float64, device=generator.device)
        return torch.where(uniform[0] < self.chance, between(self.sigma, uniform[1]), 0.0)


def blurred(images: Float[Tensor, "batch c h w"], sigma: Float[Tensor, "batch"]) -> Float[Tensor, "batch c h w"]:
    """Every picture blurred, each by its own deviation in pixels."""
    height, width = images.shape[-2:]
    columns = blurring(sigma, width)
    return filtered(images, columns if height == width else blurring(sigma, height), columns)


def blurring(sigma: Float[Tensor, "batch"], length: int) -> Taps:
    """Three moving averages in a row along an axis whose ends repeat for ever.

    A moving average of radius r = l + a has 2 l + 1 whole taps and a share a of one more on either side, so for one l
    its cube is a polynomial of degree three in a: a batch's filters are one product of powers with a table.
    """
    variance = sigma.double().square() / PASSES
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1).square()))
    most = int(whole.max()) if len(whole) else 0
    first, table = _powers(length, most)
    powers = torch.stack([part**power for power in range(PASSES + 1)], -1) / (2 * (whole + part) + 1)[:, None] ** PASSES
    spread = torch.zeros(len(sigma), most + 1, PASSES + 1, dtype=torch.float64, device=sigma.device)
    spread[torch.arange(len(sigma), device=sigma.device), whole.long()] = powers
    weights = (spread.flatten(1).float() @ table.to(sigma.device)).unflatten(1, (length, -1))
    return Taps(first.to(sigma.device).expand(len(sigma), -1), weights)


@lru_cache(maxsize=8)
def _powers(length: int, most: int) -> tuple[Tensor, Tensor]:
    """For each whole radius up to ``most``, what multiplies 1, a, a^2 and a^3: ((most + 1) * 4, length * taps)."""
    count = min(length, 2 * PASSES * (most + 1) + 1)
    first = (torch.arange(length) - count // 2).clamp(0, length - count)
    columns = first[:, None] + torch.arange(count)
    filters = []
    for whole in range(most + 1):
        inner, outer = _neighbours(length, range(-whole, whole + 1)), _neighbours(length, (-whole - 1, whole + 1))
        cube = [torch.eye(length, dtype=torch.float64)]
        for _ in range(PASSES):  # times (inner + a outer)
            grown = [inner @ matrix for matrix in cube] + [torch.zeros_like(inner)]
            cube = [g + outer @ m for g, m in zip(grown, [torch.zeros_like(inner), *cube])]
        filters += [matrix.gather(1, columns).flatten() for matrix in cube]
    return first, torch.stack(filters).float()


def _neighbours(length: int, offsets: range | tuple[int, ...]) -> Tensor:
    """The matrix that adds up the neighbours at these offsets, the ends of the axis repeated."""
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for offset in offsets:
        column = (torch.arange(length) + offset).clamp(0, length - 1)
        matrix[torch.arange(length), column] += 1
    return matrix
