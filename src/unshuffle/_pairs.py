"""Concordant, discordant, and tied pairs of two rankings, in O(n log n) memory.

The pairs are never listed: items are sorted by the first ranking, and the inversions of the second one are counted
while its halves are merged (Knight, "A computer method for calculating Kendall's tau with ungrouped data", JASA 1966).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Real, Shaped
from torch import Tensor


class PairCounts(NamedTuple):
    """Pairs of items of each sample, (...), int64. Counts of a sample with NaN mean nothing; see ``has_nan``."""

    total: int
    """n (n - 1) / 2, the same for every sample."""
    discordant: Int[Tensor, "*batch"]
    """Pairs in opposite order."""
    tied_first: Int[Tensor, "*batch"]
    """Pairs tied in the first ranking, whether or not they tie in the second."""
    tied_second: Int[Tensor, "*batch"]
    tied_both: Int[Tensor, "*batch"]
    has_nan: Bool[Tensor, "*batch"]

    @property
    def concordant(self) -> Int[Tensor, "*batch"]:
        """Pairs in the same order, tied in neither ranking."""
        return self.total - self.tied_first - self.tied_second + self.tied_both - self.discordant


def count_pairs(first: Real[Tensor, "*batch n"], second: Real[Tensor, "*batch n"]) -> PairCounts:
    """Count the pairs of items that two rankings put in the same order, in opposite orders, or tie.

    Args:
        first, second: scores or ranks of the same n items, of any real dtype each.
    """
    n = first.shape[-1]
    ranks = [_dense_ranks(widened(values)) for values in (first, second)]
    joint = (ranks[0] * n + ranks[1]).sort(dim=-1).values  # by the first ranking, then by the second
    has_nan = first.isnan().any(-1) | second.isnan().any(-1)
    return PairCounts(
        n * (n - 1) // 2,
        _inversions(joint % max(n, 1)),
        _tied_pairs(joint // max(n, 1)),
        _tied_pairs(ranks[1].sort(dim=-1).values),
        _tied_pairs(joint),
        has_nan,
    )


def as_int64(values: Shaped[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Integers or booleans as int64 in the same order; of uint64, which reaches higher, not with the same values."""
    if values.dtype != torch.uint64:
        return values.long()
    return values.view(torch.int64) ^ torch.iinfo(torch.int64).min  # the top bit becomes the sign


def widened(values: Real[Tensor, "..."]) -> Tensor:
    """The same order in a dtype that PyTorch sorts everywhere."""
    if values.is_floating_point():
        return values if values.dtype is torch.float64 else values.float()
    return as_int64(values)


def _dense_ranks(values: Tensor) -> Tensor:
    """Numbers from 0 in ascending order of value; equal values share one."""
    ordered, order = values.sort(dim=-1)
    steps = torch.zeros_like(order)
    steps[..., 1:] = (ordered[..., 1:] != ordered[..., :-1]).cumsum(-1)
    return torch.empty_like(order).scatter_(-1, order, steps)


def _tied_pairs(ordered: Tensor) -> Tensor:
    """Pairs of equal values in sorted rows: each value ties with all equal ones before it."""
    before = torch.searchsorted(ordered.contiguous(), ordered.contiguous())
    return (torch.arange(ordered.shape[-1], device=ordered.device) - before).sum(-1)


def _inversions(values: Tensor) -> Tensor:
    """Pairs i < j with values[i] > values[j], counted by merging sorted blocks of doubling width."""
    n, total, width = values.shape[-1], torch.zeros(values.shape[:-1], dtype=torch.int64, device=values.device), 1
    padding = (1 << max(n - 1, 0).bit_length()) - n
    blocks = torch.nn.functional.pad(values, (0, padding), value=n)  # larger than all, at the end: no inversions
    while width < n:
        halves = blocks.unflatten(-1, (-1, 2, width))
        left, right = halves[..., 0, :].contiguous(), halves[..., 1, :].contiguous()
        total += (width - torch.searchsorted(left, right, right=True)).sum((-2, -1))
        blocks = halves.flatten(-2).sort(dim=-1).values.flatten(-2)
        width *= 2
    return total


def with_nan(values: Tensor, counts: PairCounts) -> Tensor:
    """``values`` with NaN for every sample whose rankings hold NaN."""
    return values.masked_fill(counts.has_nan, torch.nan)
