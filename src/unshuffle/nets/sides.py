"""What is to be seen at the four sides of a tile, and what it costs that two tiles meet there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle import _check

DEPTH = 3
"""Rows of pixels, from a side inwards, that are looked at to tell what continues it."""
INSIDE = 64
"""Units of each side that see the whole tile."""


class TileSides(nn.Module):
    """Two 3 × 3 convolutions, then for each side of a tile units along its border, and some that see all of the tile.

    The features of a tile are, side after side, those with which it meets the tile below, above, to the right and to
    the left of it. A unit of a border sees three pixels of its length, three deep, and what the convolutions found
    there.

    Args:
        shape: (C, h, w) of a tile; 2 × 2 pixels at least.
        width: channels of the last convolution, and units at each pixel of a border.

    Raises:
        ValueError: the tiles are too small.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        _check.positive("TileSides", "width", width)
        channels, height, tile_width = shape
        if min(height, tile_width) < 2:
            raise ValueError(
                f"TileSides: tiles must have at least 2 x 2 pixels; got {height} x {tile_width}. Use larger images, or "
                "fewer tiles."
            )
        narrow = -(-3 * width // 4)
        self.depth = min(DEPTH, height, tile_width)
        self.first = nn.Conv2d(channels, narrow, 3, padding=1)
        self.second = nn.Conv2d(narrow, width, 3, padding=1)
        self.borders = nn.ModuleList(nn.Conv1d(self.depth * (width + channels), width, 3, padding=1) for _ in range(4))
        self.inside = nn.Linear(width * (height // 2) * (tile_width // 2), 4 * INSIDE)
        self.sides = tuple(width * length + INSIDE for length in (tile_width, tile_width, height, height))
        """Features of each side: below, above, right, left."""
        self.features = sum(self.sides)

    def forward(self, tiles: Float[Tensor, "batch n c h w"]) -> Float[Tensor, "batch n d"]:
        """One vector for each tile, whatever the others are."""
        pixels = tiles.flatten(0, 1)
        if pixels.shape[1] > 1:  # where a CPU convolves all channels of a pixel side by side
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        found = self.second(self.first(pixels).relu()).relu()
        inside = self.inside(nn.functional.max_pool2d(found, 2).flatten(1)).chunk(4, -1)
        strips = _strips(torch.cat([found, pixels.to(found.dtype)], 1), self.depth)
        borders = [see(strip).flatten(1) for see, strip in zip(self.borders, strips)]
        sides = [part for pair in zip(borders, inside) for part in pair]
        return torch.cat(sides, -1).unflatten(0, tiles.shape[:2])


class Neighbourhood(NamedTuple):
    """Scores of who stands beside whom on a grid; axis 0 leads down the columns, axis 1 along the rows."""

    pairs: Tensor
    """(B, 2, n, n): of tile j right behind tile i along an axis."""
    ends: Tensor
    """(B, 2, 2, n): of tile i being the last along an axis, or the first."""
    places: Tensor
    """(B, n, places): of tile i at each place."""


class NeighbourNet(nn.Module):
    """Scores pairs of tiles as neighbours, each tile as an outermost one, and each tile at each place.

    A pair is scored by two layers on the sum of what the two sides that meet have to say: a unit that is wanted where
    two colours differ is one that weighs them against each other.

    Args:
        sides: features of each side of an item: below, above, right, left.
        places: of the grid.
        hidden: units of the second layer of pairs.
    """

    def __init__(self, sides: tuple[int, ...], places: int, hidden: int) -> None:
        super().__init__()
        _check.positive("NeighbourNet", "hidden", hidden)
        below, above, right, left = self.sides = sides
        assert (below, right) == (above, left), sides
        self.hidden = nn.ModuleList(nn.Linear(units, hidden) for units in (below, right))
        self.score = nn.ModuleList(nn.Linear(hidden, 1, bias=False) for _ in range(2))
        self.direct = nn.ModuleList(nn.Linear(units, 1, bias=False) for units in (below, right))
        self.ends = nn.Linear(sum(sides), 4)
        self.places = nn.Linear(sum(sides), places, bias=False)

    def forward(self, items: Float[Tensor, "batch n d"]) -> Neighbourhood:
        """All scores of sets of items."""
        below, above, right, left = items.split(self.sides, -1)
        pairs = [self._pairs(axis, *meeting) for axis, meeting in enumerate(((below, above), (right, left)))]
        seen = items.relu()
        ends = self.ends(seen).unflatten(-1, (2, 2)).permute(0, 2, 3, 1)
        return Neighbourhood(torch.stack(pairs, 1), ends, self.places(seen))

    def _pairs(self, axis: int, first: Tensor, second: Tensor) -> Tensor:
        met = (first.unsqueeze(2) + second.unsqueeze(1)).relu()
        return (self.score[axis](self.hidden[axis](met).relu()) + self.direct[axis](met)).squeeze(-1)


def _strips(maps: Tensor, depth: int) -> list[Tensor]:
    """Of maps (N, c, h, w) the four sides as (N, depth * c, length), from the border inwards."""
    lying = (maps[..., -depth:, :].flip(-2), maps[..., :depth, :])
    standing = (maps[..., -depth:].flip(-1).mT, maps[..., :depth].mT)
    return [strip.flatten(1, 2) for strip in (*lying, *standing)]
