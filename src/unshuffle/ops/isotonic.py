"""Isotonic regression: which neighbours share a value in the best decreasing fit.

The fit behind a projection onto a permutahedron has one value a block of neighbours (Blondel et al. 2020, section 4),
so it is found in two steps: the blocks, by an exact solver that needs no gradient, and what each block is worth, by
plain differentiable operations. The gradient of the second is the exact gradient of the whole wherever it exists.

This is the PyTorch form, for any device and transform; ``_native/permutahedron.c`` is the fast one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression
from torch import Tensor

from unshuffle.ops import _native

# Up to here the O(n^2) form is faster than a Python loop over rows and its memory does not matter.
_FASTER_UP_TO = 64
# Up to here it is also the form under torch.compile, where no loop over rows is possible.
COMPILED_UP_TO = 2048
# Relative to their size, fits closer than this differ by rounding alone.
_TIED = 1e-12


@torch.no_grad()
def decreasing_blocks(
    targets: Float[Tensor, "batch n"], parts: Int[Tensor, "batch n"], log_weights: Float[Tensor, "batch n"] | None
) -> Int[Tensor, "batch n"]:
    r"""Numbers the blocks of the best non-increasing fit to each row, from 0, left to right.

    Args:
        targets: (batch, n) finite numbers.
        parts: (batch, n) ascending; no block crosses from one part to another, each is fitted alone.
        log_weights: None for least squares, whose fit to a block is the mean of its targets. Else the fit to a block is
            the log-sum-exp of its targets less that of its log-weights (:math:`-\infty` allowed).

    Returns:
        (batch, n) int64: entries with the same number share one fitted value. Neighbours of equal fits are one block.

    Source: Barlow et al. 1972 (the min-max formula); Best & Chakravarti 1990 (pooling adjacent violators).
    """
    targets = targets.detach()
    log_weights = None if log_weights is None else log_weights.detach()
    n = targets.shape[-1]
    if n <= 1 or targets.numel() == 0:
        return torch.zeros(targets.shape, dtype=torch.int64, device=targets.device)
    if _native.traced() or targets.is_meta or n <= _FASTER_UP_TO:
        fit = _fit_by_min_max(targets, parts, log_weights)
    elif log_weights is None:
        fit = _FitByRows.apply(_least_squares, targets, parts, targets)
    else:
        fit = _FitByRows.apply(_log_sum_exp, targets, parts, log_weights)
    assert isinstance(fit, Tensor)  # `apply` has no return type
    return _numbered(fit, parts)


@torch.no_grad()
def membership_blocks(
    targets: Float[Tensor, "batch n"], parts: Int[Tensor, "batch n"], weights: Float[Tensor, "batch n"]
) -> Int[Tensor, "batch n"]:
    r"""As :func:`decreasing_blocks` with ``log_weights``, for ones before zeros: soft top-k with ``"kl"``.

    Descending targets need no block among the ones alone, so the blocks of a part are single items and then one block
    of all the rest. It begins as late as possible: an item whose fit equals that of the rest is not joined to it, as in
    ``_native/permutahedron.c``, for it is certain to be chosen.

    Args:
        targets: (batch, n) finite numbers, descending within a part.
        parts: (batch, n) ascending; no block crosses from one part to another.
        weights: (batch, n) ones before zeros.

    Returns:
        (batch, n) int64 numbers of the blocks, from 0.
    """
    targets, n = targets.detach(), targets.shape[-1]
    if n <= 1 or targets.numel() == 0:
        return torch.zeros(targets.shape, dtype=torch.int64, device=targets.device)
    if _native.traced() or targets.is_meta or n <= _FASTER_UP_TO:
        fit = _membership_by_sums(targets, parts, weights)
    else:
        fit = _FitByRows.apply(_membership, targets, parts, weights)
    assert isinstance(fit, Tensor)  # `apply` has no return type
    return _numbered(fit, parts)


def _numbered(fit: Tensor, parts: Tensor) -> Tensor:
    """Blocks of equal fits: those that only rounding keeps apart are tied, and one block as in C."""
    drops = fit[:, :-1] - fit[:, 1:] > _TIED * (1 + fit[:, 1:].abs())
    starts = drops | (parts[:, 1:] != parts[:, :-1])
    return torch.nn.functional.pad(starts, (1, 0)).cumsum(-1)


def _membership_by_sums(targets: Tensor, parts: Tensor, weights: Tensor) -> Tensor:
    """Numbers that are equal within a block, for all rows at once: memory n * n a row."""
    place = torch.arange(targets.shape[-1], device=targets.device)
    later = (place[None, :] >= place[:, None]) & (parts[:, None, :] == parts[:, :, None])  # [i, j]
    # The rest from i on weighs `ones`, and its mass is this, in units of item i. (`cumsum` adds from i on, as C does.)
    shares = (targets[:, None, :] - targets[:, :, None]).exp().masked_fill(~later, 0.0)
    mass, ones = shares.cumsum(-1)[..., -1], (weights[:, None, :] * later).sum(-1)
    reach = targets.diff(dim=-1, prepend=targets[:, :1]).exp()
    first = torch.nn.functional.pad(parts[:, 1:] != parts[:, :-1], (1, 0), value=True)
    apart = ~((ones == 0) | (reach * mass > ones)) & ~first
    alone = (apart.unsqueeze(-2) & later).any(-1)  # the rest begins behind
    begins = (first | alone).to(targets.dtype)
    return -begins.cumsum(-1)


def _fit_by_min_max(targets: Tensor, parts: Tensor, log_weights: Tensor | None) -> Tensor:
    """``fit[i] = min over j <= i of max over k >= i of the fit to targets[j..k]``, for all rows at once."""
    place = torch.arange(targets.shape[-1], device=targets.device)
    outside = (place[None, :] < place[:, None]) | (parts[:, None, :] != parts[:, :, None])  # [j, k]
    if log_weights is None:
        total = torch.nn.functional.pad(targets.cumsum(-1), (1, 0))
        length = (place[None, :] - place[:, None] + 1).clamp_min(1)
        fits = (total[:, None, 1:] - total[:, :-1, None]) / length
    else:
        fits = _sums_from_each(targets, outside) - _sums_from_each(log_weights, outside)
    best_end = fits.masked_fill(outside, -torch.inf).flip(-1).cummax(-1).values.flip(-1)  # [j, i]: max over k >= i
    return best_end.masked_fill(outside, torch.inf).cummin(-2).values.diagonal(dim1=-2, dim2=-1)  # min over j <= i


def _sums_from_each(logs: Tensor, outside: Tensor) -> Tensor:
    """[j, k]: the log-sum-exp of entries j..k."""
    return logs[:, None, :].expand(outside.shape).masked_fill(outside, -torch.inf).logcumsumexp(-1)


class _FitByRows(torch.autograd.Function):
    """One solver call a part of a row, on the CPU; under ``torch.func`` only a Function sees the data."""

    @staticmethod
    def forward(solve: Callable, targets: Tensor, parts: Tensor, others: Tensor) -> Tensor:
        rows = [x.cpu().numpy() for x in (targets, parts, others)]
        fits = [_fit_parts(solve, *row) for row in zip(*rows)]
        return torch.from_numpy(np.stack(fits)).to(targets.device)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info, in_dims, *args) -> tuple[Tensor, int]:
        size = info.batch_size
        rows = [x.unsqueeze(0).expand(size, *x.shape) if at is None else x.movedim(at, 0)
                for x, at in zip(args[1:], in_dims[1:])]  # fmt: skip
        fit = _FitByRows.apply(args[0], *(x.flatten(0, 1) for x in rows))
        assert isinstance(fit, Tensor)
        return fit.unflatten(0, rows[0].shape[:2]), 0


def _fit_parts(solve: Callable, targets: np.ndarray, parts: np.ndarray, others: np.ndarray) -> np.ndarray:
    cuts = np.flatnonzero(np.diff(parts)) + 1
    pieces = zip(np.split(targets, cuts), np.split(others, cuts))
    return np.concatenate([solve(*piece) for piece in pieces])


def _least_squares(targets: np.ndarray, _: np.ndarray) -> np.ndarray:
    return isotonic_regression(targets, increasing=False).x


def _log_sum_exp(targets: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """Pools adjacent violators, in Python: the slow way, for where there is no other."""
    blocks: list[tuple[float, float, int]] = []
    for target, weight in zip(targets.tolist(), log_weights.tolist()):
        block = (target, weight, 1)
        while blocks and blocks[-1][0] - blocks[-1][1] <= block[0] - block[1]:
            last = blocks.pop()
            block = (np.logaddexp(last[0], block[0]), np.logaddexp(last[1], block[1]), last[2] + block[2])
        blocks.append(block)
    return np.repeat([target - weight for target, weight, _ in blocks], [length for *_, length in blocks])


def _membership(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Block numbers, negated, of one part: single items, then the rest."""
    gaps, last = np.exp(np.diff(targets)), len(targets) - 1
    begin = max(int(weights.sum()) - 1, 0)
    mass = 1.0 + float(np.cumprod(gaps[begin:]).cumsum()[-1]) if begin < last else 1.0
    ones = float(weights[begin:].sum())
    while begin > 0 and gaps[begin - 1] * mass > ones:
        mass, ones, begin = 1.0 + gaps[begin - 1] * mass, ones + 1.0, begin - 1
    return -np.minimum(np.arange(len(targets)), begin).astype(targets.dtype)


def block_sum(values: Float[Tensor, "batch n"], blocks: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Replaces every entry by the sum of its block; differentiable in ``values``."""
    return torch.zeros_like(values).scatter_add(-1, blocks, values).gather(-1, blocks)


def block_mean(values: Float[Tensor, "batch n"], blocks: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Replaces every entry by the mean of its block; differentiable in ``values``."""
    return block_sum(values, blocks) / block_sum(torch.ones_like(values), blocks)


def block_first(values: Float[Tensor, "batch n"], blocks: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Replaces every entry by the first of its block; no gradient."""
    starts = torch.nn.functional.pad(blocks[:, 1:] != blocks[:, :-1], (1, 0), value=True)
    place = torch.arange(values.shape[-1], device=values.device).masked_fill(~starts, 0)
    return values.detach().gather(-1, place.cummax(-1).values)
