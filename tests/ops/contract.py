"""What every operator of ``ops.ALL`` promises, written down once: the suite beside this file runs over ``CASES``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unshuffle import ops
from unshuffle.permutations import to_ranks


@dataclass(frozen=True)
class Case:
    """One operator, with what the suite cannot know by itself."""

    operator: Callable[..., Tensor]
    strength: str
    """The keyword whose small values are sharp."""
    equivariant: bool
    """Whether shuffled items give shuffled answers (ranks) or the same answer (sorted values)."""
    hard: Callable[[Tensor], Tensor]
    """The answer in the limit of no strength."""
    flat: Callable[[Tensor], Tensor]
    """The answer in the limit of unbounded strength; it has the sum of every answer."""

    def __call__(self, values: Tensor, *, strength: float = 0.7, dim: int = -1) -> Tensor:
        return self.operator(values, **{self.strength: strength}, dim=dim)


def middle(values: Tensor) -> Tensor:
    """All ranks (n + 1) / 2."""
    return torch.full_like(values, (values.shape[-1] + 1) / 2)


def mean(values: Tensor) -> Tensor:
    """All values their mean."""
    return values.mean(-1, keepdim=True).expand_as(values)


def ascending(values: Tensor) -> Tensor:
    """Sorted values."""
    return values.sort(-1).values


_CONTRACTS = {
    ops.soft_rank: Case(ops.soft_rank, "regularization_strength", True, to_ranks, middle),
    ops.soft_sort: Case(ops.soft_sort, "regularization_strength", False, ascending, mean),
    ops.perturbed_rank: Case(ops.perturbed_rank, "sigma", True, to_ranks, middle),
}

# An operator that joins `ops.ALL` without a contract fails here, at collection.
CASES = [_CONTRACTS[operator] for operator in ops.ALL]
RANKS = [case for case in CASES if case.equivariant]


def name(case: Case) -> str:
    return getattr(case.operator, "__name__", str(case.operator))
