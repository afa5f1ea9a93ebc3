"""Soft ranks and soft sorting by projection onto the permutahedron (Blondel et al., 2020).

The hard ranks of ``values`` are the vertex of the permutahedron that points furthest along ``values``; a regulariser
turns that linear programme into a projection, which isotonic regression solves exactly in O(n log n). Small strengths
give the hard answer, large ones pull all items to the middle.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle.ops.permutahedron import RANK, SORT, Projection, Regularization, check, project


def soft_rank(
    values: Float[Tensor, "..."],
    *,
    regularization: Regularization = "l2",
    regularization_strength: float = 1.0,
    descending: bool = False,
    mask: Bool[Tensor, "..."] | None = None,
    dim: int = -1,
) -> Float[Tensor, "..."]:
    r"""Ranks values, from 1, with a useful gradient.

    With ``"l2"`` and with ``"kl"``, for :math:`\mathcal P(w)` the convex hull of all orders of w:

    .. math:: \arg\min_{y \in \mathcal{P}(1, \dots, n)} \; \tfrac12 \lVert y - \theta / \varepsilon \rVert^2,
              \qquad
              \exp\Big(\log \arg\min_{y \in \mathcal{P}(1, \dots, n)} \mathrm{KL}(y, e^{\theta / \varepsilon})\Big)

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end ranks, with gradient 0.
        regularization: ``"l2"``: ranks are whole where neighbours in the sorted order lie further apart than the
            strength, and linear in between. ``"kl"``: ranks are curved, and whole where they lie further apart than
            :math:`\varepsilon \log(1 + 1 / r)` for the ranks r and r + 1.
        regularization_strength: :math:`\varepsilon \ge 0`, in the units of ``values``. 0 gives the hard ranks, ties
            sharing their average, with gradient 0.
        descending: the largest value gets rank 1.
        mask: True where an item is present, broadcast to the shape of ``values``: sets of several sizes in one tensor.
            Masked slots get 0, and gradient 0; the others are ranked as if alone.
        dim: the axis that holds the items.

    Returns:
        Soft ranks with the shape and dtype of ``values``. They sum to n (n + 1) / 2 over the n items present. A set
        that holds NaN is NaN whole.

    Raises:
        TypeError: ``values`` is not floating point, or ``mask`` not boolean.
        ValueError: an unknown regularization, a negative strength, a mask of another shape, no such axis, or n
            above 2,048 under ``torch.compile``.

    Example:
        >>> import torch
        >>> soft_rank(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.1)
        tensor([3., 1., 2.])

    Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, Definition 2. The
    KL form follows the authors' code, which returns ranks (the paper's returns their logarithms).
    """
    check("soft_rank", values, regularization, regularization_strength, mask, dim, ("descending", descending))
    sign = -1.0 if descending else 1.0
    what = Projection(RANK, regularization == "kl", float(regularization_strength), sign)
    return project("soft_rank", values, mask, what, dim)


def soft_sort(
    values: Float[Tensor, "..."],
    *,
    regularization: Regularization = "l2",
    regularization_strength: float = 1.0,
    descending: bool = False,
    mask: Bool[Tensor, "..."] | None = None,
    dim: int = -1,
) -> Float[Tensor, "..."]:
    r"""Sorts values with a useful gradient.

    With ``"l2"``, and in descending order with ``"kl"``, :math:`\rho = (n, \dots, 1)`:

    .. math:: \arg\min_{y \in \mathcal{P}(\theta)} \; \tfrac12 \lVert y - \rho / \varepsilon \rVert^2,
              \qquad
              \log \arg\min_{y \in \mathcal{P}(e^\theta)} \; \mathrm{KL}(y, e^{\rho / \varepsilon})

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones stay at the ends, with gradient 0; the
            others are sorted as if alone.
        regularization: ``"l2"`` keeps the sum of the values; ``"kl"`` that of their exponentials (in ascending order of
            their negative exponentials: ascending is minus the descending sort of minus the values).
        regularization_strength: :math:`\varepsilon \ge 0`, in inverse units of ``values``. 0 is the hard sort, small is
            nearly so; large pulls every entry to the mean.
        descending: the largest first.
        mask: True where an item is present, broadcast to the shape of ``values``. The sorted values of those present
            fill their slots in order; masked slots get 0, and gradient 0.
        dim: the axis that holds the items.

    Returns:
        Softly sorted values with the shape and dtype of ``values``. A set that holds NaN is NaN whole.

    Raises:
        TypeError: ``values`` is not floating point, or ``mask`` not boolean.
        ValueError: an unknown regularization, a negative strength, a mask of another shape, no such axis, or n
            above 2,048 under ``torch.compile``.

    Example:
        >>> import torch
        >>> soft_sort(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.1)
        tensor([1., 2., 5.])

    Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, Definition 1. The
    derivative with ``"kl"`` is that of the definition; the authors' code returns another for strengths from 1 on.
    """
    check("soft_sort", values, regularization, regularization_strength, mask, dim, ("descending", descending))
    sign = 1.0 if descending else -1.0
    what = Projection(SORT, regularization == "kl", float(regularization_strength), sign)
    return project("soft_sort", values, mask, what, dim)
