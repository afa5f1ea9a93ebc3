"""Networks that arrange sets: numbers into a sequence, tiles into a mosaic; built from frozen values.

Each is something that sees one item alone, and something that places all items of a set: by an optimised permutation
(PO-U from a uniform start, PO-LA from a linear one), by the linear assignment alone (LinAssign), or, tiles, by who
continues whom (neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unshuffle import _check, ops
from unshuffle._ranges import Count, Few, MaybeFew, Positive, Size
from unshuffle.methods.neighbours import NeighbourOptimizer
from unshuffle.methods.permopt import GridOptimizer, LinearAssigner, Ordered, PermutationOptimizer
from unshuffle.nets.sides import TileSides
from unshuffle.nets.tiles import TileFeatures
from unshuffle.ops.descent import Update
from unshuffle.values import register

Model = Literal["po-u", "po-la", "lin-assign"]
MODELS = ("po-u", "po-la", "lin-assign")
MosaicModel = Literal["po-u", "po-la", "lin-assign", "neighbours"]
MOSAIC_MODELS = (*MODELS, "neighbours")
NO_CLIP = float("inf")


Place = PermutationOptimizer | GridOptimizer | LinearAssigner | NeighbourOptimizer


class Arranger(nn.Module):
    """A set in, the same set in a learnt arrangement out.

    Args:
        see: from items (B, n, ...) to features (B, n, d), each item alone.
        place: a module of :mod:`unshuffle.methods.permopt`.
    """

    def __init__(self, see: nn.Module, place: Place) -> None:
        super().__init__()
        self.see, self.place = see, place

    def forward(self, items: Float[Tensor, "batch n *item"]) -> Ordered:
        """The items softly in place, and the soft permutation."""
        return self.place(self.see(items), carried=items)

    def places(self, items: Float[Tensor, "batch n *item"]) -> Int[Tensor, "batch n"]:
        """The one position of every item, from 0: by the permutation nearest to the soft one, or by neighbours."""
        if isinstance(self.place, NeighbourOptimizer):
            return self.place.positions(self.see(items))
        return nearest(self(items).permutation)

    def embed(self, items: Float[Tensor, "batch n *item"]) -> Float[Tensor, "batch d"]:
        """The mean of the items' features: the same for every order of the items."""
        return self.see(items).mean(1)

    def costs(self, items: Float[Tensor, "batch n *item"]) -> Float[Tensor, "batch axes n n"]:
        """F of every pair and axis before it is normalised: negative where the row's item should come first.

        Of neighbours, what it costs that the column's item stands right behind the row's.

        Raises:
            ValueError: a linear assignment compares no items.
        """
        if isinstance(self.place, NeighbourOptimizer):
            return self.place.costs(self.see(items))[0]
        if isinstance(self.place, LinearAssigner):
            raise ValueError("costs: LinAssign compares no items; it has none.")
        return self.place.compare(self.see(items))

    @torch.no_grad()
    def stages(self, items: Float[Tensor, "batch n *item"]) -> list[Tensor]:
        """The soft permutations before the first inner step, after it, and so on; only one where there are no steps."""
        if isinstance(self.place, LinearAssigner):
            return [self(items).permutation]
        if isinstance(self.place, NeighbourOptimizer):
            return self.place.stages(self.see(items))
        seen, steps = self.see(items), self.place.steps
        found = []
        try:
            for done in range(steps + 1):
                self.place.steps = done
                found.append(self.place(seen).permutation)
        finally:
            self.place.steps = steps
        return found

    @property
    def step_size(self) -> Tensor | None:
        """The learnt step size as it is used, its absolute value; None where there is none to learn."""
        if isinstance(self.place, (LinearAssigner, NeighbourOptimizer)):
            return None
        return self.place.step_size.detach().abs()


def nearest(permutation: Float[Tensor, "batch n n"]) -> Int[Tensor, "batch n"]:
    """The position of every item in the permutation nearest to a soft one; of NaN, the items as they stand."""
    found = permutation.detach().float() if permutation.dtype != torch.float64 else permutation.detach()
    if bool(found.isfinite().all()):
        return ops.assign(found)
    whole = found.isfinite().all(-1).all(-1)
    placed = torch.arange(found.shape[-1], device=found.device).expand(found.shape[:-1]).clone()
    placed[whole] = ops.assign(found[whole])
    return placed


@register
@dataclass(frozen=True)
class NumberNet:
    """Describes an :class:`Arranger` of numbers: enough to build it again.

    Source: Zhang et al. 2019, appendix F.1; of ``lin-assign``, Mena et al. 2018.
    """

    model: Model = "po-u"
    size: Size = 10
    hidden: Size = 16
    steps: MaybeFew = 6
    iterations: Few = 4
    update: Update = "alternative"

    def __post_init__(self) -> None:
        _check.one_of("NumberNet", "model", self.model, MODELS)

    def build(self) -> Arranger:
        """The network, with fresh weights."""
        if self.model == "lin-assign":
            # A linear map of a number alone could not tell where it lies: it is seen by a hidden layer first.
            see = nn.Sequential(nn.Linear(1, self.hidden), nn.ReLU())
            return Arranger(see, LinearAssigner(self.hidden, self.size, iterations=self.iterations))
        place = PermutationOptimizer(
            1, hidden=self.hidden, steps=self.steps, iterations=self.iterations,
            update=self.update, start="uniform" if self.model == "po-u" else "linear", size=self.size,
        )  # fmt: skip
        return Arranger(nn.Identity(), place)


@register
@dataclass(frozen=True)
class MosaicNet:
    """Describes an :class:`Arranger` of tiles: enough to build it again.

    Of ``neighbours``, only ``width`` and ``hidden`` count.

    Source: Zhang et al. 2019, appendix F.2 and figure 10; ``neighbours`` is ours.
    """

    model: MosaicModel
    rows: Few
    columns: Few
    tile_shape: tuple[Count, ...]
    width: Few = 64
    hidden: Size = 64
    steps: MaybeFew = 4
    iterations: Few = 4
    update: Update = "alternative"
    clip: Positive | None = None

    def __post_init__(self) -> None:
        _check.one_of("MosaicNet", "model", self.model, MOSAIC_MODELS)

    def build(self) -> Arranger:
        """The network, with fresh weights."""
        if self.model == "neighbours":
            sides = TileSides(self.tile_shape, self.width)
            return Arranger(sides, NeighbourOptimizer(sides.sides, (self.rows, self.columns), hidden=self.hidden))
        see = TileFeatures(self.tile_shape, self.width)
        clip = NO_CLIP if self.clip is None else self.clip
        if self.model == "lin-assign":
            count = self.rows * self.columns
            return Arranger(see, LinearAssigner(see.features, count, iterations=self.iterations, clip=clip))
        place = GridOptimizer(
            see.features, (self.rows, self.columns), hidden=self.hidden, steps=self.steps, iterations=self.iterations,
            update=self.update, start="uniform" if self.model == "po-u" else "linear", clip=clip,
        )  # fmt: skip
        return Arranger(see, place)


def size_of(net: Arranger) -> int | None:
    """How many items a set must have; None where any number will do."""
    if isinstance(net.place, PermutationOptimizer) and net.place.start is None:
        return None
    if isinstance(net.place, (GridOptimizer, NeighbourOptimizer)):
        return int(torch.Size(net.place.shape).numel())
    return cast(nn.Linear, net.place.start.places).out_features  # type: ignore[union-attr]
