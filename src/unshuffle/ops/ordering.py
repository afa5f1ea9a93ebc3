"""Orders found by descent on what it costs that one item comes before another (Zhang et al., 2019).

Pairwise costs in, soft permutation out. An entry C[i, j] of the costs says what it costs to place item i anywhere
before item j. A few steps of gradient descent on the total cost are unrolled, so that what made the costs can learn
from the order; :mod:`unshuffle.ops.descent` makes the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.descent import UPDATES, Descent, Update, descend, slope

_ALIKE = 1e-10


def ordering_cost(
    costs: Float[Tensor, "*batch n n"], permutation: Float[Tensor, "*batch n n"]
) -> Float[Tensor, "*batch"]:
    r"""What an order costs in all, hard or soft: the sum over all pairs of items.

    .. math:: c(P) = \sum_{ij} C_{ij} \sum_k P_{ik} \Big( \sum_{k' > k} P_{jk'} - \sum_{k' < k} P_{jk'} \Big)

    A pair counts as it stands: :math:`C_{ij}` where i comes before j, its negative where i comes after.

    Args:
        costs: (..., n, n), ``costs[..., i, j]`` for placing item i before item j.
        permutation: (..., n, n), items on rows and positions on columns.

    Returns:
        (...), one number an order. Memory O(n^2).

    Example:
        >>> import torch
        >>> values = torch.tensor([3.0, 1.0, 2.0])
        >>> costs = values.unsqueeze(1) - values
        >>> sorts = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> ordering_cost(costs, sorts), ordering_cost(costs, torch.eye(3))
        (tensor(-8.), tensor(4.))

    Source: Zhang, Prügel-Bennett & Hare, "Learning Representations of Sets through Optimized Permutations", ICLR 2019,
    equation 1.
    """
    _check_pair("ordering_cost", costs, permutation)
    return (permutation * ordering_gradient(costs, permutation)).sum((-1, -2)) / 2


def ordering_gradient(
    costs: Float[Tensor, "*batch n n"], permutation: Float[Tensor, "*batch n n"]
) -> Float[Tensor, "*batch n n"]:
    r"""The slope of :func:`ordering_cost` by the permutation, for costs with :math:`C_{ij} = -C_{ji}`.

    .. math:: \frac{\partial c}{\partial P_{pq}} = 2 \sum_j C_{pj} B_{jq}, \qquad
              B_{jq} = \sum_{k > q} P_{jk} - \sum_{k < q} P_{jk}

    One product of matrices; B is made of running sums. Of costs that are not antisymmetric this is not the slope.

    Args:
        costs: (..., n, n), ``costs[..., i, j]`` for placing item i before item j.
        permutation: (..., n, n), items on rows and positions on columns.

    Returns:
        (..., n, n).

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, equation 4.
    """
    _check_pair("ordering_gradient", costs, permutation)
    return slope(costs.unsqueeze(-3), permutation, (costs.shape[-1],))


def arrangement_cost(
    costs: Float[Tensor, "*batch axes n n"], permutation: Float[Tensor, "*batch n n"], shape: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """What a placement on a lattice costs in all: that of every line along every axis, as in :func:`ordering_cost`.

    Args:
        costs: (..., axes, n, n): ``costs[..., a, i, j]`` for placing item i before item j along axis a, on one line.
        permutation: (..., n, n), items on rows and positions on columns; positions count along the last axis first.
        shape: of the lattice, with n places.

    Returns:
        (...), one number a placement.

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, section 2.4.
    """
    _check_lattice("arrangement_cost", costs, shape)
    _check.floating("arrangement_cost", "permutation", permutation)
    _check.same_shape("arrangement_cost", "permutation", permutation, "costs[..., 0, :, :]", costs[..., 0, :, :])
    _check.same_dtype("arrangement_cost", "permutation", permutation, "costs", costs)
    return (permutation * slope(costs, permutation, tuple(shape))).sum((-1, -2)) / 2


def order_by_costs(
    costs: Float[Tensor, "*batch n n"],
    start: Float[Tensor, "*batch n n"] | None = None,
    *,
    steps: int = 4,
    step_size: float | Float[Tensor, "..."] = 1.0,
    iterations: int = 4,
    update: Update = "alternative",
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch n n"]:
    r"""Finds a soft order of low total cost, by a few steps of gradient descent.

    .. math:: P^{(t)} = \mathrm{sinkhorn}(\tilde P^{(t)}), \qquad
              \tilde P^{(t + 1)} = \tilde P^{(t)} - |\eta| \, \frac{\partial c(P^{(t)})}{\partial P^{(t)}}

    where c is :func:`ordering_cost`. The answer is differentiable in the costs, the start and the step size.
    Relabelling the items relabels the rows of the answer, so that the sequence ``answer.mT @ items`` does not depend on
    the order in which a set was given.

    Args:
        costs: (..., n, n) with ``costs[..., i, j] == -costs[..., j, i]``: what it costs to place item i before item j.
            Their scale times the step size says how sharp the answer is: see :func:`with_unit_norm`.
        start: (..., n, n) logits to start from, items on rows and positions on columns. None: all the same. A pair of
            minus infinity is never made.
        steps: how many, 0 or more.
        step_size: one number, whose absolute value counts; a tensor may be learnt.
        iterations: row-then-column normalisations of each Sinkhorn, at least 1. Columns end exact.
        update: ``"alternative"``: the slope by the normalised permutation moves the logits, as above. ``"proper"``: the
            true slope by the logits, through Sinkhorn. ``"projected"``: the slope moves the permutation itself, which
            is then projected onto rows and columns of sum 1, in turn (Dykstra).
        mask: (..., n), True where an item is present. Items that are not come last: with m present, these share the
            first m positions, and all other rows and columns are 0. What lies in the padding does not matter.

    Returns:
        The relaxed permutation, with the shape and dtype of ``costs``. A set of which a cost is not finite is NaN
        whole, with gradient 0.

    Raises:
        TypeError: ``costs`` or ``start`` is not floating point, or ``mask`` not boolean.
        ValueError: ``costs`` is not square, shapes do not fit, or an option is out of its range.

    Example:
        >>> import torch
        >>> values = torch.tensor([3.0, 1.0, 2.0])
        >>> order_by_costs(values.unsqueeze(1) - values, step_size=10.0).round()
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, section 2.2 and appendices A, B and D.
    """
    _check_costs("order_by_costs", costs)
    asked = _asked("order_by_costs", tuple(costs.shape[-1:]), steps, step_size, iterations, update)
    if start is not None:
        _check.floating("order_by_costs", "start", start)
        _check.same_shape("order_by_costs", "start", start, "costs", costs)
    if mask is not None:
        _check.mask("order_by_costs", mask, "costs[..., 0]", costs[..., 0])
        mask = mask.expand(costs.shape[:-1])
    return descend(costs.unsqueeze(-3), start, step_size, asked, mask)


def arrange_by_costs(
    costs: Float[Tensor, "*batch axes n n"],
    shape: Sequence[int],
    start: Float[Tensor, "*batch n n"] | None = None,
    *,
    steps: int = 4,
    step_size: float | Float[Tensor, "..."] = 1.0,
    iterations: int = 4,
    update: Update = "alternative",
) -> Float[Tensor, "*batch n n"]:
    """Finds a soft placement of items on a lattice: :func:`order_by_costs` along every line of every axis at once.

    Args:
        costs: (..., axes, n, n), antisymmetric: ``costs[..., a, i, j]`` is what it costs to place item i before item j
            along axis a, wherever both are on one line. On a grid of rows and columns, axis 0 goes down a column and
            axis 1 along a row.
        shape: of the lattice, one length an axis, with n places in all: (rows, columns). Position
            ``row * columns + column`` is a column of the answer.
        start: as for :func:`order_by_costs`.
        steps: as for :func:`order_by_costs`.
        step_size: as for :func:`order_by_costs`.
        iterations: as for :func:`order_by_costs`.
        update: as for :func:`order_by_costs`.

    Returns:
        (..., n, n), items on rows and positions on columns.

    Raises:
        TypeError: ``costs`` or ``start`` is not floating point.
        ValueError: ``shape`` has not n places, or as for :func:`order_by_costs`.

    Example:
        >>> import torch
        >>> places = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])  # row and column of each item
        >>> costs = places.T.unsqueeze(-1) - places.T.unsqueeze(-2)
        >>> arrange_by_costs(costs, (2, 2), step_size=10.0).argmax(-1)
        tensor([2, 1, 3, 0])

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, section 2.4.
    """
    _check_lattice("arrange_by_costs", costs, shape)
    asked = _asked("arrange_by_costs", shape, steps, step_size, iterations, update)
    if start is not None:
        _check.floating("arrange_by_costs", "start", start)
        _check.same_shape("arrange_by_costs", "start", start, "costs[..., 0, :, :]", costs[..., 0, :, :])
    return descend(costs, start, step_size, asked, None)


def with_unit_norm(
    costs: Float[Tensor, "*batch n n"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*batch n n"]:
    r"""Scales each matrix of costs to a Frobenius norm of 1, so that the step size alone says how sharp an order is.

    Args:
        costs: (..., n, n); of several channels, each by itself.
        mask: (..., n), True where an item is present, broadcast to ``costs.shape[:-1]``. Costs of others become 0.

    Returns:
        The costs over their norm. Where that is no more than 1e-10, as of items that are all alike, 0 with gradient 0.

    Raises:
        TypeError: ``costs`` is not floating point, or ``mask`` not boolean.
        ValueError: ``costs`` is not square, or ``mask`` does not broadcast.

    Example:
        >>> import torch
        >>> with_unit_norm(torch.tensor([[0.0, 3.0], [-3.0, 0.0]]))
        tensor([[ 0.0000,  0.7071],
                [-0.7071,  0.0000]])

    Source: Zhang, Prügel-Bennett & Hare, ICLR 2019, equation 10; the floor is the authors', whose code divides by it.
    """
    _check_costs("with_unit_norm", costs)
    if mask is not None:
        _check.mask("with_unit_norm", mask, "costs[..., 0]", costs[..., 0])
        mask = mask.expand(costs.shape[:-1])
        costs = torch.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), costs, 0.0)
    if costs.numel() == 0:
        return costs.clone()
    # The largest is taken out first, for squares overflow.
    largest = torch.linalg.vector_norm(costs.detach(), torch.inf, dim=(-2, -1), keepdim=True)
    scaled = costs / torch.where(largest > 0, largest, 1.0)
    norm = torch.linalg.vector_norm(scaled, dim=(-2, -1), keepdim=True)
    alike = norm * largest <= _ALIKE
    return torch.where(alike, 0.0, scaled / torch.where(alike, 1.0, norm))


def _asked(
    function: str, shape: Sequence[int], steps: int, step_size: float | Tensor, iterations: int, update: Update
) -> Descent:
    shape, steps = _check.lengths(function, "shape", shape), _check.count(function, "steps", steps, least=0)
    _check.number(function, "step_size", 1.0 if isinstance(step_size, Tensor) else step_size)
    if isinstance(step_size, Tensor):
        _check.real(function, "step_size", step_size)
    elif not math.isfinite(step_size):
        raise ValueError(f"{function}: `step_size` must be finite; got {step_size}.")
    if isinstance(step_size, Tensor) and step_size.numel() != 1:
        raise ValueError(
            f"{function}: `step_size` must be one number; got a tensor of shape {tuple(step_size.shape)}. For steps of "
            "other sizes in each set, scale its costs."
        )
    iterations = _check.count(function, "iterations", iterations)
    _check.one_of(function, "update", update, UPDATES)
    return Descent(shape, steps, iterations, update)


def _check_costs(function: str, costs: Tensor) -> None:
    _check.floating(function, "costs", costs)
    if costs.ndim < 2 or costs.shape[-1] != costs.shape[-2]:
        raise ValueError(
            f"{function}: `costs` must be square in its last two axes, (..., n, n), one cost for each pair of items; "
            f"got {tuple(costs.shape)}."
        )


def _check_pair(function: str, costs: Tensor, permutation: Tensor) -> None:
    _check_costs(function, costs)
    _check.floating(function, "permutation", permutation)
    _check.same_shape(function, "permutation", permutation, "costs", costs)
    _check.same_dtype(function, "permutation", permutation, "costs", costs)


def _check_lattice(function: str, costs: Tensor, shape: Sequence[int]) -> None:
    _check_costs(function, costs)
    _check.lengths(function, "shape", shape)
    places = 1
    for length in shape:
        places *= length
    if costs.ndim < 3 or costs.shape[-3] != len(shape) or places != costs.shape[-1]:
        raise ValueError(
            f"{function}: `costs` must be (..., axes, n, n) with one channel for each axis of `shape` and n places in "
            f"it; got {tuple(costs.shape)} for {tuple(shape)}, which has {places} places."
        )
