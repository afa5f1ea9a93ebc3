"""Rank correlation as a loss: Spearman's and Kendall's coefficients, read from soft ranks.

Both are cosines: Spearman's of two vectors of centred ranks, Kendall's of two vectors of pairwise comparisons. One
minus a cosine is half the squared distance of the two unit vectors, which is what is computed: never negative, and
exact where it is small.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unshuffle import _check
from unshuffle._pairs import as_int64
from unshuffle.ops.permutahedron import Regularization
from unshuffle.ops.soft_rank import soft_rank
from unshuffle.permutations import to_ranks

# Per entry. Centred ranks shorter than this are what rounding leaves of a tie of all items.
_TIED = 1e-12


def soft_spearman(
    scores: Float[Tensor, "*batch n"],
    target: Shaped[Tensor, "*batch n"],
    *,
    regularization: Regularization = "l2",
    regularization_strength: float = 1.0,
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Measures by how much scores fail to rise with a target: one minus Spearman's correlation, differentiable.

    .. math:: 1 - \frac{\langle r - \bar r, y - \bar y \rangle}{\lVert r - \bar r \rVert \, \lVert y - \bar y \rVert}

    where r are the soft ranks of the scores and y the hard ranks of the target.

    Args:
        scores: (..., n) real numbers, as in :func:`unshuffle.ops.soft_rank`.
        target: (..., n) real numbers of any dtype; only their order counts. Tied ones share their average rank.
        regularization: ``"l2"`` or ``"kl"``, as in ``soft_rank``.
        regularization_strength: that of ``soft_rank``, 0 or more, in the units of ``scores``. 0 gives Spearman's own
            coefficient, with gradient 0; large strengths give Pearson's, between the scores and the target's ranks.
        mask: True where an item is present; broadcasts to ``scores``. Absent slots get gradient 0 and change nothing.

    Returns:
        One value a sample, from 0 (the same order) to 2 (the opposite one), in the dtype of ``scores``, solved in
        float64. The correlation of a constant is not defined: where all targets, or all scores, of a sample are equal,
        or fewer than two items are present, or one is NaN, the value is NaN, with gradient 0: ``nanmean`` leaves such
        samples out.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: the shapes differ, an unknown regularization, a negative strength, or a mask of another shape.

    Example:
        >>> soft_spearman(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([1, 3, 2]), regularization_strength=0.01)
        tensor(0.5000)

    Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, section 6.2.
    """
    _check_pair("soft_spearman", scores, target)
    _check.same_shape("soft_spearman", "target", target, "scores", scores)
    ranks = _soft_ranks("soft_spearman", scores, regularization, regularization_strength, mask)
    present = torch.ones_like(ranks, dtype=torch.bool) if mask is None else mask.expand_as(ranks)
    middle = (present.sum(-1, keepdim=True) + 1) / 2  # soft ranks sum to what hard ones do
    centred = [(x - middle).masked_fill(~present, 0.0) for x in (ranks, _hard_ranks(target, mask))]
    return _one_minus_cosine(*centred).to(scores.dtype)


def soft_kendall(
    scores: Float[Tensor, "*batch n"],
    target: Shaped[Tensor, "*batch n"],
    *,
    regularization: Regularization = "l2",
    regularization_strength: float = 1.0,
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Measures how many pairs of scores stand the wrong way round: one minus Kendall's tau-b, differentiable.

    .. math:: 1 - \frac{\sum_{i<j} c_{ij} \, \mathrm{sign}(y_i - y_j)}
              {\sqrt{\sum_{i<j} c_{ij}^2} \, \sqrt{\sum_{i<j} \mathrm{sign}(y_i - y_j)^2}}, \qquad
              c_{ij} = \min(1, \max(-1, r_i - r_j))

    where r are the soft ranks of the scores. Those of two items that are clearly apart differ by 1 at least, and
    :math:`c_{ij}` is then the sign that Kendall counts.

    Args:
        scores: (..., n) real numbers, as in :func:`unshuffle.ops.soft_rank`.
        target: (..., n) real numbers of any dtype; only their order counts. Tied pairs count for nothing.
        regularization: ``"l2"`` or ``"kl"``, as in ``soft_rank``.
        regularization_strength: that of ``soft_rank``, 0 or more, in the units of ``scores``. 0 gives Kendall's own
            tau-b, with gradient 0.
        mask: True where an item is present; broadcasts to ``scores``. Absent slots get gradient 0 and change nothing.

    Returns:
        One value a sample, from 0 (the same order) to 2 (the opposite one), in the dtype of ``scores``, solved in
        float64. It is NaN, with gradient 0, where that of :func:`soft_spearman` is: where all targets or all scores
        are equal, fewer than two items are present, or one is NaN. Time and memory O(n^2).

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: the shapes differ, an unknown regularization, a negative strength, or a mask of another shape.

    Example:
        >>> soft_kendall(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([1, 3, 2]), regularization_strength=0.01)
        tensor(0.6667)

    Source: Kendall, "The treatment of ties in ranking problems", Biometrika 1945 (tau-b). The soft sign is ours.
    """
    _check_pair("soft_kendall", scores, target)
    _check.same_shape("soft_kendall", "target", target, "scores", scores)
    ranks = _soft_ranks("soft_kendall", scores, regularization, regularization_strength, mask)
    both = (x.unsqueeze(-1) - x.unsqueeze(-2) for x in (ranks, _hard_ranks(target, mask)))
    compared = [x.clamp(-1.0, 1.0) for x in both]
    if mask is not None:
        present = mask.expand_as(ranks)
        pairs = present.unsqueeze(-1) & present.unsqueeze(-2)
        compared = [x.masked_fill(~pairs, 0.0) for x in compared]
    return _one_minus_cosine(*(x.flatten(-2) for x in compared)).to(scores.dtype)


def _check_pair(function: str, scores: Tensor, target: Tensor) -> None:
    _check.floating(function, "scores", scores, meta=True)
    _check.has_axis(function, "scores", scores)
    _check.real(function, "target", target, meta=True)


def _soft_ranks(
    function: str, scores: Tensor, regularization: Regularization, strength: float, mask: Tensor | None
) -> Tensor:
    """Soft ranks in float64; errors speak in the caller's name."""
    _check.one_of(function, "regularization", regularization, ("l2", "kl"))
    _check.not_negative(function, "regularization_strength", strength)
    if mask is not None:
        _check.mask(function, mask, "scores", scores)
    return soft_rank(scores.double(), regularization=regularization, regularization_strength=strength, mask=mask)


def _hard_ranks(target: Tensor, mask: Tensor | None) -> Tensor:
    """Ranks of the present targets, in float64. Integers are ranked as such: no two of them become one."""
    target = target.detach()
    target = target.double() if target.is_floating_point() else as_int64(target)
    if mask is None:
        return to_ranks(target).double()
    filled = target.masked_fill(~mask, 0)
    return soft_rank(to_ranks(filled).double(), regularization_strength=0.0, mask=mask)


def _one_minus_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Half the squared distance of the two unit vectors on the last axis; NaN, without a gradient, if one is zero."""
    shortest = _TIED * first.shape[-1]
    vary = [x.detach().square().sum(-1).sqrt() > shortest for x in (first, second)]  # False for NaN
    defined = vary[0] & vary[1]
    first, second = (torch.where(defined.unsqueeze(-1), x, 1.0) for x in (first, second))
    apart = torch.nn.functional.normalize(first, dim=-1) - torch.nn.functional.normalize(second, dim=-1)
    return (0.5 * apart.square().sum(-1)).masked_fill(~defined, torch.nan)
