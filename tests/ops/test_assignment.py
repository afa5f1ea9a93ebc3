"""The best assignment: against enumeration, scipy and the dual of the programme, on both paths."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import numbers
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from unshuffle import permutations
from unshuffle.ops import _native
from unshuffle.ops.assignment import assign

pytestmark = pytest.mark.usefixtures("path")

INF, NAN = float("inf"), float("nan")
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
shapes = pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (3, 6), (6, 3), (1, 5), (5, 1)], ids=str
)


# --------------------------------------------------------------------------------------------------------- the oracles


def total(scores: Tensor, position: Tensor) -> Tensor:
    """Sum of the scores of the pairs made; checks that no position is taken twice."""
    n, m = scores.shape[-2:]
    for row in position.reshape(-1, n):
        taken = row[row >= 0]
        assert len(taken.unique()) == len(taken)
        assert (taken < m).all()
    there = position >= 0
    made = scores.double().gather(-1, position.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return made.where(there, torch.zeros((), dtype=torch.float64)).sum(-1)


def matchings(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to pair items with positions one to one, leaving out any."""
    for size in range(min(n, m) + 1):
        for items in itertools.combinations(range(n), size):
            for positions in itertools.permutations(range(m), size):
                yield list(zip(items, positions))


def worth(scores: list[list[float]], pairs: list[tuple[int, int]]) -> tuple[int, int, float]:
    """How many pairs, how many of them with an infinite score, and the total of the others."""
    made = [scores[i][k] for i, k in pairs]
    return len(made), made.count(INF), sum(score for score in made if score != INF)


def best_by_enumeration(scores: Tensor) -> tuple[int, int, float]:
    """Oracle: the best of all matchings without a forbidden pair."""
    rows = scores.tolist()  # read ten times as fast as a tensor's numbers
    allowed = (pairs for pairs in matchings(*scores.shape) if all(rows[i][k] != -INF for i, k in pairs))
    return max(worth(rows, pairs) for pairs in allowed)


def answered(scores: Tensor, position: Tensor) -> tuple[int, int, float]:
    total(scores, position)
    return worth(scores.tolist(), [(i, k) for i, k in enumerate(position.tolist()) if k >= 0])


def greedy(scores: Tensor) -> float:
    """What is had by always taking the best pair that is left."""
    left, sum_ = scores.clone(), 0.0
    for _ in range(min(scores.shape)):
        i, k = divmod(int(left.argmax()), scores.shape[1])
        sum_ += float(scores[i, k])
        left[i], left[:, k] = -INF, -INF
    return sum_


def by_scipy(scores: Tensor) -> Tensor:
    problems = scores.double().reshape(-1, *scores.shape[-2:]).numpy()
    totals = [one[linear_sum_assignment(one, maximize=True)].sum() for one in problems]
    return torch.tensor(np.array(totals)).reshape(scores.shape[:-2])


# ---------------------------------------------------------------------------------------------------------- the optimum


@shapes
def test_assign_reaches_the_enumerated_optimum(shape):
    scores = numbers(8, *shape)

    answers = [answered(s, p) for s, p in zip(scores, assign(scores))]

    # The value, not the positions: ties may have several optima.
    for answer, s in zip(answers, scores):
        assert answer == pytest.approx(best_by_enumeration(s))


FAMILIES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "many ties": lambda x: (2 * x).round(),
    "all equal": lambda x: torch.zeros_like(x),
    "already placed": lambda x: x + 5 * torch.eye(*x.shape[-2:], dtype=x.dtype),
    "on a line": lambda x: -(x[..., :1] - x[..., :1, :]).square(),
    "products": lambda x: torch.arange(x.shape[-2]).double()[:, None] * torch.arange(x.shape[-1]) + 0 * x,
    "negated products": lambda x: -torch.arange(x.shape[-2]).double()[:, None] * torch.arange(x.shape[-1]) + 0 * x,
    "one good position": lambda x: x.abs() * (torch.arange(x.shape[-1]) == 3),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("shape", [(7, 9, 9), (4, 33, 33), (2, 20, 50), (2, 50, 20), (1, 130, 130)], ids=str)
