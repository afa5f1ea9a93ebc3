"""Blackbox gradients: the formula, the interpolated loss whose gradient it is, solvers of other kinds."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from unshuffle.ops import soft_rank
from unshuffle.ops.blackbox import blackbox, blackbox_rank
from unshuffle.permutations import to_ranks

INF, NAN = float("inf"), float("nan")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(scores: torch.Tensor, incoming: torch.Tensor, **options) -> torch.Tensor:
    """What comes out where ``incoming`` comes in."""
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(blackbox_rank(scores, **options), scores, incoming)[0]


def assigned(scores: torch.Tensor) -> torch.Tensor:
    """A solver outside PyTorch: the best assignment of rows to columns, for each of a batch of matrices."""
    matrices = scores.reshape(-1, *scores.shape[-2:]).numpy()
    answers = np.zeros_like(matrices)
    for answer, matrix in zip(answers, matrices):
        answer[linear_sum_assignment(matrix, maximize=True)] = 1
    return torch.from_numpy(answers).reshape(scores.shape)


def one_hot_argmax(scores: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])


# ------------------------------------------------------------------------------------------------------------- values


@given(values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1e30]), min_size=1, max_size=9))
def test_the_ranks_are_hard_and_tied_items_share_the_mean(values):
    assert blackbox_rank(torch.tensor(values)).tolist() == rankdata(values).tolist()


def test_the_ranks_maximise_the_product_with_the_scores():
    """The premise of the gradient's sign, by enumeration."""
    scores = numbers(5).numpy()

    best = max(itertools.permutations(range(1, 6)), key=lambda y: np.dot(y, scores))

    assert blackbox_rank(torch.from_numpy(scores)).tolist() == list(best)


# ---------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("interpolation", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_the_gradient_is_the_published_difference(n, interpolation):
    scores, incoming = numbers(3, n, seed=n), numbers(3, n, seed=n + 1)

    moved = scores.numpy() - interpolation * incoming.numpy()
    expected = (rankdata(scores.numpy(), axis=-1) - rankdata(moved, axis=-1)) / interpolation

    np.testing.assert_allclose(gradient(scores, incoming, interpolation=interpolation).numpy(), expected, atol=1e-12)


