"""Permutations as tensors: drawing, inverting, applying, comparing.

A permutation is an *order*: integers from 0 on the last axis. A shuffled sample is ``shuffled[i] = original[perm[i]]``,
so ``perm[i] + 1`` is the rank of slot i: where its content belongs. Ranks are floats, counted from 1, ascending.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int, Real, Shaped
from torch import Tensor

from unshuffle import _check
from unshuffle._pairs import as_int64, count_pairs, with_nan
from unshuffle._ranges import Many, Seed
from unshuffle.values import register


def sample(batch: int, n: int, *, generator: torch.Generator | None = None) -> Int[Tensor, "{batch} {n}"]:
    """Draws ``batch`` permutations, uniformly from all n! of them.

    Args:
        batch: how many.
        n: length of each.
        generator: source of randomness; its device is that of the result.

    Returns:
        (batch, n) int64 on the generator's device.

    Example:
        >>> sample(2, 4, generator=torch.Generator().manual_seed(0)).sort().values
        tensor([[0, 1, 2, 3],
                [0, 1, 2, 3]])
    """
    batch, n = _check.count("sample", "batch", batch, least=0), _check.count("sample", "n", n, least=0)
    _check.random_source("sample", generator)
    device = generator.device if generator is not None else None
    # Double precision: two equal keys, which would bias the draw, are then out of reach in practice.
    return torch.rand(batch, n, generator=generator, dtype=torch.float64, device=device).argsort(dim=-1)


def invert(perm: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch n"]:
    """Returns the permutation that undoes ``perm``: ``compose(perm, invert(perm))`` is the identity.

    Raises:
        TypeError: ``perm`` does not hold integers.
        ValueError: ``perm`` is no permutation (not looked at under ``torch.compile`` and ``torch.func``).

    Example:
        >>> invert(torch.tensor([2, 0, 1]))
        tensor([1, 2, 0])
    """
    _check.permutation("invert", "perm", perm)
    return perm.long().argsort(dim=-1)


def compose(first: Int[Tensor, "*batch n"], then: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch n"]:
    """Returns the one permutation that equals applying ``first`` and ``then`` after it, in the dtype of ``first``.

    Raises:
        TypeError: an argument does not hold integers.
        ValueError: an argument is no permutation (not looked at under ``torch.compile`` and ``torch.func``), or the
            shapes differ.

    Example:
        >>> compose(torch.tensor([2, 0, 1]), torch.tensor([0, 2, 1]))
        tensor([2, 1, 0])
    """
    _check.permutation("compose", "first", first)
    _check.permutation("compose", "then", then)
    _check.same_shape("compose", "then", then, "first", first)
    return first.long().gather(-1, then.long()).to(first.dtype)


def apply(items: Shaped[Tensor, "batch n *rest"], perm: Int[Tensor, "batch n"]) -> Shaped[Tensor, "batch n *rest"]:
    """Shuffles the items of each sample: ``out[b, i] = items[b, perm[b, i]]``.

    Args:
        items: (B, n, ...), of any dtype.
        perm: (B, n) order of each sample.

    Raises:
        TypeError: ``items`` is no dense tensor, or ``perm`` does not hold integers.
        ValueError: the first two axes differ, or ``perm`` is no permutation.

    Example:
        >>> perm = torch.tensor([[2, 0, 1]])
        >>> shuffled = apply(torch.tensor([[10, 20, 30]]), perm)
        >>> shuffled, apply(shuffled, invert(perm))
        (tensor([[30, 10, 20]]), tensor([[10, 20, 30]]))
    """
    _check.tensor("apply", "items", items)
    _check.permutation("apply", "perm", perm)
    if perm.ndim != 2:
        raise ValueError(f"apply: `perm` must be (B, n); got {tuple(perm.shape)}. Call `perm.unsqueeze(0)` for one.")
    if items.shape[:2] != perm.shape:
        raise ValueError(
            f"apply: `items` must start with the shape of `perm`, {tuple(perm.shape)}; got {tuple(items.shape)}."
        )
    return items[torch.arange(len(perm), device=items.device).unsqueeze(-1), perm.long().to(items.device)]


def lay_out(tiles: Shaped[Tensor, "batch n c h w"], rows: int, columns: int) -> Shaped[Tensor, "batch c height width"]:
    """Lays n = rows * columns tiles out as one picture, left to right and top to bottom.

    Args:
        tiles: (B, n, C, h, w), of any dtype.
        rows: tiles from top to bottom.
        columns: tiles from left to right.

    Returns:
        (B, C, rows * h, columns * w).

    Raises:
        ValueError: there are not rows * columns tiles.

    Example:
        >>> lay_out(torch.arange(4).reshape(1, 4, 1, 1, 1), 2, 2)[0, 0]
        tensor([[0, 1],
                [2, 3]])
    """
    _check.tensor("lay_out", "tiles", tiles, meta=True)
    rows, columns = _check.count("lay_out", "rows", rows), _check.count("lay_out", "columns", columns)
    if tiles.ndim != 5:
        raise ValueError(f"lay_out: `tiles` must be (B, n, C, h, w); got {tuple(tiles.shape)}.")
    batch, n, channels, h, w = tiles.shape
    if n != rows * columns:
        raise ValueError(f"lay_out: `tiles` must be {rows} x {columns} = {rows * columns} on axis 1; got {n}.")
    grid = tiles.reshape(batch, rows, columns, channels, h, w).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, channels, rows * h, columns * w)


def to_ranks(scores: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Ranks scores: ascending, from 1, tied scores sharing their average rank (as ``scipy.stats.rankdata``).

    Args:
        scores: (..., n) of any real dtype.

    Returns:
        Floating ranks, in the dtype of ``scores`` (float32 for integers). A set that holds NaN is NaN whole.

    Example:
        >>> to_ranks(torch.tensor([0.3, 0.1, 0.3]))
        tensor([2.5000, 1.0000, 2.5000])
    """
    _check.real("to_ranks", "scores", scores, meta=True)
    _check.has_axis("to_ranks", "scores", scores)
    if not scores.is_floating_point():
        scores = as_int64(scores)
    ordered = scores.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, scores.contiguous(), side="left")
    up_to = torch.searchsorted(ordered, scores.contiguous(), side="right")
    ranks = (below + up_to + 1) / 2
    if not scores.is_floating_point():
        return ranks
    return torch.where(scores.isnan().any(-1, keepdim=True), torch.nan, ranks.to(scores.dtype))


