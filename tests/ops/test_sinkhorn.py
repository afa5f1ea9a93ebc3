"""Sinkhorn's iterations: against the formula, closed forms and linear algebra; and far out."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from oracles import balanced_in_logarithms, numbers
from torch import Tensor

from unshuffle.ops.sinkhorn import gumbel_sinkhorn, sinkhorn

INF = float("inf")
F64 = torch.float64
GRADIENTS = ("unrolled", "implicit")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

every_gradient = pytest.mark.parametrize("gradient", GRADIENTS)


def slope_of(function: Callable[[Tensor], Tensor], scores: Tensor, seed: int = 1) -> Tensor:
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(function(scores), scores, numbers(*scores.shape, seed=seed).to(scores.dtype))[0]


def kept(function: Callable[[Tensor], Tensor], scores: Tensor) -> int:
    """How many numbers are saved for the backward pass, beside the scores themselves."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(scores.detach().requires_grad_())
    return sum(sizes)


# --------------------------------------------------------------------------------------- the iterations, as written


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", [(13, 9, 9), (3, 5), (5, 3), (1, 1), (2, 3, 1, 4), (2, 40, 33), (70, 26, 6)], ids=str)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("num_iters", [1, 2, 7])
def test_values_and_gradients_are_those_of_the_iterations_as_written(shape, temperature, num_iters):
    scores, options = numbers(*shape), {"temperature": temperature, "num_iters": num_iters}

    answer, slope = sinkhorn(scores, **options), slope_of(lambda s: sinkhorn(s, **options), scores)

    torch.testing.assert_close(answer, balanced_in_logarithms(scores, **options), rtol=1e-12, atol=1e-14)
    expected = slope_of(lambda s: balanced_in_logarithms(s, **options), scores)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [6, 40])
def test_far_columns_are_balanced_in_logarithms_to_the_same_numbers(n):
    """An offset of 1000 temperatures underflows in every row, and is none of the answer's business in the end."""
    scores = numbers(3, n, n)
    scores[1] += torch.where(torch.arange(n) % 2 == 0, -1000.0, 0.0)  # between two that need no logarithms

    answer, slope = sinkhorn(scores), slope_of(sinkhorn, scores)

    torch.testing.assert_close(answer, balanced_in_logarithms(scores, 1.0, 20), rtol=1e-11, atol=1e-13)
    expected = slope_of(lambda s: balanced_in_logarithms(s, 1.0, 20), scores)
    torch.testing.assert_close(slope, expected, rtol=1e-11, atol=1e-12)
    alone = torch.stack([sinkhorn(matrix) for matrix in scores])
    torch.testing.assert_close(answer, alone, rtol=0, atol=1e-15)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("temperature", [0.003, 0.02])
def test_sharp_matrices_are_those_of_the_iterations_as_written(temperature):
    scores = numbers(20, 9, 9)

    answer, slope = sinkhorn(scores, temperature=temperature), slope_of(partial(sinkhorn, temperature=0.02), scores)

    expected = balanced_in_logarithms(scores, temperature, 20)
    torch.testing.assert_close(answer, expected, rtol=1e-10, atol=1e-12)
    expected = slope_of(lambda s: balanced_in_logarithms(s, 0.02, 20), scores)
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("path")
@every_gradient
def test_derivatives_in_logarithms_agree_with_finite_differences(gradient):
    scores = (numbers(2, 3, 3) + torch.tensor([0.0, -700.0, 0.0])).requires_grad_()
    function = lambda s: sinkhorn(s, gradient=gradient, num_iters=60)  # noqa: E731

    assert torch.autograd.gradcheck(function, scores)
    assert torch.autograd.gradgradcheck(function, scores)


# ------------------------------------------------------------------------------------------------------ in the limit


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_two_by_two_has_its_closed_form(scale):
    """Scalings leave a d / (b c) alone, so that the diagonal p obeys p^2 / (1 - p)^2 = exp(a + d - b - c)."""
    scores = scale * numbers(50, 2, 2)
    gap = scores[:, 0, 0] + scores[:, 1, 1] - scores[:, 0, 1] - scores[:, 1, 0]
    p = torch.sigmoid(gap / 2)

    answer = sinkhorn(scores, num_iters=10_000, tolerance=1e-14)

    # Where the answer is nearly hard, convergence is as slow as the distance to a permutation is small.
    torch.testing.assert_close(answer[:, 0, 0], p, rtol=0, atol=1e-4 if scale > 1 else 1e-10)
    torch.testing.assert_close(answer[:, 0, 1], answer[:, 1, 0], rtol=0, atol=2e-4 if scale > 1 else 1e-10)