def test_totals_equal_those_of_scipy(family, shape):
    scores = family(numbers(*shape))

    position = assign(scores)

    assert ((position >= 0).sum(-1) == min(shape[1:])).all()
    torch.testing.assert_close(total(scores, position), by_scipy(scores))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_is_solved_as_what_it_holds(dtype):
    scores = numbers(5, 12, 14).to(dtype)

    torch.testing.assert_close(total(scores, assign(scores)), by_scipy(scores))


def test_the_answer_makes_a_permutation_matrix():
    scores = numbers(4, 7, 7)

    position = assign(scores)

    matrix = permutations.to_matrix(permutations.invert(position))
    assert (matrix.argmax(-1) == position).all()
    torch.testing.assert_close((matrix * scores).sum((-2, -1)), by_scipy(scores))


@drawn
@given(n=st.integers(1, 7), m=st.integers(1, 7), seed=st.integers(0, 2**31), rounded=st.booleans())
def test_it_is_never_worse_than_greedy(n, m, seed, rounded):
    scores = numbers(n, m, seed=seed)
    scores = scores.round() if rounded else scores

    assert float(total(scores, assign(scores))) >= greedy(scores) - 1e-12


@drawn
@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_names_of_items_and_positions_carry_no_meaning(n, m, seed):
    scores = numbers(n, m, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(n, generator=rng), torch.randperm(m, generator=rng)

    # Without ties the optimum is one: item p[i] in position q[k] there is item i in position k here.
    renamed, plain = assign(scores[p][:, q]), assign(scores)[p]

    assert torch.equal(torch.where(renamed >= 0, q[renamed.clamp_min(0)], -1), plain)


@drawn
@given(n=st.integers(1, 8), extra=st.integers(0, 3), seed=st.integers(0, 2**31), offset=st.floats(-50, 50))
def test_an_offset_of_a_placed_item_changes_nothing(n, extra, seed, offset):
    """With n <= m every item is placed, so what one of them is worth everywhere cannot matter."""
    scores = numbers(n, n + extra, seed=seed)
    shifted = scores.clone()
    shifted[0] += offset

    torch.testing.assert_close(total(scores, assign(shifted)), by_scipy(scores))


@drawn
@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_exchanging_items_and_positions_exchanges_the_answer(n, m, seed):
    scores = numbers(n, m, seed=seed)

    there, back = assign(scores), assign(scores.mT)

    assert {(i, int(k)) for i, k in enumerate(there) if k >= 0} == {(int(i), k) for k, i in enumerate(back) if i >= 0}


@pytest.mark.parametrize("unit", [5e-324, 1e-300, 1e-30, 1e30, 1e307])
def test_any_magnitude_is_solved(unit):
    whole = (numbers(6, 9, 9).clamp(-1.7, 1.7) * 10).round()

    torch.testing.assert_close(total(whole, assign(whole * unit)), by_scipy(whole))


def test_a_far_score_does_not_blur_the_others():
    scores = numbers(6, 6)
    scores[2, 4] = -1e12

    torch.testing.assert_close(total(scores, assign(scores)), by_scipy(scores))


# ------------------------------------------------------------------------------------------ forbidden and certain pairs


@shapes
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_as_many_as_possible_are_placed_and_then_the_best(shape, share):
    scores, mask = numbers(6, *shape), torch.rand(6, *shape, generator=torch.Generator().manual_seed(3)) > share
    hidden = scores.masked_fill(~mask, -INF)

    position = assign(scores, mask=mask)

    for s, p in zip(hidden, position):
        assert answered(s, p) == pytest.approx(best_by_enumeration(s))
    assert torch.equal(assign(hidden), position)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)], ids=str)
def test_certain_pairs_come_first_and_then_the_total(shape):
    scores = numbers(12, *shape)
    kind = torch.rand(scores.shape, generator=torch.Generator().manual_seed(4))
    scores = scores.masked_fill(kind < 0.3, INF).masked_fill(kind > 0.6, -INF)

    for s, p in zip(scores, assign(scores)):
        assert answered(s, p) == pytest.approx(best_by_enumeration(s))


