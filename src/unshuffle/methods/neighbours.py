"""Tiles put on a grid by who stands beside whom: chances of neighbours, and a placement that makes them large.

Where :class:`~unshuffle.methods.GridOptimizer` asks which of two tiles lies further left, this asks which tile
continues which: a question about neighbours alone, whose answer can be seen at the border that they share.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unshuffle.methods.permopt import OfOneSize, Ordered, placed
from unshuffle.nets.sides import Neighbourhood, NeighbourNet
from unshuffle.ops.assignment import assign
from unshuffle.ops.local_search import settle_neighbours
from unshuffle.ops.neighbours import anneal_neighbours, arrange_by_neighbours

DEAREST = 12.0
"""Nats: what the least likely pair costs, so that no single pair forbids a placement."""
SURER = 1.5
"""What a place counts beside a pair: annealing finds the right placement more often than with 1 (CIFAR-10's training
part)."""


class Chances(NamedTuple):
    """Log-probabilities of who stands beside whom, and where, on a grid; axis 0 leads down the columns."""

    next: Tensor
    """(B, 2, n, n + 1): that tile j comes right behind tile i along an axis; last, that none does."""
    previous: Tensor
    """(B, 2, n, n + 1): that tile j comes right before tile i; last, that none does."""
    places: Tensor
    """(B, n, n): that tile i stands at place k, by its looks alone."""


class NeighbourOptimizer(OfOneSize):
    """Places tiles on a grid by learnt chances that one continues another, beside where each tile by itself may stand.

    The soft permutation comes of mean-field steps at a falling temperature, and is differentiable; the hard one is the
    nearest to it, improved by moves of blocks that lower the same cost.

    Args:
        sides: features of each side of an item, below, above, right and left, as of :class:`unshuffle.nets.TileSides`.
        shape: (rows, columns) of the grid; sets have as many items as it has places.
        hidden: units of the second layer of pairs.

    Example:
        >>> from unshuffle.nets import TileSides
        >>> tiles, see = torch.randn(4, 6, 1, 14, 14), TileSides((1, 14, 14), width=8)
        >>> NeighbourOptimizer(see.sides, (2, 3))(see(tiles), carried=tiles).sequence.shape
        torch.Size([4, 6, 1, 14, 14])
    """

    outermost: Tensor
    """(2, 2, n): 1 where a place is the last, or the first, along an axis."""

    def __init__(self, sides: tuple[int, ...], shape: tuple[int, int], *, hidden: int = 64) -> None:
        super().__init__()
        rows, columns = self.shape = shape
        self.compare = NeighbourNet(sides, rows * columns, hidden)
        place = torch.arange(rows * columns).reshape(shape)
        ends = [[place[-1], place[0]], [place[:, -1], place[:, 0]]]
        outermost = torch.stack([torch.stack([torch.isin(place.flatten(), end) for end in pair]) for pair in ends])
        self.register_buffer("outermost", outermost.float(), persistent=False)

    def chances(self, items: Float[Tensor, "batch n d"]) -> Chances:
        """Who stands beside whom, and where, each said by itself."""
        if items.shape[1] != self.outermost.shape[-1]:
            raise ValueError(
                f"NeighbourOptimizer: a grid of {self.shape[0]} x {self.shape[1]} takes sets of "
                f"{self.outermost.shape[-1]} items; got {items.shape[1]}."
            )
        said = Neighbourhood(*(_wide(scores) for scores in self.compare(items)))
        itself = torch.eye(items.shape[1], dtype=torch.bool, device=items.device)
        # A tile is no neighbour of its own; a large number, for infinity times 0 is none.
        pairs = said.pairs.masked_fill(itself, -1e4)
        last, first = said.ends.unbind(2)
        return Chances(
            torch.cat([pairs, last.unsqueeze(-1)], -1).log_softmax(-1),
            torch.cat([pairs.mT, first.unsqueeze(-1)], -1).log_softmax(-1),
            said.places.log_softmax(-1),
        )

    def costs(
        self, items: Float[Tensor, "batch n d"]
    ) -> tuple[Float[Tensor, "batch 2 n n"], Float[Tensor, "batch n n"]]:
        """What it costs that one tile stands right behind another, and that a tile stands at a place, in nats.

        A pair is what both of its tiles say, half and half; a place what the tile says of it, and of having no
        neighbour on the sides where the place has none.
        """
        found = self.chances(items)
        pairs = (found.next[..., :-1] + found.previous[..., :-1].mT) / 2
        alone = torch.stack([found.next[..., -1], found.previous[..., -1]], 2)
        ends = torch.einsum("baei,aek->bik", alone, self.outermost.to(alone.dtype))
        return -pairs.clamp_min(-DEAREST), -SURER * (found.places + ends / 2)

    def permutation(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n n"]:
        """The soft permutation alone."""
        pairs, places = self.costs(items)
        return arrange_by_neighbours(pairs, self.shape, places)

    @torch.no_grad()
    def positions(self, items: Float[Tensor, "batch n d"]) -> Int[Tensor, "batch n"]:
        """The one place of every item, from 0, of low cost by the same chances; as they stand where those are NaN."""
        pairs, places = self.costs(items)
        soft = arrange_by_neighbours(pairs, self.shape, places)
        start = assign(torch.where(soft.isfinite(), soft, torch.eye(soft.shape[-1]).to(soft)))
        return settle_neighbours(pairs, self.shape, start, places)

    @torch.no_grad()
    def hard(self, items: Float[Tensor, "batch n d"], carried: Float[Tensor, "batch n *item"] | None = None) -> Ordered:
        """The items, or what is ``carried`` in their stead, each at its one place; no gradient."""
        permutation = nn.functional.one_hot(self.positions(items), items.shape[1]).to(items.dtype)
        return Ordered(placed(permutation, items if carried is None else carried), permutation)

    @torch.no_grad()
    def stages(self, items: Float[Tensor, "batch n d"]) -> list[Tensor]:
        """The soft permutations at the start and after every step."""
        pairs, places = self.costs(items)
        return anneal_neighbours(pairs, self.shape, places)


def _wide(scores: Tensor) -> Tensor:
    """In single precision at least."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
