"""Costs of neighbours on lattices: totals and slopes by plain loops, placements by enumeration."""

from __future__ import annotations

from itertools import permutations as every_order
from itertools import product

import pytest
import torch
from torch import Tensor

from unshuffle import ops, permutations
from unshuffle.ops.local_search import moves
from unshuffle.ops.neighbours import anneal_neighbours

SHAPES = ((4,), (1, 3), (2, 3), (3, 2), (2, 2, 2))


def total(costs: Tensor, places: Tensor, shape: tuple[int, ...], position: tuple[int, ...]) -> float:
    """Oracle: the cost of a hard placement, pair by pair of coordinates."""
    where = list(product(*(range(length) for length in shape)))
    at = [where[k] for k in position]
    found = sum(places[i, k].item() for i, k in enumerate(position))
    for axis, i, j in product(range(len(shape)), range(len(at)), range(len(at))):
        step = tuple(b - a for a, b in zip(at[i], at[j]))
        if step == tuple(int(other == axis) for other in range(len(shape))):
            found += costs[axis, i, j].item()
    return found


def drawn(shape: tuple[int, ...], *batch: int) -> tuple[Tensor, Tensor]:
    n = torch.Size(shape).numel()
    draws = torch.Generator().manual_seed(n)
    costs = torch.randn(*batch, len(shape), n, n, dtype=torch.float64, generator=draws)
    return costs, torch.randn(*batch, n, n, dtype=torch.float64, generator=draws)