@pytest.mark.parametrize("share", [0.9, 0.97, 0.99])
@pytest.mark.parametrize("shape", [(60, 60), (40, 80), (80, 40)], ids=str)
def test_the_number_of_pairs_is_that_of_a_largest_matching(shape, share):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(5)) > share

    position = assign(numbers(*shape), mask=mask)

    there = position >= 0
    assert mask[there, position[there]].all()
    most = (maximum_bipartite_matching(csr_array(mask.numpy()), perm_type="column") >= 0).sum()
    assert int(there.sum()) == most


def test_sets_of_several_sizes_are_solved_as_if_alone():
    scores, sizes = numbers(4, 6, 6), [(6, 6), (3, 3), (4, 6), (0, 0)]
    mask = torch.zeros(4, 6, 6, dtype=torch.bool)
    for one, (n, m) in zip(mask, sizes):
        one[:n, :m] = True

    position = assign(scores, mask=mask)

    for s, p, (n, m) in zip(scores, position, sizes):
        assert torch.equal(p[:n], assign(s[:n, :m]))
        assert (p[n:] == -1).all()


def test_what_lies_in_a_masked_pair_does_not_matter():
    scores, mask = numbers(3, 5, 5), torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(6)) > 0.4
    expected = assign(scores, mask=mask)

    for filled in (NAN, INF, -INF, 1e300):
        assert torch.equal(assign(scores.masked_fill(~mask, filled), mask=mask), expected)


def test_a_mask_is_broadcast():
    scores, mask = numbers(3, 4, 5), torch.tensor([True, False, True, True, False])

    assert torch.equal(assign(scores, mask=mask), assign(scores, mask=mask.expand(3, 4, 5).contiguous()))
    assert not torch.isin(assign(scores, mask=mask), torch.tensor([1, 4])).any()


def test_scores_that_are_all_forbidden_place_nothing():
    assert (assign(torch.full((2, 3, 4), -INF)) == -1).all()
    assert (assign(numbers(2, 3, 4), mask=torch.tensor(False)) == -1).all()


def test_scores_that_are_all_certain_place_everything():
    assert total(torch.ones(3, 3), assign(torch.full((3, 3), INF))) == 3


# ------------------------------------------------------------------------------------------------------ shapes, layouts


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (2, 3, 0), (2, 0, 0), (0, 0)], ids=str)
def test_nothing_to_place_is_fine(shape):
    position = assign(torch.empty(shape))

    assert position.shape == shape[:-1]
    assert position.dtype == torch.int64
    assert (position == -1).all()


def test_a_batch_is_its_matrices_one_by_one():
    scores = numbers(2, 3, 5, 6)

    expected = torch.stack([assign(s) for s in scores.reshape(6, 5, 6)]).reshape(2, 3, 5)

    assert torch.equal(assign(scores), expected)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "every other position": lambda scores: scores[..., ::2],
    "transposed": lambda scores: scores.mT,
    "one matrix for all": lambda scores: scores[:1].expand(4, -1, -1),
    "one row for all": lambda scores: scores[:, :1].expand(-1, 5, -1),
    "batch last": lambda scores: scores.permute(1, 2, 0),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_how_scores_lie_in_memory_does_not_show(layout):
    scores, mask = layout(numbers(4, 6, 8)), layout(numbers(4, 6, 8, seed=1)) > -0.5

    assert torch.equal(assign(scores), assign(scores.contiguous()))
    assert torch.equal(assign(scores, mask=mask), assign(scores.contiguous(), mask=mask.contiguous()))


def test_threads_change_nothing():
    scores = numbers(300, 12, 12).round()  # with ties
    expected = assign(scores)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        answer = assign(scores)
    finally:
        torch.set_num_threads(before)

    assert torch.equal(answer, expected)


def test_ties_are_broken_alike_whatever_else_is_in_the_batch():
    scores = numbers(20, 7, 7).round()

    assert torch.equal(torch.stack([assign(s) for s in scores]), assign(scores))


# -------------------------------------------------------------------------------------------------- beside the optimum


def test_it_is_no_part_of_a_gradient():
    scores = numbers(3, 4, 4).requires_grad_()

    position = assign(scores)

    assert not position.requires_grad
    scores.gather(-1, position.unsqueeze(-1)).sum().backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad.sum(-1), torch.ones(3, 4).double())


