"""Ranks by optimal transport of the values onto evenly spaced anchors (Cuturi, Teboul & Vert, 2019).

Sorting is the cheapest way to carry n values to n increasing anchors, one each. An entropic regulariser spreads every
value over several anchors, and its rank is then the mean of their numbers. Sinkhorn's iterations find the plan; here
they run on logarithms and start from the known answer without the regulariser, which a sort gives: small strengths
need few iterations, and vanishing ones none.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle.permutations import to_ranks


def ot_rank(
    values: Float[Tensor, "..."], *, regularization_strength: float = 0.01, num_iters: int = 50, dim: int = -1
) -> Float[Tensor, "..."]:
    r"""Ranks values, ascending from 1, each by the mean position that an entropic transport plan sends it to.

    .. math:: P = \arg\min_P \; \langle P, C \rangle - \varepsilon H(P), \qquad
              C_{ik} = \Big(g\Big(\frac{x_i - \bar x}{\mathrm{std}(x)}\Big) - \frac{k - 1}{n - 1}\Big)^2, \qquad
              r_i = \sum_k k \, P_{ik}

    over matrices whose rows and columns sum to one, where g is the logistic function with the slope that gives it the
    standard deviation 1 as a distribution.

    The values are standardised set by set, so shifting or scaling a set changes neither its ranks nor, but for the
    units, their gradient; it also follows that the gradient is orthogonal to the values, and that two items have
    ranks without a gradient. A far outlier draws all others together.

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end ranks, with gradient 0.
        regularization_strength: :math:`\varepsilon > 0`, in squared units of the interval [0, 1] that holds the
            squashed values and the anchors, whatever the units of ``values``. Small is the hard ranks.
        num_iters: pairs of Sinkhorn steps, at least 1. The authors' code makes up to 2000, from another start.
        dim: the axis that holds the items.

    Returns:
        Soft ranks with the shape and dtype of ``values``; larger values rank no lower, tied ones the same. They sum
        to n (n + 1) / 2: rows of the plan are exact, and what its columns still miss after ``num_iters`` is made up
        by a pull of all ranks towards one end. A set that holds NaN is NaN whole, with gradient 0. Where all values
        are equal the ranks jump, and a finite vector stands for the gradient. Time and, when differentiated, memory
        O(num_iters n^2).

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: the strength or ``num_iters`` is not positive, or there is no such axis.

    Example:
        >>> ot_rank(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.001)
        tensor([3., 1., 2.])

    Source: Cuturi, Teboul & Vert, "Differentiable Ranking and Sorting using Optimal Transport", NeurIPS 2019; the
    start is that of Thornton & Cuturi, "Rethinking Initialization of the Sinkhorn Algorithm", AISTATS 2023.
    """
    _check.floating("ot_rank", "values", values, meta=True)
    _check.positive("ot_rank", "regularization_strength", regularization_strength, learned=True)
    num_iters = _check.count("ot_rank", "num_iters", num_iters)
    _check.axis("ot_rank", values, dim, of="values")
    if values.shape[dim] == 0:
        return values.clone()
    spoilt = values.isnan().any(dim=dim, keepdim=True)
    rows = values.masked_fill(spoilt, 0.0).movedim(dim, -1).double()
    ranks = _transported(rows, regularization_strength, num_iters)
    return ranks.movedim(-1, dim).to(values.dtype).masked_fill(spoilt, torch.nan)


def _transported(values: Tensor, strength: float, num_iters: int) -> Tensor:
    """Ranks of the finite values between those of the infinite ones, which are hard."""
    finite = values.isfinite()
    count = finite.sum(-1, keepdim=True)
    below = (values == -torch.inf).sum(-1, keepdim=True)
    place = torch.arange(values.shape[-1], device=values.device) - below  # 0 is the first that a finite value may take
    free = (place >= 0) & (place < count)
    anchors = place / (count - 1).clamp_min(1)

    squashed = _squashed(values, finite, count)
    # Of the cost (x - y)^2, the squares belong to one marginal each: the plan depends on the product alone.
    kernel = 2 / strength * squashed.unsqueeze(-1) * anchors.unsqueeze(-2)
    # Infinite values and the places they take make a block of their own, whose answer is not used.
    kernel = kernel.masked_fill(finite.unsqueeze(-1) != free.unsqueeze(-2), -torch.inf)
    ordered = squashed.gather(-1, values.argsort(dim=-1))
    potential = _sorted_potential(ordered, anchors, free, strength)
    for _ in range(num_iters):
        potential = -(kernel - (kernel + potential.unsqueeze(-2)).logsumexp(-1, keepdim=True)).logsumexp(-2)
    plan = (kernel + potential.unsqueeze(-2)).softmax(-1)

    ranks = (plan * (place + 1).unsqueeze(-2)).sum(-1)
    return torch.where(finite, below + _balanced(ranks, finite, count), to_ranks(values.detach()))


def _squashed(values: Tensor, finite: Tensor, count: Tensor) -> Tensor:
    """Finite values, standardised, by the logistic function to (0, 1); 0 for infinite ones.

    Standardising undoes any shift and scale, so both are first taken out by detached numbers of the values' own size:
    no square of a large value overflows, and equal values are equal to the last bit. Halves, for a difference of two
    of the largest numbers is none.
    """
    halves = values.masked_fill(~finite, 0.0) / 2
    low = halves.detach().masked_fill(~finite, torch.inf).amin(-1, keepdim=True)
    width = halves.detach().masked_fill(~finite, -torch.inf).amax(-1, keepdim=True) - low
    unit = ((halves - low) / torch.where(width > 0, width, 1.0)).masked_fill(~finite, 0.0)
    mean = unit.sum(-1, keepdim=True) / count.clamp_min(1)
    deviation = (unit - mean).masked_fill(~finite, 0.0)
    variance = deviation.square().sum(-1, keepdim=True) / count.clamp_min(1)
    standard = deviation / torch.where(variance > 0, variance, 1.0).sqrt()
    return torch.sigmoid(math.pi / math.sqrt(3) * standard).masked_fill(~finite, 0.0)


def _sorted_potential(ordered: Tensor, anchors: Tensor, free: Tensor, strength: float) -> Tensor:
    """The anchors' potential of the plan without a regulariser, which carries the k-th smallest value to anchor k.

    Between anchors k and k + 1 it leaves the midpoint of the values k and k + 1 undecided: tied values stand there
    themselves, and share.
    """
    midpoint = (ordered[..., 1:] + ordered[..., :-1]) / 2
    step = -2 / strength * midpoint * anchors.diff(dim=-1)
    step = step.masked_fill(~(free[..., 1:] & free[..., :-1]), 0.0)
    return torch.nn.functional.pad(step, (1, 0)).cumsum(-1)


def _balanced(ranks: Tensor, finite: Tensor, count: Tensor) -> Tensor:
    """Draws the finite ranks, from 1, towards n or towards 1 until their mean is (n + 1) / 2; their order remains."""
    mean = ranks.masked_fill(~finite, 0.0).sum(-1, keepdim=True) / count.clamp_min(1)
    missing = (count + 1) / 2 - mean
    up = missing > 0
    room = torch.where(up, count - mean, mean - 1)
    return ranks + missing * torch.where(up, count - ranks, ranks - 1) / torch.where(room > 0, room, 1.0)
