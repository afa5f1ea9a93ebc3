"""Random resized crops: any part of a picture, of any size within bounds, scaled to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import Fraction, Pixels, Positive
from unshuffle.data.resample import Taps, filtered, scaling
from unshuffle.values import register

TRIES = 10


class Boxes(NamedTuple):
    """One crop of each picture, in whole pixels, and whether it is mirrored: five tensors (B,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor


@register
@dataclass(frozen=True)
class Crop:
    """A part of the picture, ``size`` x ``size`` pixels after scaling; perhaps turned left for right.

    Source: Szegedy et al. 2015, as torchvision's RandomResizedCrop draws it; Pillow's bicubic filter scales.
    """

    size: Pixels = 224
    """Pixels a side after scaling."""
    area: tuple[Fraction, Fraction] = (0.08, 1.0)
    """The least and the greatest share of the picture's area."""
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """The least and the greatest width, in heights."""
    mirror: Fraction = 0.5
    """How often it is turned left for right; 0 where left and right matter."""

    def __post_init__(self) -> None:
        _check.interval("Crop", "area", self.area, least=0, most=1)
        _check.interval("Crop", "ratio", self.ratio)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Boxes:
        """Boxes for ``count`` pictures of this size: of ten tries the first that fits, or else the middle.

        Area and the logarithm of the ratio are uniform, and then the place among those where the box fits.
        """
        tries = torch.rand(2, count, TRIES, generator=generator, dtype=torch.float64, device=generator.device)
        area = height * width * between(self.area, tries[0])
        ratio = between((math.log(self.ratio[0]), math.log(self.ratio[1])), tries[1]).exp()
        wide, high = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
        chosen, some = fits.int().argmax(1, keepdim=True), fits.any(1)  # the first of the greatest
        last = self._middle(height, width)
        high = torch.where(some, high.gather(1, chosen)[:, 0], last[0])
        wide = torch.where(some, wide.gather(1, chosen)[:, 0], last[1])
        place = torch.rand(3, count, generator=generator, dtype=torch.float64, device=generator.device)
        # Below 1 by half a unit in the last place at the most, so that no product is rounded up to a place too far.
        top = torch.where(some, (place[0] * (height - high + 1)).long(), (height - high) // 2)
        left = torch.where(some, (place[1] * (width - wide + 1)).long(), (width - wide) // 2)
        return Boxes(top, left, high, wide, place[2] < self.mirror)

    def _middle(self, height: int, width: int) -> tuple[int, int]:
        """The largest box of a ratio within bounds."""
        if width < height * self.ratio[0]:
            return round(width / self.ratio[0]), width
        if width > height * self.ratio[1]:
            return height, round(height * self.ratio[1])
        return height, width


def cut(images: UInt8[Tensor, "batch c h w"], boxes: Boxes, size: int) -> Float[Tensor, "batch c size size"]:
    """The crops scaled to ``size`` x ``size`` pixels: real numbers from 0 to 255, on the device of the images."""
    images, boxes = _around(images, boxes)
    height, width = images.shape[-2:]
    upright = torch.zeros_like(boxes.mirrored)
    if height == width:  # both axes at once
        start, extent = torch.cat([boxes.top, boxes.left]), torch.cat([boxes.height, boxes.width])
        both = scaling(start, extent, height, size, turned=torch.cat([upright, boxes.mirrored]))
        rows, columns = (Taps(*parts) for parts in zip(*(part.tensor_split(2) for part in both)))
    else:
        rows = scaling(boxes.top, boxes.height, height, size, turned=upright)
        columns = scaling(boxes.left, boxes.width, width, size, turned=boxes.mirrored)
    return filtered(images.float(), rows, columns, clip=255)


def _around(images: Tensor, boxes: Boxes) -> tuple[Tensor, Boxes]:
    """Where all boxes are small: a square around each instead of the image, for what is left out costs nothing then."""
    height, width = images.shape[-2:]
    side = int(torch.cat([boxes.height, boxes.width]).max()) if len(images) else 0
    placed = Boxes(*(part.to(images.device) for part in boxes))
    if side > min(height, width) or 2 * side * side > height * width:
        return images, placed
    top, left = placed.top.clamp(max=height - side), placed.left.clamp(max=width - side)
    step = torch.arange(side, device=images.device)
    rows, columns = (top[:, None] + step)[:, :, None], (left[:, None] + step)[:, None, :]
    squares = images.movedim(1, -1)[torch.arange(len(images), device=images.device)[:, None, None], rows, columns]
    return squares.movedim(-1, 1), placed._replace(top=placed.top - top, left=placed.left - left)


def between(bounds: tuple[float, float], uniform: Tensor) -> Tensor:
    """Numbers from 0 to 1 as numbers within bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * uniform
