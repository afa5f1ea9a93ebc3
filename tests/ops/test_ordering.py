"""Orders by descent on pairwise costs: against enumeration, loops, finite differences; masks; what breaks and what not.

The authors' own vectors are in ``test_ordering_golden.py``; what all operators on matrices promise, in the contract.
"""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import balanced_in_logarithms, numbers
from torch import Tensor

from unshuffle.ops import (
    arrange_by_costs,
    arrangement_cost,
    assign,
    order_by_costs,
    ordering_cost,
    ordering_gradient,
    with_unit_norm,
)
from unshuffle.ops.descent import UPDATES, Lines, _imbalance, _lines, _nearest_plan

INF, NAN = float("inf"), float("nan")
F64 = torch.float64

every_update = pytest.mark.parametrize("update", UPDATES)


def antisymmetric(*shape: int, seed: int = 0) -> Tensor:
    half = numbers(*shape, seed=seed)
    return half - half.mT


def balanced(n: int, *batch: int, seed: int = 0) -> Tensor:
    """Soft permutations, not of an optimum."""
    return balanced_in_logarithms(numbers(*batch, n, n, seed=seed), 1.0, 50)


def all_permutations(n: int) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(n)))


def matrix(places: tuple[int, ...]) -> Tensor:
    """Item i at position ``places[i]``."""
    return torch.eye(len(places), dtype=F64)[list(places)]


# -------------------------------------------------------------------------------------------------------- total costs


def cost_by_pairs(costs: Tensor, places: tuple[int, ...]) -> float:
    """The definition for a hard order: every pair as it stands."""
    pairs = itertools.permutations(range(len(places)), 2)
    return sum(float(costs[i, j]) * (1 if places[i] < places[j] else -1) for i, j in pairs)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_hard_order_costs_what_its_pairs_cost(n):
    costs = numbers(n, n)

    for places in all_permutations(n):
        torch.testing.assert_close(
            ordering_cost(costs, matrix(places)), torch.tensor(cost_by_pairs(costs, places), dtype=F64)
        )


@pytest.mark.parametrize("n", [2, 7, 70])
def test_the_gradient_is_that_of_the_total_cost_where_costs_are_antisymmetric(n):
    costs, plan = antisymmetric(3, n, n), balanced(n, 3).requires_grad_()

    (expected,) = torch.autograd.grad(ordering_cost(costs, plan).sum(), plan)

    torch.testing.assert_close(ordering_gradient(costs, plan.detach()), expected)


def test_the_total_cost_is_the_quadratic_programme_of_the_appendix():
    """Equations 20 to 25: p' Q p over flattened permutations, whose Q is indefinite."""
    n = 4
    costs, plan = antisymmetric(n, n), balanced(n)
    later = torch.ones(n, n, dtype=F64).triu(1) - torch.ones(n, n, dtype=F64).tril(-1)
    programme = torch.einsum("ij,kl->ikjl", costs, later).reshape(n * n, n * n)

    torch.testing.assert_close(ordering_cost(costs, plan), plan.flatten() @ programme @ plan.flatten())
    eigenvalues = torch.linalg.eigvalsh((programme + programme.T) / 2)
    assert eigenvalues.min() < -0.1
    assert eigenvalues.max() > 0.1


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 1), (2, 2, 3), (6,), (9, 8)], ids=str)
def test_a_lattice_costs_what_its_lines_cost(shape):
    """A slow loop over every line along every axis; its items are weighed by how much of them is on the line."""
    n = torch.Size(shape).numel()
    costs, plan = antisymmetric(len(shape), n, n), balanced(n)
    cells = plan.reshape(n, *shape)

    expected = torch.zeros((), dtype=F64)
    for axis, length in enumerate(shape):
        lines = cells.movedim(axis + 1, -1).reshape(n, -1, length)
        for line in range(lines.shape[1]):
            for k, later in itertools.product(range(length), repeat=2):
                sign = (later > k) - (later < k)
                expected += sign * lines[:, line, k] @ costs[axis] @ lines[:, line, later]

    torch.testing.assert_close(arrangement_cost(costs, plan, shape), expected)


@pytest.mark.parametrize("shape", [(5,), (64,), (2, 3), (3, 1, 2)], ids=str)
def test_running_sums_are_products_by_signs(shape):
    n = torch.Size(shape).numel()
    plan = balanced(n, 2)
    lines = _lines(shape, plan)
    assert lines.signs is not None

    torch.testing.assert_close(_imbalance(plan, Lines(shape, None)), _imbalance(plan, lines))


# ------------------------------------------------------------------------------------------------------- the descent