@pytest.mark.usefixtures("path")
def test_the_limit_is_doubly_stochastic_and_knows_no_rows_from_columns():
    scores = numbers(4, 8, 8)

    answer = sinkhorn(scores, num_iters=500)

    torch.testing.assert_close(answer.sum(-1), torch.ones(4, 8, dtype=F64))
    torch.testing.assert_close(answer.sum(-2), torch.ones(4, 8, dtype=F64))
    torch.testing.assert_close(sinkhorn(scores.mT, num_iters=500), answer.mT)
    torch.testing.assert_close(sinkhorn(scores + numbers(4, 1, 8, seed=1), num_iters=500), answer)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("n", "m"), [(3, 7), (7, 3)])
def test_a_rectangle_has_rows_of_one_and_columns_of_equal_sums_in_the_limit(n, m):
    answer = sinkhorn(numbers(4, n, m), num_iters=500)

    torch.testing.assert_close(answer.sum(-1), torch.ones(4, n, dtype=F64))
    torch.testing.assert_close(answer.sum(-2), torch.full((4, m), n / m, dtype=F64))


# ------------------------------------------------------------------------------------------------------ two gradients


def response_by_linear_algebra(plan: Tensor, slope: Tensor) -> Tensor:
    """The derivative at a fixed point, from the whole system of n + m equations and its pseudo-inverse."""
    n, weighed = len(plan), plan * slope
    system = torch.cat(
        [torch.cat([plan.sum(1).diag(), plan], 1), torch.cat([plan.T, plan.sum(0).diag()], 1)],
    )
    potentials = torch.linalg.pinv(system, hermitian=True) @ torch.cat([weighed.sum(1), weighed.sum(0)])
    return weighed - plan * (potentials[:n, None] + potentials[n:])


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4), (40, 40), (1, 5)], ids=str)
@pytest.mark.parametrize("temperature", [0.4, 2.0])
def test_the_implicit_gradient_is_that_of_linear_algebra_and_of_many_iterations(shape, temperature):
    scores, slope = numbers(*shape), numbers(*shape, seed=1)
    options = {"temperature": temperature, "num_iters": 2000, "tolerance": 1e-14}

    implicit = slope_of(lambda s: sinkhorn(s, gradient="implicit", **options), scores)

    expected = response_by_linear_algebra(sinkhorn(scores, **options), slope) / temperature
    torch.testing.assert_close(implicit, expected, rtol=1e-9, atol=1e-11)
    unrolled = slope_of(lambda s: sinkhorn(s, **options), scores)
    torch.testing.assert_close(implicit, unrolled, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("path")
def test_the_implicit_gradient_of_a_nearly_hard_answer_is_finite_and_small():
    scores = 100 * torch.eye(6, dtype=F64)[torch.randperm(6, generator=torch.Generator().manual_seed(0))]

    slope = slope_of(lambda s: sinkhorn(s, gradient="implicit"), scores)

    assert slope.abs().max() < 1e-12


@pytest.mark.usefixtures("path")
def test_what_the_implicit_gradient_keeps_does_not_grow_with_the_iterations():
    few, many = (kept(partial(sinkhorn, gradient="implicit", num_iters=k), numbers(3, 20, 20)) for k in (2, 200))

    assert few == many


def test_what_the_unrolled_gradient_keeps_grows_by_rows_and_columns_only(path):
    scores, (n, m) = numbers(8, 20, 30), (20, 30)

    few, many = (kept(partial(sinkhorn, num_iters=k), scores) for k in (10, 110))

    assert many - few == 100 * 8 * (n + m)
    assert few <= 5 * 8 * n * m + 10 * 8 * (n + m)  # scores and logits, and which pairs are allowed


# --------------------------------------------------------------------------------------------------------- tolerance


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", [(20, 5, 5), (4, 30, 30), (6, 4, 7)], ids=str)
@pytest.mark.parametrize("far", [0.0, -1000.0], ids=["scalings", "logarithms"])
def test_a_matrix_stops_as_soon_as_its_rows_are_near_enough_and_no_other_does(shape, far):
    scores = numbers(*shape)
    scores[::2] *= 0.1  # half of them are quick
    scores[1::3, :, 0] += far
    tolerance = 1e-3

    answer = sinkhorn(scores, num_iters=50, tolerance=tolerance)
    slope = slope_of(lambda s: sinkhorn(s, num_iters=50, tolerance=tolerance), scores)

    counts = set()
    for b, matrix in enumerate(scores):
        near = lambda k: (sinkhorn(matrix, num_iters=k).sum(-1) - 1).abs().max() <= tolerance  # noqa: B023, E731
        count = next((k for k in range(1, 50) if near(k)), 50)
        counts.add(count)
        torch.testing.assert_close(answer[b], sinkhorn(matrix, num_iters=count), rtol=0, atol=1e-14)
        (expected,) = torch.autograd.grad(
            sinkhorn(again := matrix.clone().requires_grad_(), num_iters=count), again, numbers(*shape, seed=1)[b]
        )
        torch.testing.assert_close(slope[b], expected, rtol=1e-11, atol=1e-12)
    assert len(counts) > 1


@pytest.mark.usefixtures("path")
def test_without_tolerance_all_iterations_are_made():
    scores = torch.zeros(2, 3, 3, dtype=F64)  # done after one

    torch.testing.assert_close(sinkhorn(scores, num_iters=50), sinkhorn(scores, num_iters=1))
    torch.testing.assert_close(sinkhorn(scores, num_iters=50, tolerance=0.1), sinkhorn(scores, num_iters=1))


# -------------------------------------------------------------------------------------------------------- masks


@pytest.mark.usefixtures("path")
@every_gradient
def test_a_mask_that_no_plan_fits_leaves_columns_exact_and_rows_what_they_are(gradient):
    """Items 0 and 1 may only go to position 0, which positions 1 and 2 leave to item 2."""
    mask = torch.tensor([[True, False, False], [True, False, False], [True, True, True]])
    scores = numbers(3, 3)

    answer = sinkhorn(scores, mask=mask, num_iters=500, gradient=gradient)

    torch.testing.assert_close(answer.sum(-2), torch.ones(3, dtype=F64))
    assert (answer[~mask] == 0).all()
    assert slope_of(lambda s: sinkhorn(s, mask=mask, num_iters=500, gradient=gradient), scores).isfinite().all()


@pytest.mark.usefixtures("path")
def test_columns_share_the_rows_that_are_present():
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[1] = mask[:, 3] = False

    answer = sinkhorn(numbers(4, 5), mask=mask, num_iters=200)

    torch.testing.assert_close(answer.sum(-2), 3 / 4 * (torch.arange(5) != 3).double())
    torch.testing.assert_close(answer.sum(-1), (torch.arange(4) != 1).double())


@pytest.mark.usefixtures("path")
def test_a_permutation_of_single_allowed_pairs_is_the_answer():
    p = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    mask = torch.eye(6, dtype=torch.bool)[p]

    assert torch.equal(sinkhorn(numbers(6, 6), mask=mask, temperature=1e-6), mask.double())


@pytest.mark.usefixtures("path")
@every_gradient
def test_plus_infinity_leaves_its_row_no_other_pair_and_has_no_gradient(gradient):
    scores = torch.tensor([[INF, 0.3, INF], [0.1, 0.4, -0.2], [0.5, -0.3, 0.2]], dtype=F64)
    mask = torch.tensor([[True, False, True], [True, True, True], [True, True, True]])
    finite = scores.where(scores.isfinite(), 0.0)
    function = lambda s, **more: sinkhorn(s, num_iters=300, gradient=gradient, **more)  # noqa: E731

    torch.testing.assert_close(function(scores), function(finite, mask=mask))
    slope = slope_of(function, scores)
    assert (slope[0] == 0).all()
    torch.testing.assert_close(slope[1:], slope_of(lambda s: function(s, mask=mask), finite)[1:])


# ---------------------------------------------------------------------------------------------- as far as numbers go


EXTREMES = {
    "the diagonal": ([[1.0, -1.0], [-1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]),
    "all equal": ([[1.0, 1.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]),
    "one column for all": ([[1.0, -1.0], [1.0, -1.0]], [[0.5, 0.5], [0.5, 0.5]]),
    "one row above": ([[1.0, 1.0], [-1.0, -1.0]], [[0.5, 0.5], [0.5, 0.5]]),
    "a cycle": ([[-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]], [[0.0, 1.0, 0.0], [0, 0, 1], [1, 0, 0]]),
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1.0])
@every_gradient
def test_the_largest_numbers_have_the_answers_that_symmetry_gives_them(dtype, name, temperature, gradient):
    signs, expected = (torch.tensor(values, dtype=dtype) for values in EXTREMES[name])
    scores = signs * torch.finfo(dtype).max
    function = lambda s: sinkhorn(s, temperature=temperature, gradient=gradient)  # noqa: E731

    torch.testing.assert_close(function(scores), expected)
    assert slope_of(function, scores).isfinite().all()


@pytest.mark.usefixtures("path")
def test_safe_and_far_matrices_of_one_batch_are_answered_as_if_alone():
    scores = numbers(30, 5, 5) * torch.logspace(-3, 300, 30, dtype=F64).reshape(-1, 1, 1)

    answer, slope = sinkhorn(scores), slope_of(sinkhorn, scores)

    assert answer.isfinite().all()
    for b, matrix in enumerate(scores):
        torch.testing.assert_close(answer[b], sinkhorn(matrix), rtol=0, atol=1e-15)
        expected = matrix.clone().requires_grad_()
        (back,) = torch.autograd.grad(sinkhorn(expected), expected, numbers(30, 5, 5, seed=1)[b])
        torch.testing.assert_close(slope[b], back, rtol=0, atol=1e-15)


@pytest.mark.usefixtures("path")
def test_an_infinite_slope_at_a_pair_without_a_share_is_no_slope():
    """The logarithm of a masked share, say, in a loss that leaves it out afterwards."""
    mask = ~torch.eye(3, dtype=torch.bool)
    scores = numbers(3, 3).requires_grad_()

    for gradient in GRADIENTS:
        slope = numbers(3, 3, seed=1).masked_fill(~mask, INF)
        (back,) = torch.autograd.grad(sinkhorn(scores, mask=mask, gradient=gradient), scores, slope)
        assert back.isfinite().all()


# ------------------------------------------------------------------------------------------------------------- noise


def test_without_noise_a_sample_is_the_relaxed_permutation():
    scores = numbers(4, 6, 6)

    torch.testing.assert_close(
        gumbel_sinkhorn(scores, noise_scale=0.0, temperature=0.5), sinkhorn(scores, temperature=0.5)
    )


def test_a_generator_makes_a_sample_again_and_every_matrix_has_its_own():
    scores = numbers(5, 5).expand(3, 5, 5)

    first, again, other = (gumbel_sinkhorn(scores, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_at_small_temperatures_the_likelier_permutation_is_drawn_as_often_as_gumbel_noise_has_it():
    """Of two permutations the better by the sum of two differences; two such differences are logistic, each."""
    gap = 1.5
    scores = torch.tensor([[gap, 0.0], [0.0, 0.0]], dtype=F64).expand(20_000, 2, 2)
    draws = torch.rand(2, 1_000_000, dtype=F64, generator=torch.Generator().manual_seed(1)).logit()
    expected = (draws.sum(0) + gap > 0).double().mean()

    samples = gumbel_sinkhorn(scores, temperature=0.01, num_iters=50, generator=torch.Generator().manual_seed(0))

    assert abs(samples[:, 0, 0].round().mean() - expected) < 0.02


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize("operator", [sinkhorn, gumbel_sinkhorn])
def test_options_out_of_range_are_refused(operator):
    name = operator.__name__
    with pytest.raises(ValueError, match=rf"{name}: `num_iters` must be positive; got 0"):
        operator(numbers(3, 3), num_iters=0)
    with pytest.raises(ValueError, match=rf"{name}: `tolerance` must be 0 or more; got -1"):
        operator(numbers(3, 3), tolerance=-1.0)
    with pytest.raises(ValueError, match=r"gumbel_sinkhorn: `noise_scale` must be 0 or more; got -1"):
        gumbel_sinkhorn(numbers(3, 3), noise_scale=-1.0)
