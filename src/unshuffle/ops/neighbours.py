"""Arrangements found by what it costs that two items are neighbours: the quadratic cost of adjacency on a lattice.

:mod:`unshuffle.ops.ordering` asks of two items which comes earlier on a line, however far apart; here only items side
by side count. Costs of neighbours, and of an item at a place, in; a soft placement out, by mean-field steps at a
falling temperature. :mod:`unshuffle.ops.local_search` finds a hard one of low cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.sinkhorn import sinkhorn

STEPS, ITERATIONS = 24, 3
TEMPERATURES = (8.0, 0.7)
"""Of costs in nats, as of log-probabilities."""


def neighbour_cost(
    costs: Float[Tensor, "*batch axes n n"],
    permutation: Float[Tensor, "*batch n n"],
    shape: Sequence[int],
    places: Float[Tensor, "*batch n n"] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""What a placement on a lattice costs in all, hard or soft: over neighbouring places, and over places.

    .. math:: c(P) = \sum_a \sum_{(k, l) \in E_a} \sum_{ij} C_{aij} P_{ik} P_{jl} + \sum_{ik} U_{ik} P_{ik}

    where :math:`E_a` holds the pairs of places of which the second comes right behind the first along axis a.

    Args:
        costs: (..., axes, n, n), ``costs[..., a, i, j]`` for placing item j right behind item i along axis a.
        permutation: (..., n, n), items on rows and positions on columns; positions count along the last axis first.
        shape: of the lattice, one length an axis, with n places in all.
        places: (..., n, n), ``places[..., i, k]`` for placing item i at position k. None: nothing.

    Returns:
        (...), one number a placement.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: ``shape`` has not n places, or shapes do not fit.

    Example:
        >>> import torch
        >>> costs = torch.tensor([[[0.0, 5.0, 1.0], [2.0, 0.0, 9.0], [9.0, 3.0, 0.0]]])
        >>> neighbour_cost(costs, torch.eye(3), (3,))  # 0 before 1, and 1 before 2
        tensor(14.)
    """
    _check_permutation("neighbour_cost", costs, permutation)
    check_neighbours("neighbour_cost", costs, shape, permutation=permutation, places=places)
    found = costs.new_zeros(costs.shape[:-3])
    for axis, beside in enumerate(adjacency(shape, costs)):
        # Of one side only: the slope counts every pair from both.
        found = found + (permutation * (costs[..., axis, :, :] @ permutation @ beside.mT)).sum((-1, -2))
    return found if places is None else found + (places * permutation).sum((-1, -2))


def neighbour_gradient(
    costs: Float[Tensor, "*batch axes n n"],
    permutation: Float[Tensor, "*batch n n"],
    shape: Sequence[int],
    places: Float[Tensor, "*batch n n"] | None = None,
) -> Float[Tensor, "*batch n n"]:
    r"""The slope of :func:`neighbour_cost` by the permutation, for any costs.

    .. math:: \frac{\partial c}{\partial P} = \sum_a \left( C_a P A_a^\top + C_a^\top P A_a \right) + U

    with :math:`A_a` the adjacency of places along axis a: what item i would cost at position k, where all others stand
    as they are.

    Args:
        costs: as for :func:`neighbour_cost`.
        permutation: as for :func:`neighbour_cost`.
        shape: as for :func:`neighbour_cost`.
        places: as for :func:`neighbour_cost`.

    Returns:
        (..., n, n).
    """
    _check_permutation("neighbour_gradient", costs, permutation)
    check_neighbours("neighbour_gradient", costs, shape, permutation=permutation, places=places)
    return _slope(costs, permutation, adjacency(shape, costs), places)


def arrange_by_neighbours(
    costs: Float[Tensor, "*batch axes n n"],
    shape: Sequence[int],
    places: Float[Tensor, "*batch n n"] | None = None,
    *,
    steps: int = STEPS,
    temperatures: tuple[float, float] = TEMPERATURES,
    iterations: int = ITERATIONS,
) -> Float[Tensor, "*batch n n"]:
    r"""Finds a soft placement of low :func:`neighbour_cost`: mean-field steps while the temperature falls.

    .. math:: P^{(t + 1)} = \mathrm{sinkhorn}\Big( - \frac{1}{\tau_t}
              \frac{\partial c(P^{(t)})}{\partial P^{(t)}} \Big), \qquad P^{(0)} = \mathrm{uniform}

    At a high temperature every place is open and only what all neighbours agree on counts; as it falls, what is certain
    settles first and decides the rest. The answer is differentiable in both costs: all steps are unrolled.

    Args:
        costs: (..., axes, n, n), ``costs[..., a, i, j]`` for placing item j right behind item i along axis a: minus its
            log-probability, say. The diagonal, an item beside itself, is best as dear as the worst of pairs.
        shape: of the lattice, one length an axis, with n places in all: (rows, columns). Position
            ``row * columns + column`` is a column of the answer.
        places: (..., n, n), ``places[..., i, k]`` for placing item i at position k. None: all alike; then costs that
            every shift along an axis leaves the same have no best answer.
        steps: how many, 1 or more.
        temperatures: of the first and the last step, in the units of the costs; those between fall geometrically.
        iterations: row-then-column normalisations of each Sinkhorn, at least 1. Columns end exact.

    Returns:
        The relaxed permutation (..., n, n), items on rows and positions on columns. A set of which a cost is
        not finite is NaN whole, with gradient 0.

    Raises:
        TypeError: ``costs`` or ``places`` is not floating point.
        ValueError: ``shape`` has not n places, shapes do not fit, or an option is out of its range.

    Example:
        >>> import torch
        >>> costs = torch.full((1, 4, 4), 9.0)
        >>> costs[0, 2, 0] = costs[0, 0, 3] = costs[0, 3, 1] = 0.0  # 2, 0, 3, 1 follow each other
        >>> arrange_by_neighbours(costs, (4,)).argmax(-2)
        tensor([2, 0, 3, 1])

    Source: mean-field annealing of quadratic assignments (Gold & Rangarajan, "A Graduated Assignment Algorithm for
    Graph Matching", PAMI 1996), with the cost of adjacency in the place of Zhang et al. 2019's cost of order.
    """
    return anneal_neighbours(costs, shape, places, steps=steps, temperatures=temperatures, iterations=iterations)[-1]