def test_the_gradient_is_that_of_the_authors_who_rank_from_the_largest():
    """Their solver minimises: ranks of the largest first, gradient -(y - y(theta + lambda g)) / lambda."""
    scores, incoming, interpolation = numbers(7, seed=1), numbers(7, seed=2), 2.0

    moved = scores.numpy() + interpolation * -incoming.numpy()  # d loss / d (our ranks) = -d loss / d (theirs)
    theirs = -(rankdata(-scores.numpy()) - rankdata(-moved)) / interpolation

    np.testing.assert_allclose(gradient(scores, incoming, interpolation=interpolation).numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize("interpolation", [0.3, 3.0])
def test_the_gradient_is_that_of_the_interpolated_loss(interpolation):
    """(max <theta, y> - max <theta - lambda g, y>) / lambda, maxima over all n! rankings, by finite differences."""
    scores, incoming = numbers(5, seed=1), numbers(5, seed=2)
    rankings = np.array(list(itertools.permutations(range(1, 6))))

    def interpolated(theta: np.ndarray) -> float:
        return (
            (rankings @ theta).max() - (rankings @ (theta - interpolation * incoming.numpy())).max()
        ) / interpolation

    steps = 1e-6 * np.eye(5)
    slope = [(interpolated(scores.numpy() + h) - interpolated(scores.numpy() - h)) / 2e-6 for h in steps]

    np.testing.assert_allclose(gradient(scores, incoming, interpolation=interpolation).numpy(), slope, atol=1e-6)


def test_descending_the_gradient_moves_an_item_to_the_rank_it_is_asked_for():
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    wanted = torch.tensor([3.0, 1.0, 2.0, 4.0])
    optimiser = torch.optim.SGD([scores], lr=0.2)

    for _ in range(50):
        optimiser.zero_grad()
        (blackbox_rank(scores, interpolation=1.0) - wanted).square().sum().backward()
        optimiser.step()

    assert blackbox_rank(scores).tolist() == wanted.tolist()


def test_small_interpolations_see_no_change_and_have_no_gradient():
    assert gradient(numbers(6), numbers(6, seed=1), interpolation=1e-6).tolist() == [0.0] * 6


@given(n=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_names_of_items_carry_no_meaning_and_the_gradient_has_no_sum(n, seed):
    scores, incoming = numbers(n, seed=seed), numbers(n, seed=seed + 1)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    slope = gradient(scores, incoming)

    assert torch.equal(gradient(scores[p], incoming[p]), slope[p])
    assert slope.sum().abs() < 1e-9


def test_there_is_no_second_derivative_and_it_says_so():
    scores = numbers(5).requires_grad_()

    (slope,) = torch.autograd.grad(blackbox_rank(scores).square().sum(), scores, create_graph=True)

    with pytest.raises(RuntimeError, match=r"blackbox: there is no second derivative: .* rank with `soft_rank`"):
        slope.square().sum().backward()


# ---------------------------------------------------------------------------------------------------- any solver


@pytest.mark.parametrize("interpolation", [0.5, 5.0])
def test_a_solver_outside_pytorch_gets_the_gradient_of_its_own_interpolated_loss(interpolation):
    scores, incoming = numbers(4, 4, seed=1), numbers(4, 4, seed=2)
    orders = np.array([np.eye(4)[list(p)] for p in itertools.permutations(range(4))])

    def best(theta: np.ndarray) -> np.ndarray:
        return orders[(orders * theta).sum((1, 2)).argmax()]

    leaf = scores.clone().requires_grad_()
    answer = blackbox(assigned, interpolation=interpolation)(leaf)
    (slope,) = torch.autograd.grad(answer, leaf, incoming)

    np.testing.assert_array_equal(answer.detach().numpy(), best(scores.numpy()))
    expected = (best(scores.numpy()) - best((scores - interpolation * incoming).numpy())) / interpolation
    np.testing.assert_allclose(slope.numpy(), expected)


def test_a_minimiser_is_the_maximiser_of_the_negated_cost():
    """Vlastelica et al., Algorithm 1: a cost w gets -(y(w) - y(w + lambda g)) / lambda, y the cheapest choice."""

    def cheapest(w: torch.Tensor) -> torch.Tensor:
        return one_hot_argmax(-w).double()

    cost = numbers(5, seed=1)
    incoming = numbers(5, seed=2) + 10 * cheapest(cost)  # so that another choice becomes the cheapest

    leaf = cost.clone().requires_grad_()
    answer = blackbox(lambda scores: cheapest(-scores), interpolation=2.0)(-leaf)
    (slope,) = torch.autograd.grad(answer, leaf, incoming)

    assert torch.equal(answer, cheapest(cost))
    assert torch.equal(slope, -(cheapest(cost) - cheapest(cost + 2.0 * incoming)) / 2.0)
    assert slope.abs().sum() > 0


def test_whole_numbers_and_half_precision_are_taken_care_of():
    seen = []

    def solver(scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores.dtype)
        return one_hot_argmax(scores)

    scores = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float16, requires_grad=True)
    answer = blackbox(solver, interpolation=2.0)(scores)
    answer[1].backward()

    assert answer.dtype == torch.float16
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, 0.5, -0.5]
    assert seen == [torch.float32, torch.float32]


# ------------------------------------------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_scores_take_the_end_ranks_with_gradient_zero(dtype):
    scores = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)

    slope = gradient(scores, torch.tensor([3.0, 2.0, -1.0, -2.0, -5.0, 0.0], dtype=dtype), interpolation=0.5)

    assert blackbox_rank(scores).tolist() == [5.5, 3.0, 1.0, 4.0, 5.5, 2.0]
    assert slope.tolist() == [0.0, 2.0, 0.0, 0.0, 0.0, -2.0]  # moved: -0.7, 1.9 and -0.2


def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched():
    scores, incoming = numbers(3, 5), numbers(3, 5, seed=1)
    spoilt = scores.clone()
    spoilt[1, 2] = NAN

    ranks, slope = blackbox_rank(spoilt), gradient(spoilt, incoming)

    assert ranks[1].isnan().all()
    assert torch.equal(ranks[[0, 2]], to_ranks(scores)[[0, 2]])
    assert torch.equal(slope[[0, 2]], gradient(scores, incoming)[[0, 2]])
    assert slope[1].tolist() == [0.0] * 5


def test_scores_of_any_magnitude_are_ranked_and_have_finite_gradients():
    scores = torch.tensor([1e30, -1e300, 1e17, 1.0, 2.0], dtype=torch.float64)

    assert blackbox_rank(scores).tolist() == [5.0, 1.0, 4.0, 2.0, 3.0]
    assert gradient(scores, numbers(5)).isfinite().all()


def test_equal_scores_part_by_the_incoming_gradient_alone():
    slope = gradient(torch.full((3,), 0.1), torch.tensor([0.0, 1.0, -1.0]))

    assert slope.tolist() == [0.0, 1.0, -1.0]


# -------------------------------------------------------------------------------------------------- shapes and dtypes