def ordered_as_written(
    costs: Tensor, start: Tensor, steps: int, step_size: Tensor, update: str = "alternative", iterations: int = 4
) -> Tensor:
    """Algorithm 1 with the total cost's derivative left to autograd."""
    logits = start
    for _ in range(steps):
        plan = balanced_in_logarithms(logits, 1.0, iterations)
        towards = plan if update == "alternative" else logits
        (slope,) = torch.autograd.grad(ordering_cost(costs, plan).sum(), towards, create_graph=True)
        logits = logits - step_size * slope
    return balanced_in_logarithms(logits, 1.0, iterations)


@pytest.mark.parametrize("update", ["alternative", "proper"])
@pytest.mark.parametrize(("n", "steps"), [(1, 2), (4, 0), (4, 1), (6, 3), (70, 2)])
def test_the_descent_is_the_one_of_the_paper(update, n, steps):
    half = numbers(2, n, n).requires_grad_()
    costs, start = with_unit_norm(half - half.mT), numbers(2, n, n, seed=1).requires_grad_()
    size, levers = torch.tensor(1.3, dtype=F64, requires_grad=True), numbers(2, n, n, seed=2)
    leaves = (half, start, size) if steps else (start,)

    answer = order_by_costs(costs, start, steps=steps, step_size=size, update=update)
    expected = ordered_as_written(costs, start, steps, size, update)

    torch.testing.assert_close(answer, expected, rtol=1e-11, atol=1e-13)
    found, right = (torch.autograd.grad(a, leaves, levers, retain_graph=True) for a in (answer, expected))
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [5, 70])
@every_update
def test_a_uniform_start_is_a_start_of_equal_logits(n, update):
    costs = with_unit_norm(antisymmetric(2, n, n))
    zeros = torch.zeros_like(costs)

    for steps in (0, 1, 3):
        torch.testing.assert_close(
            order_by_costs(costs, steps=steps, update=update),
            order_by_costs(costs, zeros, steps=steps, update=update),
            rtol=1e-11,
            atol=1e-14,
        )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [3, 4, 5])
def test_clear_orders_are_found_as_enumeration_finds_them(n, seed):
    """Costs of a line of values: the one order without a backward pair is the best of all n!."""
    values = numbers(n, seed=seed)
    costs = with_unit_norm(values.unsqueeze(-1) - values)

    found = assign(order_by_costs(costs, steps=6))

    best = min(all_permutations(n), key=lambda places: float(ordering_cost(costs, matrix(places))))
    assert tuple(found.tolist()) == best


@pytest.mark.parametrize("n", [4, 5])
def test_of_costs_without_a_clear_order_the_found_one_is_among_the_cheapest(n):
    """The programme is not convex, so the best is not promised; of n! random ones it would be the median."""
    ranks = []
    for seed in range(20):
        costs = with_unit_norm(antisymmetric(n, n, seed=seed))
        found = ordering_cost(costs, matrix(tuple(assign(order_by_costs(costs, steps=10)).tolist())))
        every = torch.stack([ordering_cost(costs, matrix(places)) for places in all_permutations(n)])
        ranks.append((every < found - 1e-9).double().mean())

    assert torch.stack(ranks).mean() < 0.05


def entropy(plan: Tensor) -> Tensor:
    return -torch.special.xlogy(plan, plan).sum((-1, -2)).mean()


def test_the_alternative_update_is_sharper_and_cheaper_than_the_proper_one():
    """Appendix D: the true slope vanishes on the way to a permutation."""
    values = numbers(50, 8)
    costs = with_unit_norm(values.unsqueeze(-1) - values.unsqueeze(-2))

    alternative, proper = (order_by_costs(costs, update=update) for update in UPDATES[:2])

    assert entropy(alternative) < 0.8 * entropy(proper)
    assert (ordering_cost(costs, alternative) < ordering_cost(costs, proper)).all()


def test_projected_steps_go_to_the_nearest_plan():
    """Dykstra's limit is the point of the polytope that no vertex lies nearer to."""
    target = 2 * numbers(4, 4)
    allowed = torch.ones(4, 4, dtype=torch.bool)

    nearest = _nearest_plan(target, 3000, allowed)

    torch.testing.assert_close(nearest.sum(-1), torch.ones(4, dtype=F64))
    torch.testing.assert_close(nearest.sum(-2), torch.ones(4, dtype=F64))
    assert nearest.min() >= 0
    for places in all_permutations(4):
        assert ((target - nearest) * (matrix(places) - nearest)).sum() < 1e-8