def to_matrix(perm: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    """Writes an order as a matrix, items on rows and positions on columns: ``to_matrix(order).T @ items`` is sorted.

    ``perm[k]`` is the item at position k, so the entry (perm[k], k) is one.

    Example:
        >>> items = torch.tensor([30.0, 10.0, 20.0])
        >>> to_matrix(items.argsort()).T @ items
        tensor([10., 20., 30.])
    """
    _check.permutation("to_matrix", "perm", perm)
    return torch.eye(perm.shape[-1], device=perm.device)[perm.long()].mT


def rank_matrix(ranks: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    """Writes ranks as a matrix, items on rows and positions on columns: one where an item belongs.

    Tied items share the positions of their group evenly: a block of equal entries, each row and column of which sums
    to one like all others. Ranks without ties give the matrix of their permutation.

    Args:
        ranks: (..., n) from 1, ascending, tied items sharing their average rank, as :func:`to_ranks` gives them.

    Returns:
        (..., n, n) doubly stochastic, in the dtype of ``ranks``.

    Example:
        >>> rank_matrix(torch.tensor([1.5, 3.0, 1.5]))
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000],
                [0.5000, 0.5000, 0.0000]])
    """
    _check.floating("rank_matrix", "ranks", ranks, meta=True)
    _check.has_axis("rank_matrix", "ranks", ranks)
    size = (ranks.unsqueeze(-1) == ranks.unsqueeze(-2)).sum(-1).unsqueeze(-1)
    positions = torch.arange(1, ranks.shape[-1] + 1, dtype=ranks.dtype, device=ranks.device)
    within = (positions - ranks.unsqueeze(-1)).abs() <= (size - 1) / 2
    return within.to(ranks.dtype) / size


def spread_out(count: int, n: int, *, seed: int = 0, pool: int = 20_000) -> Int[Tensor, "{count} {n}"]:
    """Picks ``count`` distinct permutations that lie far apart: the fixed set of the jigsaw papers.

    Greedy: each new member is the candidate whose smallest Hamming distance to those chosen is largest; among equals,
    the one whose mean distance is largest. Candidates are all n! where they are no more than ``pool``, else ``pool``
    random ones.

    Args:
        count: size of the set, from 1 to n!.
        n: length of the permutations.
        seed: of the first member and of the candidates; the same set for the same arguments.
        pool: how many candidates at the most.

    Raises:
        ValueError: ``count`` is not positive, or there are fewer permutations of n.

    Source: Noroozi & Favaro 2016, Algorithm 1 (whose public code maximises the mean distance alone).
    """
    count, n = _check.count("spread_out", "count", count), _check.count("spread_out", "n", n)
    seed = _check.count("spread_out", "seed", seed, least=0, most=2**63 - 1)
    pool = _check.count("spread_out", "pool", pool)
    candidates = _candidates(count, n, seed=seed, pool=pool)
    chosen = [0]
    total = (candidates != candidates[0]).sum(-1)
    nearest = total.clone()
    while len(chosen) < count:
        best = int((nearest * (total.max() + 1) + total).argmax())
        chosen.append(best)
        distance = (candidates != candidates[best]).sum(-1)
        nearest, total = torch.minimum(nearest, distance), total + distance
    return candidates[chosen]


def _candidates(count: int, n: int, *, seed: int, pool: int) -> Tensor:
    """Distinct permutations to choose from, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    total = 1
    for k in range(2, min(n, 20) + 1):  # 20! is beyond any set
        total = min(total * k, 10**18)
    if count > total:
        raise ValueError(f"spread_out: `count` must be at most {n}! = {total}; got {count}.")
    # Above twice the count, the draws below hold enough distinct ones.
    if total <= max(pool, 2 * count):
        every = _all_permutations(n)
        return every[torch.randperm(len(every), generator=generator)]
    drawn = torch.unique(sample(2 * max(pool, count), n, generator=generator), dim=0)
    return drawn[torch.randperm(len(drawn), generator=generator)][: max(pool, count)]


def _all_permutations(n: int) -> Tensor:
    """All n! permutations, by inserting each new number at every place of the shorter ones."""
    rows = torch.zeros(1, 0, dtype=torch.int64)
    for k in range(n):
        rows = torch.cat(
            [torch.cat([rows[:, :i], torch.full((len(rows), 1), k), rows[:, i:]], 1) for i in range(k + 1)]
        )
    return rows


@register
@dataclass(frozen=True)
class SpreadOut:
    """The fixed set of :func:`spread_out`, as a value that a transform and a loss can share."""

    count: Many = 100
    """How many permutations; Shuffle to Learn's baseline has 100."""
    seed: Seed = 0
    """Of the greedy choice."""

    def build(self, n: int) -> Int[Tensor, "count {n}"]:
        """The set for n patches, made once: (count, n) orders from 0."""
        return _built(self, n)


@lru_cache(maxsize=32)
def _built(choice: SpreadOut, n: int) -> Tensor:
    return spread_out(choice.count, n, seed=choice.seed)


def hamming_similarity(first: Real[Tensor, "*batch n"], second: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Share of the places at which two permutations (or two rankings) agree: 1 for equal ones.

    On matrices, as DeepPermNet counts it, the figure is higher; see the evaluation of that name.

    Example:
        >>> hamming_similarity(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 3, 2]))
        tensor(0.5000)
    """
    _check_both("hamming_similarity", first=first, second=second)
    _check.same_shape("hamming_similarity", "second", second, "first", first)
    return (first == second).float().mean(-1)


def partial_ranks(predicted: Float[Tensor, "*batch n"], true: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Share of the patches that are put in their right position.

    Both arguments are ranks from 1; ``predicted`` must be hard (of :func:`to_ranks`). Tied true ranks mean the items
    may stand in either order: an item counts as right at any position that its tie group covers.

    Source: Shuffle to Learn, section 3 ("partial ranks").
    """
    _check_both("partial_ranks", predicted=predicted, true=true)
    _check.same_shape("partial_ranks", "predicted", predicted, "true", true)
    predicted, true = (x if x.is_floating_point() else x.double() for x in (predicted, true))
    half_width = ((true.unsqueeze(-1) == true.unsqueeze(-2)).sum(-1) - 1) / 2
    return ((predicted - true).abs() <= half_width).float().mean(-1)


def exact_order(predicted: Float[Tensor, "*batch n"], true: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """1 for every sample whose items are all in their right position, else 0; ties as in :func:`partial_ranks`."""
    _check_both("exact_order", predicted=predicted, true=true)
    _check.same_shape("exact_order", "predicted", predicted, "true", true)
    return (partial_ranks(predicted, true) == 1).float()


def kendall_tau(first: Real[Tensor, "*batch n"], second: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Kendall's tau-b: 1 for the same order, -1 for the reverse, ties as in ``scipy.stats.kendalltau``.

    Args:
        first, second: scores or ranks of the same items, of any real dtype. Rankings in which all items tie, or that
            hold NaN, give NaN.

    Returns:
        One value a sample, float64 where an argument is, else float32. Memory grows as n log n.

    Example:
        >>> kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0]))
        tensor(0.3333)
    """
    _check_both("kendall_tau", first=first, second=second)
    _check.same_shape("kendall_tau", "second", second, "first", first)
    counts = count_pairs(first, second)
    untied_first, untied_second = (counts.total - tied for tied in (counts.tied_first, counts.tied_second))
    tau = (counts.concordant - counts.discordant).double() / (untied_first.double() * untied_second).sqrt()
    wide = torch.float64 in (first.dtype, second.dtype)
    return with_nan(tau, counts).to(torch.float64 if wide else torch.float32)


def _check_both(function: str, **values: Tensor) -> None:
    for name, value in values.items():
        _check.real(function, name, value, meta=True)
        _check.has_axis(function, name, value)
