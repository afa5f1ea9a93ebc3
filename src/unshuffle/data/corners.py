"""Crops for probing: parts of 224/256 of a picture's short side, anywhere, in the middle, or ten of them."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from unshuffle.data.crops import Boxes, cut

SIDE = 224 / 256
"""Of a crop, in short sides of the picture."""
CropCount = Literal[1, 10]


def random_crops(
    images: UInt8[Tensor, "batch c h w"], size: int, generator: torch.Generator
) -> UInt8[Tensor, "batch c size size"]:
    """One crop of each picture, anywhere in it and mirrored half of the time.

    Args:
        images: bytes.
        size: pixels a side, after scaling.
        generator: of place and mirror.

    Source: SeLa, appendix A.1, as RotNet: the short side is scaled to 256, and crops are of 224.
    """
    (height, width), count = images.shape[-2:], len(images)
    side = _side(height, width)
    place = torch.rand(3, count, generator=generator, dtype=torch.float64)
    top, left = ((place[axis] * (length - side + 1)).long() for axis, length in enumerate((height, width)))
    return _cut(images, top, left, side, place[2] < 0.5, size)


def fixed_crops(
    images: UInt8[Tensor, "batch c h w"], size: int, count: CropCount
) -> list[UInt8[Tensor, "batch c size size"]]:
    """The same crops of every picture: the middle; or the four corners and the middle, as they are and mirrored.

    Args:
        images: bytes.
        size: pixels a side, after scaling.
        count: 1 or 10.

    Raises:
        ValueError: another count.
    """
    if count not in (1, 10):
        raise ValueError(f"fixed_crops: `count` must be 1 or 10; got {count}.")
    height, width = images.shape[-2:]
    side = _side(height, width)
    down, right = height - side, width - side
    middle = [(down // 2, right // 2, False)]
    corners = [(top, left, False) for top in (0, down) for left in (0, right)] + middle
    places = middle if count == 1 else corners + [(top, left, True) for top, left, _ in corners]
    every = torch.ones(len(images), dtype=torch.long)
    return [_cut(images, top * every, left * every, side, mirrored * every > 0, size) for top, left, mirrored in places]


def _side(height: int, width: int) -> int:
    return max(1, round(SIDE * min(height, width)))


def _cut(images: Tensor, top: Tensor, left: Tensor, side: int, mirrored: Tensor, size: int) -> Tensor:
    sides = torch.full_like(top, side)
    return cut(images, Boxes(top, left, sides, sides, mirrored), size).round_().clamp_(0, 255).to(torch.uint8)