def test_pairs_that_the_start_forbids_are_never_made():
    costs, start = antisymmetric(5, 5), numbers(5, 5, seed=1)
    start[2, :3] = -INF

    for update in UPDATES:
        plan = order_by_costs(costs, start, update=update)
        assert (plan[2, :3] == 0).all()
        assert plan.isfinite().all()


@pytest.mark.parametrize("size", [-1.3, 1.3, torch.tensor(-1.3, dtype=F64), torch.tensor([1.3], dtype=F64)], ids=str)
def test_the_sign_of_the_step_size_means_nothing(size):
    costs = antisymmetric(4, 4)

    torch.testing.assert_close(order_by_costs(costs, step_size=size), order_by_costs(costs, step_size=1.3))


# ----------------------------------------------------------------------------------------------------------- lattices


def test_a_lattice_of_one_axis_is_a_sequence():
    costs, start = antisymmetric(3, 6, 6), numbers(3, 6, 6, seed=1)

    for update in UPDATES:
        torch.testing.assert_close(
            arrange_by_costs(costs.unsqueeze(-3), (6,), start, update=update),
            order_by_costs(costs, start, update=update),
        )


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (1, 4), (2, 2, 2), (9, 8)], ids=str)
def test_items_that_know_their_place_find_it_on_any_lattice(shape):
    """Costs along each axis are differences of the items' coordinates along it."""
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    places = torch.stack(torch.unravel_index(order, shape)).double()
    costs = with_unit_norm(places.unsqueeze(-1) - places.unsqueeze(-2))

    found = assign(arrange_by_costs(costs, shape, steps=8, step_size=2.0))

    assert torch.equal(found, order)


def test_axes_of_a_grid_may_be_exchanged_with_its_costs():
    """Costs of rows and columns swapped arrange the transposed grid."""
    costs, start = antisymmetric(2, 6, 6), numbers(6, 6, seed=1)

    upright = arrange_by_costs(costs, (2, 3), start)
    lying = arrange_by_costs(costs.flip(0), (3, 2), start.reshape(6, 2, 3).mT.reshape(6, 6))

    torch.testing.assert_close(lying.reshape(6, 3, 2).mT.reshape(6, 6), upright)


@every_update
@pytest.mark.parametrize("shape", [(2, 2), (3,)], ids=str)
def test_derivatives_on_a_lattice_agree_with_finite_differences(update, shape):
    n = torch.Size(shape).numel()
    costs, start = antisymmetric(len(shape), n, n).requires_grad_(), numbers(n, n, seed=1).requires_grad_()
    size = torch.tensor(0.8, dtype=F64, requires_grad=True)
    function = lambda c, s, z: arrange_by_costs(c, shape, s, steps=2, step_size=z, update=update)  # noqa: E731

    assert torch.autograd.gradcheck(function, (costs, start, size), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (costs, start, size), fast_mode=True)


# --------------------------------------------------------------------------------------------------- relabelled items


@settings(max_examples=25)
@given(n=st.integers(1, 8), seed=st.integers(0, 2**31), update=st.sampled_from(UPDATES), started=st.booleans())
def test_relabelled_items_have_relabelled_rows_and_the_same_sequence(n, seed, update, started):
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    costs, items = with_unit_norm(antisymmetric(n, n, seed=seed)), numbers(n, 3, seed=seed)
    start = numbers(n, n, seed=seed + 1) if started else None

    plan = order_by_costs(costs, start, update=update)
    other = order_by_costs(costs[p][:, p], None if start is None else start[p], update=update)

    torch.testing.assert_close(other, plan[p])
    torch.testing.assert_close(other.mT @ items[p], plan.mT @ items)


# -------------------------------------------------------------------------------------------------------------- masks


def masked_sets(n: int) -> Tensor:
    """Sets of all items, of none, of one, and of some."""
    places = torch.rand(5, n, generator=torch.Generator().manual_seed(0)).argsort(-1)
    return places < torch.tensor([n, 0, 1, n - 2, 2]).unsqueeze(-1)


POISONS = [(update, 5, poison) for update in UPDATES for poison in (0.0, NAN, INF, -INF, 1e300)]


