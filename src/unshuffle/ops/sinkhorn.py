"""Doubly stochastic relaxation of a permutation (Sinkhorn, 1964), and its noisy form (Mena et al., 2018).

Scores in, soft permutation out: exponentials of the scores whose rows are made to sum to 1, then the columns, and so
on. :func:`unshuffle.ops.balance.balance` does the work, in C or in PyTorch.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.balance import Balance, Gradient, balance, widen
from unshuffle.ops.noise import resolve


def sinkhorn(
    scores: Float[Tensor, "*batch n m"],
    *,
    temperature: float = 1.0,
    num_iters: int = 20,
    tolerance: float = 0.0,
    gradient: Gradient = "unrolled",
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch n m"]:
    r"""Relaxes a score matrix to a doubly stochastic one.

    Approximates, over non-negative matrices whose rows sum to 1 and whose columns sum to n / m,

    .. math:: \arg\max_P \; \langle P, S \rangle + \tau H(P)

    by normalising the rows of :math:`\exp(S / \tau)`, then its columns, and so on. Rows of ``scores`` are items and
    columns are positions: ``P[..., i, k]`` is the belief that item i belongs at position k, and ``P.mT @ items`` are
    the items in order.

    Args:
        scores: (..., n, m) real numbers; larger means a better fit. A pair of score minus infinity is masked; where a
            row holds plus infinity these pairs are the only ones allowed in it, and share it; their gradient is 0.
        temperature: :math:`\tau > 0`, in the units of ``scores``. Small is sharp, needs more iterations, and has a
            gradient that vanishes.
        num_iters: row-then-column normalisations, at least 1. Columns end exact; rows are exact only in the limit.
        tolerance: a matrix is done, before ``num_iters``, when no row's sum is further than this from 1. 0: never.
        gradient: ``"unrolled"``: the exact derivative of the iterations made, for memory of num_iters (n + m) beside
            the matrix. ``"implicit"``: that of the limit, by conjugate gradients, whose memory knows nothing of the
            iterations; it is the derivative of the answer only where they have converged.
        mask: True where a pair is allowed, broadcast to the shape of ``scores``. Masked pairs are 0, with gradient 0. A
            row or a column without any allowed pair is absent: with r rows and c columns present, columns sum to r / c.
            If no matrix within the mask has such sums, columns are exact, and rows what ``num_iters`` has left of them.

    Returns:
        The relaxed permutation, with the shape and dtype of ``scores``. Finite at any temperature. A matrix that holds
        NaN is NaN whole, with gradient 0. float32 and half precision are computed in float64 and rounded once.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: ``scores`` has less than two axes, the temperature or ``num_iters`` is not positive, the tolerance
            is negative, ``gradient`` is unknown, or the mask does not broadcast.

    Example:
        >>> import torch
        >>> sinkhorn(torch.tensor([[9.0, 0.0], [0.0, 9.0]])).round()
        tensor([[1., 0.],
                [0., 1.]])

    Source: Sinkhorn 1964; Santa Cruz et al., "DeepPermNet", CVPR 2017, section 3.3.1 (whose layer makes one step of
    each kind); Mena et al., "Learning Latent Permutations with Gumbel-Sinkhorn Networks", ICLR 2018.
    """
    _check_arguments("sinkhorn", scores, mask)
    return balance(scores, mask, _asked("sinkhorn", temperature, num_iters, tolerance, gradient))


def gumbel_sinkhorn(
    scores: Float[Tensor, "*batch n m"],
    *,
    temperature: float = 1.0,
    num_iters: int = 20,
    noise_scale: float = 1.0,
    tolerance: float = 0.0,
    gradient: Gradient = "unrolled",
    mask: Bool[Tensor, "..."] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch n m"]:
    r"""Draws a random soft permutation: :func:`sinkhorn` of scores with Gumbel noise.

    .. math:: \mathrm{sinkhorn}\big((S + \sigma Z) / \tau\big), \qquad Z_{ik} \sim \mathrm{Gumbel}(0, 1)

    A relaxed sample of a distribution over permutations that prefers high scores, differentiable in these.

    Args:
        scores: (..., n, m) real numbers; larger means a better fit. One draw is made for each matrix: for more,
            ``expand`` the scores.
        temperature: :math:`\tau > 0`, in the units of ``scores``. Small brings the sample near a hard permutation.
        num_iters: row-then-column normalisations, at least 1.
        noise_scale: :math:`\sigma \ge 0`, in the units of ``scores``. 0 adds none.
        tolerance: as for :func:`sinkhorn`.
        gradient: as for :func:`sinkhorn`.
        mask: as for :func:`sinkhorn`.
        generator: source of the noise, which is drawn in float64 whatever the dtype of ``scores``.

    Returns:
        One sample for each matrix, with the shape and dtype of ``scores``.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: ``noise_scale`` is negative, or as for :func:`sinkhorn`.

    Example:
        >>> scores = torch.tensor([[9.0, 0.0], [0.0, 9.0]]).expand(100, 2, 2)
        >>> samples = gumbel_sinkhorn(scores, temperature=0.1, generator=torch.Generator().manual_seed(0))
        >>> samples.mean(0).round(decimals=1)
        tensor([[1., 0.],
                [0., 1.]])

    Source: Mena, Belanger, Linderman & Snoek, "Learning Latent Permutations with Gumbel-Sinkhorn Networks", ICLR 2018.
    """
    _check_arguments("gumbel_sinkhorn", scores, mask)
    _check.not_negative("gumbel_sinkhorn", "noise_scale", noise_scale)
    _check.random_source("gumbel_sinkhorn", generator)
    asked = _asked("gumbel_sinkhorn", temperature, num_iters, tolerance, gradient)
    wide = widen(scores)
    noise = resolve("gumbel_sinkhorn", "gumbel").draw(tuple(scores.shape), wide, generator)
    return balance(wide + noise_scale * noise, mask, asked).to(scores.dtype)


def _check_arguments(function: str, scores: Tensor, mask: Tensor | None) -> None:
    _check.floating(function, "scores", scores)
    if scores.ndim < 2:
        raise ValueError(
            f"{function}: `scores` must have two axes or more, (..., n, m); got {tuple(scores.shape)}. For the order "
            "of single numbers call `soft_rank` or `neural_sort`."
        )
    if mask is not None:
        _check.mask(function, mask, "scores", scores)


def _asked(function: str, temperature: float, num_iters: int, tolerance: float, gradient: Gradient) -> Balance:
    _check.positive(function, "temperature", temperature)
    num_iters = _check.count(function, "num_iters", num_iters)
    _check.not_negative(function, "tolerance", tolerance)
    _check.one_of(function, "gradient", gradient, ("unrolled", "implicit"))
    return Balance(float(temperature), num_iters, float(tolerance), gradient == "implicit")