def anneal_neighbours(
    costs: Float[Tensor, "*batch axes n n"],
    shape: Sequence[int],
    places: Float[Tensor, "*batch n n"] | None = None,
    *,
    steps: int = STEPS,
    temperatures: tuple[float, float] = TEMPERATURES,
    iterations: int = ITERATIONS,
) -> list[Float[Tensor, "*batch n n"]]:
    """The uniform start of :func:`arrange_by_neighbours`, and the placement after each of its steps."""
    check_neighbours("arrange_by_neighbours", costs, shape, places=places)
    steps = _check.count("arrange_by_neighbours", "steps", steps)
    iterations = _check.count("arrange_by_neighbours", "iterations", iterations)
    if not isinstance(temperatures, tuple | list) or len(temperatures) != 2:
        raise TypeError(
            f"arrange_by_neighbours: `temperatures` must be two numbers, of the first and the last step; "
            f"got {temperatures!r}."
        )
    for temperature in temperatures:
        _check.positive("arrange_by_neighbours", "temperatures", temperature)
        if math.isinf(temperature):
            raise ValueError(f"arrange_by_neighbours: `temperatures` must be finite; got {temperatures}.")
    if costs.numel() == 0:
        return [costs.sum(-3)] * (steps + 1)
    dtype = torch.promote_types(costs.dtype, torch.float32)
    own = torch.zeros_like(costs[..., 0, :, :]) if places is None else places
    spoilt = ~(costs.isfinite().flatten(-3).all(-1) & own.isfinite().flatten(-2).all(-1))[..., None, None]
    wide = torch.where(spoilt.unsqueeze(-3), 0.0, costs.to(dtype))
    own = torch.where(spoilt, 0.0, own.to(dtype))
    beside = adjacency(shape, wide)
    plans = [torch.full_like(own, 1 / costs.shape[-1])]
    with torch.autocast(costs.device.type, enabled=False):
        for temperature in _falling(*temperatures, steps):
            plans.append(sinkhorn(-_slope(wide, plans[-1], beside, own) / temperature, num_iters=iterations))
    return [torch.where(spoilt, torch.nan, plan).to(costs.dtype) for plan in plans]


def adjacency(shape: Sequence[int], like: Tensor) -> Float[Tensor, "axes n n"]:
    """For each axis of a lattice, 1 from a place to the one right behind it, with the dtype and device of ``like``."""
    found = []
    for axis in range(len(shape)):
        whole = torch.ones(1, 1, dtype=like.dtype, device=like.device)
        for other, length in enumerate(shape):
            part = torch.eye(length, dtype=like.dtype, device=like.device)
            # The row above the diagonal leads one place on.
            whole = torch.kron(whole, part.roll(1, 1).triu(1) if other == axis else part)
        found.append(whole)
    return torch.stack(found)


def check_neighbours(function: str, costs: Tensor, shape: Sequence[int], **squares: Tensor | None) -> None:
    """Refuses costs that are no stack of square matrices for this lattice, and matrices of another size beside them."""
    _check.floating(function, "costs", costs)
    places = math.prod(_check.lengths(function, "shape", shape))
    if costs.ndim < 3 or costs.shape[-3:] != (len(shape), places, places):
        raise ValueError(
            f"{function}: `costs` must be (..., axes, n, n) with one channel for each axis of `shape` and n places in "
            f"it; got {tuple(costs.shape)} for {tuple(shape)}, which has {places} places."
        )
    for name, square in squares.items():
        if square is not None:
            _check.floating(function, name, square)
            _check.same_shape(function, name, square, "costs[..., 0, :, :]", costs[..., 0, :, :])


def _check_permutation(function: str, costs: Tensor, permutation: Tensor) -> None:
    _check.floating(function, "costs", costs)
    _check.floating(function, "permutation", permutation)
    _check.same_dtype(function, "permutation", permutation, "costs", costs)


def _slope(costs: Tensor, plan: Tensor, beside: Tensor, places: Tensor | None) -> Tensor:
    by_axis = plan.unsqueeze(-3)
    found = (costs @ by_axis @ beside.mT + costs.mT @ by_axis @ beside).sum(-3)
    return found if places is None else found + places


def _falling(first: float, last: float, steps: int) -> list[float]:
    return [first * (last / first) ** (step / max(1, steps - 1)) for step in range(steps)]