@pytest.mark.parametrize(("update", "n", "poison"), [*POISONS, ("alternative", 70, NAN)])
def test_padding_changes_no_value_and_no_gradient_whatever_it_holds(update, n, poison):
    mask, levers = masked_sets(n), numbers(5, n, n, seed=2)
    both = mask.unsqueeze(-1) & mask.unsqueeze(-2)
    free = antisymmetric(5, n, n).masked_fill(~both, poison).requires_grad_()
    filled = torch.arange(n) < mask.sum(-1, keepdim=True)
    pairs = mask.unsqueeze(-1) & filled.unsqueeze(-2)
    start = numbers(5, n, n, seed=1).masked_fill(~pairs, poison).requires_grad_()
    size = torch.tensor(0.7, dtype=F64, requires_grad=True)

    plan = order_by_costs(with_unit_norm(free, mask), start, steps=3, step_size=size, update=update, mask=mask)
    slopes = torch.autograd.grad(plan, (free, start, size), levers)

    assert (plan[~pairs] == 0).all()
    assert (slopes[0][~both] == 0).all()
    assert (slopes[1][~pairs] == 0).all()
    by_size = torch.zeros((), dtype=F64)
    for b, count in enumerate(mask.sum(-1).tolist()):
        if not count:
            continue
        here = mask[b]
        small = free.detach()[b][here][:, here].requires_grad_()
        begin = start.detach()[b][here][:, :count].requires_grad_()
        alone = order_by_costs(with_unit_norm(small), begin, steps=3, step_size=size, update=update)
        torch.testing.assert_close(plan[b][here][:, :count], alone)
        right = torch.autograd.grad(alone, (small, begin, size), levers[b][here][:, :count])
        torch.testing.assert_close(slopes[0][b][here][:, here], right[0], rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(slopes[1][b][here][:, :count], right[1], rtol=1e-7, atol=1e-12)
        by_size += right[2]
    torch.testing.assert_close(slopes[2], by_size, rtol=1e-7, atol=1e-12)


@every_update
def test_a_uniform_start_of_a_masked_set_is_uniform_on_what_is_there(update):
    mask, costs = masked_sets(6), with_unit_norm(antisymmetric(5, 6, 6))

    plain = order_by_costs(costs, mask=mask, update=update)

    torch.testing.assert_close(order_by_costs(costs, torch.zeros_like(costs), mask=mask, update=update), plain)


def test_a_mask_that_hides_nothing_changes_nothing():
    costs, mask = antisymmetric(3, 5, 5), torch.ones(5, dtype=torch.bool)

    torch.testing.assert_close(order_by_costs(costs, mask=mask), order_by_costs(costs))
    torch.testing.assert_close(with_unit_norm(costs, mask), with_unit_norm(costs))


# -------------------------------------------------------------------------------------------- norms, sizes, bad numbers


def test_every_matrix_has_a_norm_of_one_and_items_alike_have_no_costs():
    costs = antisymmetric(3, 2, 5, 5) * torch.tensor([1e-3, 1.0, 1e100], dtype=F64).reshape(3, 1, 1, 1)
    costs[1, 0] = 0
    leaf = costs.clone().requires_grad_()

    normed = with_unit_norm(leaf)
    normed.sum().backward()

    norms = normed.detach().square().sum((-1, -2)).sqrt()
    torch.testing.assert_close(norms.flatten(), torch.tensor([1.0, 1, 0, 1, 1, 1], dtype=F64))
    torch.testing.assert_close(normed[0, 0] * costs[0, 0].square().sum().sqrt(), costs[0, 0])
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[1, 0] == 0).all()


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e200])
def test_derivatives_of_the_norm_agree_with_finite_differences(scale):
    levers, costs = numbers(2, 3, 3, seed=1), antisymmetric(2, 3, 3).requires_grad_()
    function = lambda c: with_unit_norm(c * scale) * levers  # noqa: E731

    assert torch.autograd.gradcheck(function, costs)
    assert torch.autograd.gradgradcheck(function, costs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_norms_of_large_costs_do_not_overflow(dtype):
    largest = torch.finfo(dtype).max
    costs = torch.tensor([[0.0, largest], [-largest, 0.0]], dtype=dtype)

    expected = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=dtype) * 0.5**0.5
    torch.testing.assert_close(with_unit_norm(costs), expected)


def test_sets_of_items_alike_stay_uniform():
    torch.testing.assert_close(order_by_costs(with_unit_norm(torch.zeros(3, 3))), torch.full((3, 3), 1 / 3))


@every_update
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_set_with_a_cost_that_is_not_finite_is_nan_whole_and_no_other_is_touched(update, bad):
    costs = antisymmetric(3, 4, 4)
    spoilt = costs.clone()
    spoilt[1, 2, 0] = bad
    leaf, size = spoilt.requires_grad_(), torch.tensor(1.0, dtype=F64, requires_grad=True)

    plan = order_by_costs(leaf, step_size=size, update=update)
    slope, by_size = torch.autograd.grad(plan, (leaf, size), numbers(3, 4, 4, seed=1))

    assert plan[1].isnan().all()
    assert (slope[1] == 0).all()
    assert by_size.isfinite()
    torch.testing.assert_close(plan[[0, 2]], order_by_costs(costs, update=update)[[0, 2]])


