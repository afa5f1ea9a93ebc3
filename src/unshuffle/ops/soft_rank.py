"""Soft ranks and soft sorting by projection onto the permutahedron (Blondel et al., 2020).

The hard ranks of ``values`` are the vertex of the permutahedron that points furthest along ``values``; a quadratic
regulariser turns that linear programme into a projection, which isotonic regression solves exactly in O(n log n). Small
strengths give the hard answer, large ones pull all items to the middle.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.isotonic import block_mean, decreasing_blocks


def soft_rank(
    values: Float[Tensor, "..."], *, regularization_strength: float = 1.0, dim: int = -1
) -> Float[Tensor, "..."]:
    r"""Ranks values, ascending from 1, with a useful gradient.

    .. math:: \arg\min_{y \in \mathcal{P}(1, \dots, n)} \; \tfrac12 \lVert y - \theta / \varepsilon \rVert^2

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end ranks, with gradient 0.
        regularization_strength: :math:`\varepsilon > 0`, in the units of ``values``. The answer is the hard ranks when
            neighbours in the sorted order lie further apart than this.
        dim: the axis that holds the items.

    Returns:
        Soft ranks with the shape and dtype of ``values``. They sum to n (n + 1) / 2. A set that holds NaN is NaN whole.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: the strength is not positive, or there is no such axis.

    Example:
        >>> soft_rank(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.1)
        tensor([3., 1., 2.])

    Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, Definition 2.
    """
    rows, shape = _rows("soft_rank", values, regularization_strength, dim)
    ordered, order = rows.sort(dim=-1, descending=True)
    weights = _weights(ordered)
    # No block holds a gap above n / 2 strengths: the means of its parts would have to cross.
    theta = _descent(_gaps(ordered) / regularization_strength, widest=ordered.shape[-1])
    blocks = decreasing_blocks(theta - weights)
    # Values and weights stay apart, so that a block of one has a whole rank, exactly.
    ranks = theta - block_mean(theta, blocks) + block_mean(weights, blocks)
    return _restore(torch.zeros_like(ranks).scatter(-1, order, ranks), values, shape, dim)


def soft_sort(
    values: Float[Tensor, "..."], *, regularization_strength: float = 1.0, dim: int = -1
) -> Float[Tensor, "..."]:
    r"""Sorts values, ascending, with a useful gradient.

    .. math:: \arg\min_{y \in \mathcal{P}(\theta)} \; \tfrac12 \lVert y - (1, \dots, n) / \varepsilon \rVert^2

    Args:
        values: (..., n, ...) finite real numbers; n items along ``dim``.
        regularization_strength: :math:`\varepsilon > 0`, in inverse units of ``values``. Small is the hard sort; large
            pulls every entry to the mean.
        dim: the axis that holds the items.

    Returns:
        Softly sorted values with the shape and dtype of ``values``, the same sum, in ascending order.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: the strength is not positive, or there is no such axis.

    Example:
        >>> soft_sort(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.1)
        tensor([1., 2., 5.])

    Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, Definition 1.
    """
    rows, shape = _rows("soft_sort", values, regularization_strength, dim)
    ordered = rows.sort(dim=-1, descending=True).values
    weights = _weights(ordered)
    # One gap above n^2 / 2 joins all items in one block, whatever its size.
    theta = _descent(_gaps(ordered) * regularization_strength, widest=ordered.shape[-1] ** 2)
    blocks = decreasing_blocks(weights - theta)
    spread = (weights - block_mean(weights, blocks)) / regularization_strength
    return _restore((spread + block_mean(ordered, blocks)).flip(-1), values, shape, dim)


def _rows(function: str, values: Tensor, strength: float, dim: int) -> tuple[Tensor, torch.Size]:
    """Checks the arguments and folds all other axes: (rows, n), in double precision until the answer."""
    _check.floating(function, "values", values)
    _check.positive(function, "regularization_strength", strength)
    _check.axis(function, values, dim)
    moved = values.movedim(dim, -1)
    return moved.double().reshape(math.prod(moved.shape[:-1]), moved.shape[-1]), moved.shape


def _restore(rows: Tensor, values: Tensor, shape: torch.Size, dim: int) -> Tensor:
    """Unfolds the rows, in the caller's dtype; a row that held NaN is NaN whole."""
    answer = rows.reshape(shape).movedim(-1, dim).to(values.dtype)
    return torch.where(values.isnan().any(dim=dim, keepdim=True), torch.nan, answer)


def _gaps(ordered: Tensor) -> Tensor:
    """How far each entry lies below the one before it; 0 for the first."""
    return -ordered.diff(dim=-1, prepend=ordered[:, :1])


def _descent(gaps: Tensor, *, widest: float) -> Tensor:
    """Counts down from 0 by gaps, clipped where a wider one changes nothing.

    Sums over the result are exact to rounding whatever the magnitude and the offset of the values. An infinite gap is
    a wide one; that of two equal infinities, which is NaN, is a tie.
    """
    return -gaps.nan_to_num(nan=0.0, posinf=widest).clamp_max(widest).cumsum(-1)


def _weights(ordered: Tensor) -> Tensor:
    """The ranks n, n - 1, …, 1, one row for each row of ``ordered``."""
    n = ordered.shape[-1]
    return torch.arange(n, 0, -1, dtype=ordered.dtype, device=ordered.device).expand_as(ordered)
