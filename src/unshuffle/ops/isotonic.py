"""Isotonic regression (L2): which neighbours share a value in the best decreasing fit.

The fit itself is a mean over blocks of neighbours, so it is found in two steps: the blocks, by an exact solver that
needs no gradient, and the block means, by plain differentiable operations. The gradient of the second step is the exact
gradient of the whole wherever it exists.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression
from torch import Tensor

# Up to here the O(n^2) form is faster than a Python loop over rows and its memory does not matter.
_MIN_MAX_LIMIT = 64


@torch.no_grad()
def decreasing_blocks(values: Float[Tensor, "batch n"]) -> Int[Tensor, "batch n"]:
    """Numbers the blocks of the non-increasing least-squares fit to each row, from 0, left to right.

    Args:
        values: (batch, n) finite numbers.

    Returns:
        (batch, n) int64: entries with the same number share one fitted value, the mean of their block.

    Source: Barlow et al. 1972 (the min-max formula); Best & Chakravarti 1990 (the active set).
    """
    n = values.shape[-1]
    if n <= 1 or values.numel() == 0:
        return torch.zeros(values.shape, dtype=torch.int64, device=values.device)
    values = values.detach().double()
    eager = not torch.compiler.is_compiling()
    fit = _FitByRows.apply(values) if eager and n > _MIN_MAX_LIMIT else _fit_by_min_max(values)
    assert isinstance(fit, Tensor)  # `apply` has no return type
    starts = torch.nn.functional.pad(fit[:, 1:] != fit[:, :-1], (1, 0))
    return starts.cumsum(-1)


def _fit_by_min_max(values: Tensor) -> Tensor:
    """``fit[i] = min over j <= i of max over k >= i of mean(values[j..k])``, for all rows at once."""
    n = values.shape[-1]
    total = torch.nn.functional.pad(values.cumsum(-1), (1, 0))
    place = torch.arange(n, device=values.device)
    length = (place[None, :] - place[:, None] + 1).clamp_min(1)  # [j, k]
    means = (total[:, None, 1:] - total[:, :-1, None]) / length
    means = means.masked_fill(place[None, :] < place[:, None], -torch.inf)
    best_end = means.flip(-1).cummax(-1).values.flip(-1)  # [j, i]: max over k >= i
    best_end = best_end.masked_fill(place[None, :] < place[:, None], torch.inf)
    return best_end.cummin(-2).values.diagonal(dim1=-2, dim2=-1)  # min over j <= i


class _FitByRows(torch.autograd.Function):
    """One pool-adjacent-violators pass a row, on the CPU; under ``torch.func`` only a Function sees the data."""

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        rows = values.cpu().numpy()
        fits = [isotonic_regression(row, increasing=False).x for row in rows]
        return torch.from_numpy(np.stack(fits)).to(values.device)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info, in_dims, *args: Tensor) -> tuple[Tensor, int]:
        rows = args[0].movedim(in_dims[0], 0)
        fit = _FitByRows.apply(rows.flatten(0, 1))
        return fit.unflatten(0, rows.shape[:2]), 0


def block_mean(values: Float[Tensor, "batch n"], blocks: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Replaces every entry by the mean of its block; differentiable in ``values``."""
    total = torch.zeros_like(values).scatter_add(-1, blocks, values)
    count = torch.zeros_like(values).scatter_add(-1, blocks, torch.ones_like(values))
    return (total / count.clamp_min(1)).gather(-1, blocks)