@pytest.mark.parametrize("n", [9, 300])
def test_single_precision_is_within_rounding_of_double(n):
    """Costs of a sorted line, as a network that has learnt makes them."""
    values = torch.rand(n, generator=torch.Generator().manual_seed(0))
    costs = with_unit_norm(values.unsqueeze(-1) - values)

    for step_size in (1.0, 10.0):
        exact = order_by_costs(costs.double(), steps=6, step_size=step_size)
        found = order_by_costs(costs, steps=6, step_size=step_size)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_single_and_rounded_once(dtype):
    costs = with_unit_norm(antisymmetric(2, 9, 9)).to(dtype)

    assert torch.equal(order_by_costs(costs), order_by_costs(costs.float()).to(dtype))


@pytest.mark.parametrize("n", [6, 70])
def test_mapped_descents_give_the_same(n):
    costs, start = with_unit_norm(antisymmetric(3, n, n)), numbers(3, n, n, seed=1)

    mapped = torch.func.vmap(partial(order_by_costs, steps=2))(costs, start)

    torch.testing.assert_close(mapped, order_by_costs(costs, start, steps=2), rtol=1e-9, atol=1e-12)


@every_update
def test_every_update_works_inside_transforms(update):
    costs, levers = with_unit_norm(antisymmetric(2, 4, 4)), numbers(4, 4, seed=1)
    function = lambda c: (order_by_costs(c, steps=2, update=update) * levers).sum()  # noqa: E731

    mapped = torch.func.vmap(torch.func.grad(function))(costs)

    leaf = costs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(sum(function(c) for c in leaf), leaf)
    torch.testing.assert_close(mapped, expected)


def test_memory_is_two_matrices_a_step():
    """What is kept for the backward pass, beside the costs: logits and B of each step that has a product."""
    n, sizes = 80, []
    costs = with_unit_norm(antisymmetric(n, n)).requires_grad_()

    def kept(steps: int) -> int:
        seen: dict[int, int] = {}
        pack = lambda t: seen.__setitem__(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            plan = order_by_costs(costs, steps=steps)
        sizes.append(plan)
        return sum(seen.values())

    per_step = (kept(9) - kept(5)) / 4 / (8 * n * n)

    assert per_step < 2.2


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize("function", [order_by_costs, with_unit_norm])
def test_costs_that_are_not_square_are_refused(function):
    with pytest.raises(ValueError, match=rf"{function.__name__}: `costs` must be square .* got \(2, 3\)"):
        function(torch.zeros(2, 3))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": -1}, "`steps` must be 0 or more; got -1"),
        ({"iterations": 0}, "`iterations` must be positive; got 0"),
        ({"update": "newton"}, "`update` must be one of 'alternative', 'proper', 'projected'; got 'newton'"),
        ({"start": torch.zeros(2, 2)}, r"`start` must have the shape of `costs`, \(3, 3\); got \(2, 2\)"),
        ({"mask": torch.ones(4, dtype=torch.bool)}, r"`mask` must broadcast to .* \(3,\); got \(4,\)"),
        ({"step_size": torch.ones(3)}, r"`step_size` must be one number; got a tensor of shape \(3,\)"),
    ],
)
def test_options_out_of_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=f"order_by_costs: {text}"):
        order_by_costs(torch.zeros(3, 3), **options)


@pytest.mark.errors
def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="order_by_costs: `mask` must be a boolean tensor"):
        order_by_costs(torch.zeros(3, 3), mask=torch.ones(3))


@pytest.mark.errors
@pytest.mark.parametrize(("costs", "shape"), [((2, 6, 6), (2, 2)), ((1, 6, 6), (2, 3)), ((6, 6), (6,))], ids=str)
def test_a_lattice_of_another_size_or_number_of_axes_is_refused(costs, shape):
    with pytest.raises(ValueError, match=r"arrange_by_costs: `costs` must be \(\.\.\., axes, n, n\)"):
        arrange_by_costs(torch.zeros(costs), shape)


@pytest.mark.errors
def test_totals_of_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"ordering_cost: `permutation` must have the shape of `costs`"):
        ordering_cost(torch.zeros(3, 3), torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"arrangement_cost: `permutation` must have the shape of `costs\[\.\.\., 0"):
        arrangement_cost(torch.zeros(1, 4, 4), torch.zeros(3, 3), (4,))