def test_transforms_take_it_as_one_more_axis_of_the_batch():
    scores, mask = numbers(3, 4, 5, 5), numbers(3, 4, 5, 5, seed=1) > -0.5

    assert torch.equal(torch.func.vmap(torch.func.vmap(assign))(scores), assign(scores))
    assert torch.equal(torch.func.vmap(assign, in_dims=1, out_dims=1)(scores), assign(scores))
    with_masks = torch.func.vmap(lambda s, allowed: assign(s, mask=allowed))
    assert torch.equal(with_masks(scores, mask), assign(scores, mask=mask))
    one_for_all = torch.func.vmap(lambda allowed: assign(scores[0], mask=allowed))
    assert torch.equal(one_for_all(mask), assign(scores[:1].expand(3, -1, -1, -1), mask=mask))


def best_total(scores: Tensor) -> Tensor:
    return scores.gather(-1, assign(scores).unsqueeze(-1)).sum()


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacrev, torch.func.jacfwd])
def test_derivatives_of_the_best_total_are_the_matching(transform):
    scores = numbers(3, 5, 5)

    matrix = transform(best_total)(scores)

    assert torch.equal(matrix.argmax(-1), assign(scores))
    assert torch.equal(matrix.sum((-1, -2)), torch.full((3,), 5.0).double())


@pytest.mark.skipif(hasattr(assign, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_a_compiled_function_may_call_it_between_its_graphs():
    torch.compiler.reset()
    scores = numbers(3, 5, 5)

    compiled = torch.compile(best_total, backend="eager")

    torch.testing.assert_close(compiled(scores), best_total(scores))
    torch.compiler.reset()
    with pytest.raises(RuntimeError, match="compiler"):
        torch.compile(best_total, backend="eager", fullgraph=True)(scores)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((1, 2, 3, 0), r"got NaN at row 3, column 0 of matrix \(1, 2\)\. Mask such pairs"),
        ((0, 0, 0, 4), r"got NaN at row 0, column 4 of matrix \(0, 0\)\."),
    ],
)
def test_nan_in_an_allowed_pair_is_an_error_that_says_where(place, text):
    scores = numbers(2, 3, 4, 5)
    scores[place] = NAN
    scores[1, 2, 3, 4] = NAN  # a later one

    with pytest.raises(ValueError, match=text):
        assign(scores)
    mask = torch.ones(scores.shape, dtype=torch.bool)
    mask[place] = False
    with pytest.raises(ValueError, match=r"row 3, column 4 of matrix"):
        assign(scores, mask=mask)


def test_the_place_of_nan_in_one_matrix_has_no_number_of_it():
    scores = numbers(2, 2)
    scores[1, 0] = NAN

    with pytest.raises(ValueError, match=r"got NaN at row 1, column 0\. Mask"):
        assign(scores)


@pytest.mark.errors
def test_arguments_are_checked():
    with pytest.raises(
        TypeError, match=r"assign: `scores` must be floating point; got torch.int64. Call `scores.float"
    ):
        assign(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"assign: `scores` must be \(\.\.\., n, m\).*\(3,\)\."):
        assign(torch.ones(3))
    with pytest.raises(TypeError, match=r"assign: `mask` must be a boolean tensor"):
        assign(torch.ones(2, 2), mask=torch.ones(2, 2))
    with pytest.raises(
        ValueError, match=r"assign: `mask` must broadcast to the shape of `scores`, \(2, 2\); got \(3, 2\)"
    ):
        assign(torch.ones(2, 2), mask=torch.ones(3, 2, dtype=torch.bool))


# --------------------------------------------------------------------------------------------------- published vectors


def test_matchings_equal_those_of_gumbel_sinkhorn_code(golden):
    data = golden("gumbel_sinkhorn")

    position = assign(torch.tensor(data["log_alpha"]))

    assert torch.equal(position, torch.tensor(data["matching_nonoise"]).argmax(-1))


@pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")
def test_both_paths_agree_on_which_pairs_where_nothing_ties():
    scores, mask = numbers(20, 9, 11), numbers(20, 9, 11, seed=1) > 0

    expected = assign(scores, mask=mask)
    with _native.disabled():
        answer = assign(scores, mask=mask)

    assert torch.equal(answer, expected)
