"""Permutation-Optimisation: sets made sequences, or grids, by an order that is learnt from whatever uses it.

Modules for any model: ``sequence, permutation = PermutationOptimizer(features)(items)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unshuffle import _check
from unshuffle.nets.pairwise import PairwiseCost
from unshuffle.ops.assignment import assign
from unshuffle.ops.descent import UPDATES, Update
from unshuffle.ops.ordering import arrange_by_costs, order_by_costs, with_unit_norm
from unshuffle.ops.sinkhorn import sinkhorn

Start = Literal["uniform", "linear"]


class Ordered(NamedTuple):
    """A set as a sequence: ``permutation.mT @ items``. On a grid, position ``row * columns + column``."""

    sequence: Tensor
    """(B, n, ...), softly or hard in order; 0 at the positions behind the items that are present."""
    permutation: Tensor
    """(B, n, n), items on rows and positions on columns."""


class PermutationOptimizer(nn.Module):
    """Turns sets into sequences, their items in an order of low cost; what two items cost is learnt.

    The order does not depend on that in which a set is given. Where items are compared that are better moved in another
    form, such as features and pictures, give the latter as ``carried``.

    Args:
        features: d, of each item.
        hidden: units of the network that compares two items; the paper has 16 to sort numbers, 128 for objects.
        steps: of the inner descent; the paper makes 6 to sort numbers, 4 for mosaics, 3 for objects.
        iterations: of each Sinkhorn.
        start: ``"uniform"`` (PO-U) for sets of any size, or ``"linear"`` (PO-LA): logits linear in each item.
        size: n, of all sets; for ``start="linear"``, which has weights for every position.
        update: of the inner descent, see :func:`~unshuffle.ops.order_by_costs`.
        clip: the linear start's logits are kept within plus and minus this; the authors have 10 for some mosaics.
        bias_out: see :class:`~unshuffle.nets.PairwiseCost`.

    Raises:
        ValueError: an option is out of its range, or ``size`` is missing.

    Example:
        >>> place = PermutationOptimizer(features=5)
        >>> sequence, permutation = place(torch.randn(8, 20, 5))
        >>> sequence.shape, permutation.shape
        (torch.Size([8, 20, 5]), torch.Size([8, 20, 20]))

    Source: Zhang, Prügel-Bennett & Hare, "Learning Representations of Sets through Optimized Permutations", ICLR 2019.
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: int = 64,
        steps: int = 4,
        iterations: int = 4,
        start: Start = "uniform",
        size: int | None = None,
        update: Update = "alternative",
        clip: float = math.inf,
        bias_out: bool = False,
    ) -> None:
        super().__init__()
        _check_options("PermutationOptimizer", steps, iterations, start, update, clip)
        if start == "linear" and size is None:
            raise ValueError(
                "PermutationOptimizer: `size` must say how many items all sets have, for start='linear'; got None."
            )
        self.compare = PairwiseCost(features, hidden, bias_out=bias_out)
        self.start = None if start == "uniform" or size is None else LinearStart(features, size, clip)
        self.step_size = nn.Parameter(torch.ones(()))
        self.steps, self.iterations = steps, iterations
        self.update: Update = update

    def forward(
        self,
        items: Float[Tensor, "batch n d"],
        mask: Bool[Tensor, "batch n"] | None = None,
        carried: Float[Tensor, "batch n *item"] | None = None,
    ) -> Ordered:
        """The items, or what is ``carried`` in their stead, softly in order; those that ``mask`` says are absent, 0."""
        permutation = self.permutation(items, mask)
        return Ordered(placed(permutation, _present(items if carried is None else carried, mask)), permutation)

    @torch.no_grad()
    def hard(
        self,
        items: Float[Tensor, "batch n d"],
        mask: Bool[Tensor, "batch n"] | None = None,
        carried: Float[Tensor, "batch n *item"] | None = None,
    ) -> Ordered:
        """The same with every item at one position: the permutation nearest to the soft one; no gradient."""
        permutation = _nearest(self.permutation(items, mask), mask)
        return Ordered(placed(permutation, _present(items if carried is None else carried, mask)), permutation)

    def permutation(
        self, items: Float[Tensor, "batch n d"], mask: Bool[Tensor, "batch n"] | None = None
    ) -> Float[Tensor, "batch n n"]:
        """The soft permutation alone."""
        items = _present(items, mask)
        return order_by_costs(
            with_unit_norm(self.compare(items).squeeze(1), mask),
            None if self.start is None else self.start(items),
            steps=self.steps, step_size=self.step_size, iterations=self.iterations, update=self.update, mask=mask,
        )  # fmt: skip