def planted(shape: tuple[int, ...], *, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Eight placements, and costs by which true neighbours are cheap; without noise nothing else is as cheap."""
    n, draws = torch.Size(shape).numel(), torch.Generator().manual_seed(seed)
    position = permutations.sample(8, n, generator=draws)
    owned = permutations.to_matrix(permutations.invert(position)).double()
    beside = torch.stack([_beside(shape, axis) for axis in range(len(shape))])
    costs = 4 - 4 * (owned.unsqueeze(1) @ beside @ owned.mT.unsqueeze(1))
    return position, costs + noise * torch.randn(costs.shape, dtype=torch.float64, generator=draws)


def _beside(shape: tuple[int, ...], axis: int) -> Tensor:
    where = list(product(*(range(length) for length in shape)))
    step = [int(other == axis) for other in range(len(shape))]
    return torch.tensor([[[b - a for a, b in zip(k, q)] == step for q in where] for k in where]).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cost_of_a_hard_placement_is_that_of_its_pairs_and_places(shape):
    costs, places = drawn(shape, 3)
    position = permutations.sample(3, costs.shape[-1], generator=torch.Generator().manual_seed(1))
    hard = permutations.to_matrix(permutations.invert(position)).double()

    found = ops.neighbour_cost(costs, hard, shape, places)

    expected = [total(*one, shape, tuple(at.tolist())) for *one, at in zip(costs, places, position)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_is_that_of_the_cost_for_costs_of_any_kind(shape):
    costs, places = drawn(shape, 2)
    plan = torch.rand(places.shape, dtype=torch.float64).requires_grad_()

    (slope,) = torch.autograd.grad(ops.neighbour_cost(costs, plan, shape, places).sum(), plan)

    torch.testing.assert_close(ops.neighbour_gradient(costs, plan.detach(), shape, places), slope)


@pytest.mark.parametrize("with_places", [False, True])
def test_the_derivative_of_the_annealed_placement_is_that_of_its_value(with_places):
    costs, places = (tensor.requires_grad_() for tensor in drawn((2, 2), 2))

    def placed(costs: Tensor, places: Tensor) -> Tensor:
        own = places if with_places else None
        return ops.arrange_by_neighbours(costs, (2, 2), own, steps=3, temperatures=(3.0, 0.8), iterations=3)

    assert torch.autograd.gradcheck(placed, (costs, places))


def test_the_annealed_placement_is_the_mean_field_of_its_definition():
    costs, places = drawn((2, 3))
    plan = torch.full((6, 6), 1 / 6, dtype=torch.float64)
    for temperature in (4.0, 2.0, 1.0):
        leaf = plan.clone().requires_grad_()
        (slope,) = torch.autograd.grad(ops.neighbour_cost(costs, leaf, (2, 3), places), leaf)
        plan = (-slope / temperature).exp()
        for _ in range(5):
            plan = plan / plan.sum(-1, keepdim=True)
            plan = plan / plan.sum(-2, keepdim=True)

    found = ops.arrange_by_neighbours(costs, (2, 3), places, steps=3, temperatures=(4.0, 1.0), iterations=5)

    torch.testing.assert_close(found, plan)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 4), (2, 2, 2)])
def test_neighbours_alone_put_a_planted_lattice_together(shape):
    position, costs = planted(shape, noise=0.5)

    soft = ops.arrange_by_neighbours(costs, shape)
    found = ops.settle_neighbours(costs, shape, ops.assign(soft))

    assert (found == position).all(-1).double().mean() >= 0.75
    assert (found == position).double().mean() > (ops.assign(soft) == position).double().mean() - 1e-9


@pytest.mark.parametrize("shape", [(4,), (2, 2), (2, 3)])
def test_the_settled_placement_reaches_the_enumerated_optimum(shape):
    """From an annealed start, in most sets of noise; and is never below it."""
    costs, places = drawn(shape, 30)
    n = costs.shape[-1]

    soft = ops.arrange_by_neighbours(costs, shape, places, temperatures=(4.0, 0.2))
    found = ops.settle_neighbours(costs, shape, ops.assign(soft), places)

    reached = [total(c, u, shape, tuple(p.tolist())) for c, u, p in zip(costs, places, found)]
    best = [min(total(c, u, shape, order) for order in every_order(range(n))) for c, u in zip(costs, places)]
    gaps = torch.tensor(reached) - torch.tensor(best)
    assert gaps.min() > -1e-9
    assert (gaps < 1e-9).double().mean() >= 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_no_single_move_lowers_a_settled_placement(shape):
    costs, places = drawn(shape, 4)
    n = costs.shape[-1]
    start = torch.arange(n).expand(4, n)

    found = ops.settle_neighbours(costs, shape, start, places)

    for c, u, first, last in zip(costs, places, start, found):
        reached = total(c, u, shape, tuple(last.tolist()))
        assert reached <= total(c, u, shape, tuple(first.tolist())) + 1e-9
        order = last.argsort()
        for move in moves(shape):
            assert total(c, u, shape, tuple(order[move].argsort().tolist())) >= reached - 1e-9


def test_the_moves_of_a_grid_are_exchanges_of_blocks_and_rolls_and_each_is_a_permutation():
    found = {tuple(move.tolist()) for move in moves((2, 2))}
    exchanges = {(1, 0, 2, 3), (2, 1, 0, 3), (3, 1, 2, 0), (0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 3, 2)}

    assert found == exchanges | {(1, 0, 3, 2), (2, 3, 0, 1)}
    assert (moves((3, 3)).sort(-1).values == torch.arange(9)).all()
    upwards = torch.arange(9).reshape(3, 3).roll(-1, 0).flatten()
    assert (moves((3, 3)) == upwards).all(-1).any()


def test_large_lattices_keep_exchanges_of_two_and_rolls_of_everything():
    found, everything = moves((9, 9)), torch.arange(81)

    two = everything.clone()
    two[[3, 70]] = two[[70, 3]]
    assert (found == two).all(-1).any()
    assert (found == everything.reshape(9, 9).roll(1, 1).flatten()).all(-1).any()
    assert len(found) < 81**2


def test_a_lattice_that_stands_a_row_too_low_is_moved_as_a_whole():
    position, costs = planted((4, 4), noise=0.0)
    low = (position + 4) % 16
    places = torch.zeros(8, 16, 16, dtype=torch.float64)

    assert ops.settle_neighbours(costs, (4, 4), low, places, most=1).equal(position)


@pytest.mark.parametrize("operator", ["anneal", "settle"])
def test_relabelling_the_items_relabels_the_answer(operator):
    _, costs = planted((3, 3), noise=0.3)
    places, perm = torch.randn(8, 9, 9, dtype=torch.float64), torch.randperm(9)

    def answer(costs: Tensor, places: Tensor) -> Tensor:
        soft = ops.arrange_by_neighbours(costs, (3, 3), places)
        return soft if operator == "anneal" else ops.settle_neighbours(costs, (3, 3), ops.assign(soft), places)

    relabelled = answer(costs[..., perm, :][..., perm], places[:, perm])

    torch.testing.assert_close(relabelled, answer(costs, places)[:, perm])


def test_annealing_starts_uniform_and_ends_with_the_answer():
    costs, places = drawn((2, 2), 3)

    found = anneal_neighbours(costs, (2, 2), places, steps=4)

    assert len(found) == 5
    torch.testing.assert_close(found[0], torch.full((3, 4, 4), 0.25, dtype=torch.float64))
    torch.testing.assert_close(found[-1], ops.arrange_by_neighbours(costs, (2, 2), places, steps=4))


def test_costs_that_are_not_finite_spoil_their_own_set_alone():
    costs, places = drawn((2, 2), 2)
    clean = ops.arrange_by_neighbours(costs, (2, 2), places)
    spoilt = costs.clone()
    spoilt[0, 1, 2, 0] = torch.nan

    soft = ops.arrange_by_neighbours(spoilt, (2, 2), places)
    start = torch.tensor([[2, 0, 1, 3], [0, 1, 2, 3]])
    hard = ops.settle_neighbours(spoilt, (2, 2), start, places)

    assert soft[0].isnan().all()
    torch.testing.assert_close(soft[1], clean[1])
    assert hard[0].tolist() == start[0].tolist()
    assert hard[1].equal(ops.settle_neighbours(costs, (2, 2), start, places)[1])


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_batch_is_placed(batch):
    costs, places = drawn((2, 2), *batch)

    soft = ops.arrange_by_neighbours(costs.float(), (2, 2), places.float())

    assert soft.shape == (*batch, 4, 4)
    assert soft.dtype == torch.float32
    start = torch.arange(4).expand(*batch, 4)
    assert ops.settle_neighbours(costs, (2, 2), start, places).shape == (*batch, 4)


@pytest.mark.errors
def test_errors_say_what_is_accepted():
    costs = torch.zeros(2, 6, 6)
    with pytest.raises(ValueError, match=r"one channel for each axis of `shape`.*got \(2, 6, 6\) for \(2, 2\)"):
        ops.arrange_by_neighbours(costs, (2, 2))
    with pytest.raises(ValueError, match="`places` must have the shape of"):
        ops.arrange_by_neighbours(costs, (2, 3), torch.zeros(5, 6))
    with pytest.raises(TypeError, match="`costs` must be floating point"):
        ops.neighbour_cost(costs.long(), torch.eye(6), (2, 3))
    with pytest.raises(ValueError, match="`temperatures` must be positive; got 0"):
        ops.arrange_by_neighbours(costs, (2, 3), temperatures=(1.0, 0.0))
    with pytest.raises(ValueError, match="`steps` must be positive"):
        ops.arrange_by_neighbours(costs, (2, 3), steps=0)
    with pytest.raises(ValueError, match=r"`start` must be \(..., n\)"):
        ops.settle_neighbours(costs, (2, 3), torch.arange(5))
