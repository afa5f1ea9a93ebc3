"""Soft membership of the k largest, by projection onto the permutahedron of k ones (Blondel et al., 2020)."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.permutahedron import TOPK, Projection, Regularization, check, project


def soft_topk(
    values: Float[Tensor, "..."],
    k: int,
    *,
    regularization: Regularization = "l2",
    regularization_strength: float = 1.0,
    largest: bool = True,
    mask: Bool[Tensor, "..."] | None = None,
    dim: int = -1,
) -> Float[Tensor, "..."]:
    r"""Says how much each item belongs to the k largest: between 0 and 1, k in all, with a useful gradient.

    .. math:: \arg\min_{y} \; \tfrac12 \lVert y - \theta / \varepsilon \rVert^2
              \quad \text{over} \quad 0 \le y \le 1, \; \textstyle\sum_i y_i = k

    with ``"l2"``; with ``"kl"`` the same set and :math:`\mathrm{KL}(y, e^{\theta / \varepsilon})`, a softmax of sum k
    whose entries stop at 1.

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones are in or out, with gradient 0.
        k: how many, 0 to n. A set with fewer items present takes them all.
        regularization: ``"l2"`` gives exact zeros and ones, ``"kl"`` exact ones only.
        regularization_strength: :math:`\varepsilon \ge 0`, in the units of ``values``. 0 gives the hard membership,
            ties sharing what is left, with gradient 0.
        largest: False for the k smallest.
        mask: True where an item is present, broadcast to the shape of ``values``. Masked slots get 0, and gradient 0.
        dim: the axis that holds the items.

    Returns:
        Memberships with the shape and dtype of ``values``. A set that holds NaN is NaN whole.

    Raises:
        TypeError: ``values`` is not floating point, or ``mask`` not boolean.
        ValueError: k is not in 0 .. n, another option is out of its range, or n is above 2,048 under
            ``torch.compile``.

    Example:
        >>> import torch
        >>> soft_topk(torch.tensor([5.0, 1.0, 2.0]), 2, regularization_strength=0.1)
        tensor([1., 0., 1.])

    Source: Blondel et al., ICML 2020, section 2 (the permutahedron of any w). Its softmax form: the capped simplex.
    """
    check("soft_topk", values, regularization, regularization_strength, mask, dim, ("largest", largest))
    n = values.shape[dim]
    _check.number("soft_topk", "k", k)
    if not 0 <= k <= n:
        raise ValueError(f"soft_topk: `k` must be between 0 and the number of items, n = {n}; got {k}.")
    k = _check.count("soft_topk", "k", k, least=0)
    sign = 1.0 if largest else -1.0
    what = Projection(TOPK, regularization == "kl", float(regularization_strength), sign, k)
    return project("soft_topk", values, mask, what, dim)
