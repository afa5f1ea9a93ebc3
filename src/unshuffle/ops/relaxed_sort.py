"""Permutation matrices of a sort, relaxed: NeuralSort (Grover et al., 2019) and SoftSort (Prillo & Eisenschlos, 2020).

Both fill each position by a softmax over the items, so a matrix has exact column sums and, in the limit of no
temperature, is the hard permutation matrix. Both papers write positions on rows and sort from the largest; here items
stand on rows, positions on columns, and position 0 holds the smallest.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check

# In units of the temperature. A logit this far below the largest of its softmax is a zero in any dtype.
_FAR = 1000.0


def neural_sort(
    scores: Float[Tensor, "..."], *, temperature: float = 1.0, descending: bool = False, dim: int = -1
) -> Float[Tensor, "*batch n n"]:
    r"""Relaxes the permutation matrix that sorts scores, from the distances between all pairs of them.

    .. math:: P_{\cdot k} = \mathrm{softmax}\Big(\frac1\tau \big[(2k - n - 1)\, s - A \mathbf 1\big]\Big), \qquad
              A_{ij} = |s_i - s_j|, \quad k = 1, \dots, n

    Args:
        scores: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end positions, with gradient
            0.
        temperature: :math:`\tau > 0`, in the units of ``scores``. Small is sharp.
        descending: whether position 0 holds the largest item, as in the paper, rather than the smallest.
        dim: the axis of ``scores`` that holds the items. The two axes of the answer are always its last two.

    Returns:
        (..., n, n), items on rows and positions on columns, with the dtype of ``scores``: ``P[..., i, k]`` is the
        belief that item i stands at position k, ``P.mT @ items`` are the sorted items. Columns sum to 1; rows do so
        only where the order is clear. Tied items share their positions. A set that holds NaN is NaN whole, with
        gradient 0. Time and memory O(n^2).

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: ``temperature`` is not positive, or there is no such axis.

    Example:
        >>> neural_sort(torch.tensor([5.0, 1.0, 2.0]), temperature=0.001)
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])

    Source: Grover, Wang, Zweig & Ermon, "Stochastic Optimization of Sorting Networks via Continuous Relaxations",
    ICLR 2019 (whose matrix is the transpose of that with ``descending=True``).
    """
    _check_arguments("neural_sort", scores, temperature, descending, dim)
    line, _ = _on_a_line(scores.movedim(dim, -1).double(), _reach(temperature))
    apart = (line.unsqueeze(-1) - line.unsqueeze(-2)).abs().sum(-1)
    n = line.shape[-1]
    weights = 2 * torch.arange(n, dtype=line.dtype, device=line.device) - (n - 1)
    logits = weights * line.unsqueeze(-1) - apart.unsqueeze(-1)
    return _fill_positions(logits / temperature, scores, descending, dim)


def soft_sort_matrix(
    scores: Float[Tensor, "..."],
    *,
    temperature: float = 1.0,
    power: float = 1.0,
    descending: bool = False,
    dim: int = -1,
) -> Float[Tensor, "*batch n n"]:
    r"""Relaxes the permutation matrix that sorts scores, from the distances between them and their sorted selves.

    .. math:: P_{\cdot k} = \mathrm{softmax}\Big(-\frac1\tau \big|s - s_{(k)}\big|^p\Big)

    where :math:`s_{(k)}` is the k-th smallest score.

    Args:
        scores: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end positions, with gradient
            0.
        temperature: :math:`\tau > 0`, in the units of ``scores`` to the ``power``. Small is sharp.
        power: p > 0 of the distance; the paper studies 1 and 2. Where two scores meet, powers below 2 have no
            derivative, or no second one: 0 stands for it.
        descending: whether position 0 holds the largest item, as in the paper, rather than the smallest.
        dim: the axis of ``scores`` that holds the items. The two axes of the answer are always its last two.

    Returns:
        (..., n, n), items on rows and positions on columns, with the dtype of ``scores``: ``P[..., i, k]`` is the
        belief that item i stands at position k, ``P.mT @ items`` are the sorted items. Columns sum to 1; rows do so
        only where the order is clear. Tied items share their positions. A set that holds NaN is NaN whole, with
        gradient 0. Time and memory O(n^2).

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: ``temperature`` or ``power`` is not positive, or there is no such axis.

    Example:
        >>> soft_sort_matrix(torch.tensor([5.0, 1.0, 2.0]), temperature=0.001)
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])

    Source: Prillo & Eisenschlos, "SoftSort: A Continuous Relaxation for the argsort Operator", ICML 2020 (whose matrix
    is the transpose of that with ``descending=True``).
    """
    _check_arguments("soft_sort_matrix", scores, temperature, descending, dim)
    _check.positive("soft_sort_matrix", "power", power, learned=True)
    line, ordered = _on_a_line(scores.movedim(dim, -1).double(), _reach(temperature, power))
    distance = _power(line.unsqueeze(-1) - ordered.unsqueeze(-2), power)
    return _fill_positions(-distance / temperature, scores, descending, dim)


def _check_arguments(function: str, scores: Tensor, temperature: float, descending: bool, dim: int) -> None:
    _check.floating(function, "scores", scores, meta=True)
    _check.positive(function, "temperature", temperature, learned=True)
    _check.flag(function, "descending", descending)
    _check.axis(function, scores, dim, of="scores")


def _reach(temperature: float, power: float = 1.0) -> float:
    """The distance beyond which an item has no share of a position; above 0, and low enough to add up n of them."""
    return math.exp(max(-600.0, min((math.log(_FAR) + math.log(temperature)) / power, 600.0)))


def _on_a_line(scores: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """The scores, and the sorted scores, moved so that the smallest is 0 and no neighbours lie further apart than this.

    Softmax sees differences alone, and none of them beyond the reach, so the matrices stay the same; sums over the
    result are exact to rounding whatever the magnitude and the offset of the scores. An infinite gap is a wide one;
    that of two equal infinities, which is NaN, is a tie.
    """
    ordered, order = scores.sort(dim=-1)
    gaps = ordered.diff(dim=-1, prepend=ordered[..., :1])
    places = gaps.nan_to_num(nan=0.0, posinf=reach).clamp_max(reach).cumsum(-1)
    return torch.zeros_like(places).scatter(-1, order, places), places


def _power(difference: Tensor, power: float) -> Tensor:
    """|difference| ** power, without the infinite derivatives that small powers have at 0."""
    if power == 2:
        return difference.square()
    same = difference == 0
    return difference.abs().masked_fill(same, 1.0).pow(power).masked_fill(same, 0.0)


def _fill_positions(logits: Tensor, scores: Tensor, descending: bool, dim: int) -> Tensor:
    """Shares every position out among the items, in the caller's dtype; a set that held NaN is NaN whole."""
    shares = logits.softmax(dim=-2).to(scores.dtype)
    spoilt = scores.movedim(dim, -1).isnan().any(-1)[..., None, None]
    shares = shares.masked_fill(spoilt, torch.nan)
    return shares.flip(-1) if descending else shares