@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_any_axis_may_hold_the_items(dim):
    scores, incoming = numbers(2, 3, 4), 3 * numbers(2, 3, 4, seed=1)

    torch.testing.assert_close(blackbox_rank(scores, dim=dim), torch.from_numpy(rankdata(scores.numpy(), axis=dim)))
    last = gradient(scores.movedim(dim, -1), incoming.movedim(dim, -1)).movedim(-1, dim)
    torch.testing.assert_close(gradient(scores, incoming, dim=dim), last)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 4), (0, 0), (2, 0, 4)])
def test_nothing_in_nothing_out(shape):
    scores = numbers(*shape).requires_grad_()

    ranks = blackbox_rank(scores)
    ranks.sum().backward()

    assert ranks.shape == shape
    assert scores.grad is not None
    assert scores.grad.shape == shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_is_kept(dtype):
    scores, incoming = numbers(4, 9).to(dtype), (torch.arange(9).square() % 7 - 3).to(dtype).expand(4, 9)

    slope = gradient(scores, incoming)

    assert blackbox_rank(scores).dtype == slope.dtype == dtype
    assert torch.equal(slope.double(), gradient(scores.double(), incoming.double()))


# ---------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.skipif(hasattr(soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_gives_the_same():
    torch.compiler.reset()
    compiled = torch.compile(blackbox_rank, fullgraph=True, backend="eager")
    scores = torch.cat([numbers(3, 5), torch.zeros(1, 5)]).requires_grad_()
    incoming = numbers(4, 5, seed=1)

    ranks = compiled(scores)

    assert torch.equal(ranks, to_ranks(scores))
    assert torch.equal(torch.autograd.grad(ranks, scores, incoming)[0], gradient(scores, incoming))


def test_vmap_equals_a_batched_call_with_gradients_inside_and_outside():
    scores, incoming = numbers(2, 3, 5), 3 * numbers(5, seed=1)

    def loss(row: torch.Tensor) -> torch.Tensor:
        return (blackbox_rank(row) * incoming).sum()

    inside = torch.func.vmap(torch.func.vmap(torch.func.grad(loss)))(scores)
    outside = torch.func.grad(lambda rows: torch.func.vmap(torch.func.vmap(loss))(rows).sum())(scores)

    torch.testing.assert_close(torch.func.vmap(blackbox_rank, in_dims=1, out_dims=1)(scores), to_ranks(scores))
    torch.testing.assert_close(inside, gradient(scores, incoming.expand(2, 3, 5)))
    torch.testing.assert_close(outside, inside)


def test_a_solver_outside_pytorch_meets_the_mapped_axis_as_a_leading_one():
    scores, incoming = numbers(3, 4, 4), numbers(4, 4, seed=1)
    solve = blackbox(assigned, interpolation=2.0)

    def loss(matrix: torch.Tensor) -> torch.Tensor:
        return (solve(matrix) * incoming).sum()

    mapped = torch.func.vmap(torch.func.grad(loss))(scores)

    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(loss)(matrix) for matrix in scores]))
    torch.testing.assert_close(torch.func.vmap(solve)(scores), assigned(scores))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives():
    scores, incoming = numbers(3, 9), numbers(3, 9, seed=1)

    assert torch.equal(blackbox_rank(scores.cuda()).cpu(), blackbox_rank(scores))
    assert torch.equal(gradient(scores.cuda(), incoming.cuda()).cpu(), gradient(scores, incoming))


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(TypeError, match=r"blackbox_rank: `scores` must be floating point; got torch.int64. Call `sc"):
        blackbox_rank(torch.zeros(3, dtype=torch.int64))
    for interpolation in (0.0, -1.0, NAN):
        with pytest.raises(ValueError, match=rf"blackbox_rank: `interpolation` must be positive; got {interpolation}"):
            blackbox_rank(torch.zeros(3), interpolation=interpolation)
        with pytest.raises(ValueError, match=rf"blackbox: `interpolation` must be positive; got {interpolation}"):
            blackbox(to_ranks, interpolation=interpolation)
    for shape, dim in [((2, 3), 2), ((2, 3), -3), ((), -1)]:
        with pytest.raises(ValueError, match=rf"blackbox_rank: `dim` must name an axis of a {len(shape)}-D tensor"):
            blackbox_rank(torch.zeros(shape), dim=dim)


@pytest.mark.errors
def test_a_solver_whose_answer_is_no_number_an_entry_is_refused():
    with pytest.raises(ValueError, match=r"blackbox: `solver` must return the shape of its scores, \(2, 3\); got \(2"):
        blackbox(lambda scores: scores.argmax(-1), interpolation=1.0)(torch.zeros(2, 3))
    with pytest.raises(TypeError, match=r"blackbox: `scores` must be floating point; got torch.int64"):
        blackbox(to_ranks, interpolation=1.0)(torch.zeros(3, dtype=torch.int64))