class OfOneSize(nn.Module):
    """What places the items of sets that all have the same number of them."""

    def forward(
        self, items: Float[Tensor, "batch n d"], carried: Float[Tensor, "batch n *item"] | None = None
    ) -> Ordered:
        """The items, or what is ``carried`` in their stead, softly in their places."""
        permutation = self.permutation(items)
        return Ordered(placed(permutation, items if carried is None else carried), permutation)

    @torch.no_grad()
    def hard(self, items: Float[Tensor, "batch n d"], carried: Float[Tensor, "batch n *item"] | None = None) -> Ordered:
        """The same with every item at one place: the permutation nearest to the soft one; no gradient."""
        permutation = _nearest(self.permutation(items))
        return Ordered(placed(permutation, items if carried is None else carried), permutation)

    def permutation(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n n"]:
        """The soft permutation alone."""
        raise NotImplementedError


class GridOptimizer(OfOneSize):
    """Places the items of a set on a grid, or on a lattice of any axes, by learnt costs along each axis.

    Args:
        features: d, of each item.
        shape: (rows, columns) of the grid, or one length for each axis; sets have as many items as it has places.
        hidden: units of the network that compares two items.
        steps: of the inner descent.
        iterations: of each Sinkhorn.
        start: ``"uniform"`` (PO-U) or ``"linear"`` (PO-LA).
        update: of the inner descent, see :func:`~unshuffle.ops.arrange_by_costs`.
        clip: the linear start's logits are kept within plus and minus this.
        bias_out: see :class:`~unshuffle.nets.PairwiseCost`.

    Raises:
        ValueError: an option is out of its range.

    Example:
        >>> place = GridOptimizer(features=10, shape=(2, 3))
        >>> tiles = torch.randn(4, 6, 1, 14, 14)
        >>> place(torch.randn(4, 6, 10), carried=tiles).sequence.shape
        torch.Size([4, 6, 1, 14, 14])

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, section 2.4; costs of columns (along axis 0) come first.
    """

    def __init__(
        self,
        features: int,
        shape: Sequence[int],
        *,
        hidden: int = 64,
        steps: int = 4,
        iterations: int = 4,
        start: Start = "uniform",
        update: Update = "alternative",
        clip: float = math.inf,
        bias_out: bool = False,
    ) -> None:
        super().__init__()
        _check_options("GridOptimizer", steps, iterations, start, update, clip)
        self.shape = tuple(shape)
        self.compare = PairwiseCost(features, hidden, len(self.shape), bias_out=bias_out)
        self.start = None if start == "uniform" else LinearStart(features, math.prod(self.shape), clip)
        self.step_size = nn.Parameter(torch.ones(()))
        self.steps, self.iterations = steps, iterations
        self.update: Update = update

    def permutation(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n n"]:
        """The soft permutation alone."""
        return arrange_by_costs(
            with_unit_norm(self.compare(items)), self.shape, None if self.start is None else self.start(items),
            steps=self.steps, step_size=self.step_size, iterations=self.iterations, update=self.update,
        )  # fmt: skip


class LinearAssigner(OfOneSize):
    """Gives each item its position by a linear map of that item alone: the baseline LinAssign.

    Args:
        features: d, of each item.
        size: n, of all sets: the map has weights for every position.
        iterations: of Sinkhorn.
        clip: the logits are kept within plus and minus this.

    Source: Mena et al., "Learning Latent Permutations with Gumbel-Sinkhorn Networks", ICLR 2018, as Zhang et al. 2019
    compare it (equation 6, right).
    """

    def __init__(self, features: int, size: int, *, iterations: int = 4, clip: float = math.inf) -> None:
        super().__init__()
        _check_options("LinearAssigner", 0, iterations, "linear", "alternative", clip)
        self.start = LinearStart(features, size, clip)
        self.iterations = iterations

    def permutation(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n n"]:
        """The soft permutation alone."""
        return sinkhorn(self.start(items), num_iters=self.iterations)


class LinearStart(nn.Module):
    """A logit for each item and position, linear in the item's features (equation 6, right)."""

    def __init__(self, features: int, size: int, clip: float) -> None:
        super().__init__()
        self.places = nn.Linear(features, size, bias=False)
        nn.init.xavier_uniform_(self.places.weight)
        self.clip = clip

    def forward(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n n"]:
        """The logits, within the clip."""
        if items.shape[1] != self.places.out_features:
            raise ValueError(
                f"a linear start has weights for sets of {self.places.out_features} items; got {items.shape[1]}. "
                "For sets of other sizes use start='uniform'."
            )
        return self.places(items).clamp(-self.clip, self.clip)


def _check_options(function: str, steps: int, iterations: int, start: str, update: str, clip: float) -> None:
    _check.not_negative(function, "steps", steps)
    _check.positive(function, "iterations", iterations)
    _check.one_of(function, "start", start, ("uniform", "linear"))
    _check.one_of(function, "update", update, UPDATES)
    _check.positive(function, "clip", clip)


def _present(items: Tensor, mask: Tensor | None) -> Tensor:
    """0 where no item is present, whatever the padding holds."""
    return items if mask is None else torch.where(mask.reshape(*mask.shape, *[1] * (items.ndim - 2)), items, 0.0)


def placed(permutation: Tensor, carried: Tensor) -> Tensor:
    """What is carried (B, n, ...), softly at its positions: (B, n, n) permutations have items on rows."""
    return (permutation.mT.to(carried.dtype) @ carried.flatten(2)).reshape(carried.shape)


def _nearest(permutation: Tensor, mask: Tensor | None = None) -> Tensor:
    """The hard permutation that collects most of a soft one; absent items have no position."""
    n = permutation.shape[-1]
    position = torch.arange(n, device=permutation.device)
    pairs = None if mask is None else mask.unsqueeze(-1) & (position < mask.sum(1)[:, None, None])
    return (assign(permutation, mask=pairs).unsqueeze(-1) == position).to(permutation.dtype)
