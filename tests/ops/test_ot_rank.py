"""Ranks by optimal transport: the dual by Newton steps, an assignment programme, and what the ranks promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import expit
from scipy.stats import rankdata

from unshuffle.ops import soft_rank
from unshuffle.ops.ot_rank import ot_rank
from unshuffle.permutations import to_ranks

INF, NAN = float("inf"), float("nan")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(values: torch.Tensor, **options) -> torch.Tensor:
    """Gradient of a weighted sum that tells the items apart; small whole weights are the same in all dtypes."""
    values = values.detach().requires_grad_()
    ranks = ot_rank(values, **options)
    weights = (torch.arange(ranks.shape[-1]).square() % 7 - 3).to(ranks.dtype)
    return torch.autograd.grad((ranks * weights).sum(), values)[0]


def costs(values: np.ndarray) -> np.ndarray:
    """Squared distances between the squashed values and anchors evenly spaced over [0, 1]."""
    squashed = expit(np.pi / np.sqrt(3) * (values - values.mean()) / values.std())
    return (squashed[:, None] - np.linspace(0, 1, len(values))) ** 2


def ranks_by_newton(values: np.ndarray, strength: float) -> np.ndarray:
    """Oracle: the concave dual, sum u + sum v - sum exp(u_i + v_k - C_ik / strength), by Newton steps to the end."""
    n = len(values)

    def plan(duals: np.ndarray) -> np.ndarray:
        return np.exp(duals[:n, None] + duals[n:] - costs(values) / strength)

    def dual(duals: np.ndarray) -> float:
        return duals.sum() - plan(duals).sum()

    duals = np.zeros(2 * n)
    for _ in range(200):
        p = plan(duals)
        slope = 1 - np.concatenate([p.sum(1), p.sum(0)])
        curvature = np.block([[np.diag(p.sum(1)), p], [p.T, np.diag(p.sum(0))]])
        step = np.linalg.lstsq(curvature, slope, rcond=1e-14)[0]
        while dual(duals + step) < dual(duals) and np.abs(step).max() > 1e-12:
            step /= 2
        duals = duals + step
    p = plan(duals)
    np.testing.assert_allclose([p.sum(0), p.sum(1)], 1, atol=1e-9)
    return p @ np.arange(1, n + 1)


# ------------------------------------------------------------------------------------------------------------ oracles


@pytest.mark.parametrize("strength", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_the_ranks_are_those_of_the_optimal_plan(n, strength):
    values = 3 + 10 * numbers(n, seed=n)

    ranks = ot_rank(values, regularization_strength=strength, num_iters=2000)

    # How fast the iterations converge depends on the values: after 2,000 some are 1e-6 away.
    np.testing.assert_allclose(ranks.numpy(), ranks_by_newton(values.numpy(), strength), atol=1e-5)


@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("n", [5, 12])
def test_fifty_iterations_are_within_a_hundredth_of_the_end(n, strength):
    """At n = 12 and strength 0.01 the largest of 60 draws was 0.0033 away, and half of them 0.0006."""
    values = numbers(n, seed=n)

    ranks = ot_rank(values, regularization_strength=strength)

    np.testing.assert_allclose(ranks.numpy(), ranks_by_newton(values.numpy(), strength), atol=1e-2)


@pytest.mark.parametrize("num_iters", [1, 50])
@pytest.mark.parametrize("n", [2, 5, 9, 40])
def test_without_a_regulariser_it_is_the_cheapest_assignment(n, num_iters):
    values = numbers(n, seed=n)

    _, anchors = linear_sum_assignment(costs(values.numpy()))

    ranks = ot_rank(values, regularization_strength=1e-9, num_iters=num_iters)
    np.testing.assert_allclose(ranks.numpy(), anchors + 1, atol=1e-9)


@pytest.mark.parametrize("num_iters", [1, 50])
def test_without_a_regulariser_tied_items_share_the_mean_rank(num_iters):
    values = torch.tensor([2.0, 0.5, 2.0, -1.0, 2.0, 0.5, 7.0], dtype=torch.float64)

    ranks = ot_rank(values, regularization_strength=1e-9, num_iters=num_iters)

    np.testing.assert_allclose(ranks.numpy(), rankdata(values.numpy()), atol=1e-6)


def test_an_unbounded_strength_gives_all_items_the_middle():
    torch.testing.assert_close(
        ot_rank(numbers(3, 5), regularization_strength=1e9), torch.full((3, 5), 3.0, dtype=torch.float64)
    )


def test_three_items_by_hand():
    """Standardised to -+sqrt(3/2) and 0, the middle one keeps rank 2, and symmetry leaves one unknown, c: the share

    of the far position. By the invariance of odds ratios under scaling, (a / c)^2 = exp(2 (2 s - 1) / strength) with s
    the squashed largest value, where rows and columns add up: a + b + c = 1, 2 b + m = 1, and a m / b^2 is the fourth
    root of it times the ratio of the middle.
    """
    strength = 0.5
    s = expit(np.pi / np.sqrt(3) * np.sqrt(1.5))
    corner = np.exp(2 * (2 * s - 1) / strength)  # odds ratio of the four corners: (a / c)^2
    block = np.exp(2 * (s - 0.5) * 0.5 / strength)  # odds ratio of two neighbours: a m / b^2

    ranks = ot_rank(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), regularization_strength=strength, num_iters=500)

    spread = ranks[2].item() - 2  # a - c
    ratio = np.sqrt(corner)
    c = spread / (ratio - 1)
    a, b = c * ratio, 1 - c - c * ratio
    assert a * (1 - 2 * b) / b**2 == pytest.approx(block, abs=1e-9)
    assert ranks[1].item() == pytest.approx(2)


# --------------------------------------------------------------------------------------------------------- properties


@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1e3]), min_size=1, max_size=9),
    strength=st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 30.0]),
    num_iters=st.sampled_from([1, 3, 50]),
)
def test_sum_range_and_order_hold_after_any_number_of_iterations(values, strength, num_iters):
    values, n = torch.tensor(values, dtype=torch.float64), len(values)

    ranks = ot_rank(values, regularization_strength=strength, num_iters=num_iters)

    torch.testing.assert_close(ranks.sum(), torch.tensor(n * (n + 1) / 2, dtype=torch.float64))
    assert (ranks >= 1 - 1e-9).all()
    assert (ranks <= n + 1e-9).all()
    rise = ranks.unsqueeze(-1) - ranks
    assert (rise[values.unsqueeze(-1) >= values] >= -1e-9).all()


@given(n=st.integers(1, 9), seed=st.integers(0, 2**31), strength=st.sampled_from([1e-3, 0.1, 1.0]))
def test_names_of_items_carry_no_meaning(n, seed, strength):
    values = numbers(n, seed=seed)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    shuffled = ot_rank(values[p], regularization_strength=strength)

    torch.testing.assert_close(shuffled, ot_rank(values, regularization_strength=strength)[p])


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e6, 1e300])
def test_shift_and_scale_do_not_matter(scale):
    values = numbers(3, 6)

    torch.testing.assert_close(ot_rank(scale * values), ot_rank(values))
    torch.testing.assert_close(ot_rank(values + 1e3), ot_rank(values))
    torch.testing.assert_close(ot_rank(-values), 7 - ot_rank(values), rtol=0, atol=1e-3)


def test_the_gradient_is_orthogonal_to_shift_and_scale():
    values = numbers(4, 7)

    slope = gradient(values, regularization_strength=0.1)

    assert slope.abs().max() > 0.1
    torch.testing.assert_close(slope.sum(-1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close((slope * values).sum(-1), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e6 + 0.3, 1e30])
@pytest.mark.parametrize("n", [1, 2, 9, 70])
def test_equal_values_share_the_middle_with_a_finite_gradient(n, value):
    values = torch.full((2, n), value, dtype=torch.float64)

    torch.testing.assert_close(ot_rank(values), torch.full_like(values, (n + 1) / 2))
    assert gradient(values).isfinite().all()


# -------------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize(("strength", "num_iters"), [(0.05, 2), (0.05, 40), (1.0, 10)])
def test_first_and_second_derivatives_agree_with_finite_differences(strength, num_iters):
    values = numbers(2, 5).requires_grad_()

    def ranked(v: torch.Tensor) -> torch.Tensor:
        return ot_rank(v, regularization_strength=strength, num_iters=num_iters)

    assert torch.autograd.gradcheck(ranked, values)
    assert torch.autograd.gradgradcheck(ranked, values)


@pytest.mark.parametrize("strength", [0.01, 0.1])
def test_the_gradient_of_fifty_iterations_is_near_that_at_the_end(strength):
    values = numbers(6)

    end = gradient(values, regularization_strength=strength, num_iters=2000)

    error = gradient(values, regularization_strength=strength) - end
    assert error.abs().max() < 0.01 * end.abs().max()


# ---------------------------------------------------------------------------------------------- magnitude and infinity


@pytest.mark.parametrize("strength", [1e-12, 0.01, 1e6])
def test_answers_and_gradients_are_finite_at_any_magnitude(strength):
    largest = torch.finfo(torch.float64).max
    values = torch.tensor(
        [[1e30, -1e30, 0.0, 1.0], [largest, -largest, 1.0, 2.0], [1e-310, 0.0, 0.0, 0.0], [1e300, 1e300, -1e300, 0.0]],
        dtype=torch.float64,
    )

    assert ot_rank(values, regularization_strength=strength).isfinite().all()
    assert gradient(values[[0, 1, 3]], regularization_strength=strength).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_values_take_the_end_ranks_with_gradient_zero(dtype):
    finite = torch.tensor([0.3, 0.9, -0.2], dtype=dtype)
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)

    ranks, slope = ot_rank(values), gradient(values)

    assert ranks[[0, 2, 4]].tolist() == [5.5, 1.0, 5.5]  # the two largest tie for positions 5 and 6
    # One position lies below the finite ones; among themselves they are ranked as if alone.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(ranks[[1, 3, 5]], ot_rank(finite) + 1, rtol=eps, atol=eps)
    assert slope[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([INF, INF], [1.5, 1.5]),
        ([INF, -INF], [2.0, 1.0]),
        ([-INF, 3.0], [1.0, 2.0]),
        ([INF, 3.0, INF], [2.5, 1.0, 2.5]),
    ],
)
def test_sets_with_no_or_one_finite_value_have_hard_ranks_and_no_gradient(values, expected):
    values = torch.tensor(values)

    assert ot_rank(values).tolist() == expected
    assert gradient(values).tolist() == [0.0] * len(expected)


def test_infinite_values_leave_second_derivatives_finite():
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, 0.1], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(ot_rank(values)[1:4].square().sum(), values, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), values)

    assert curvature.isfinite().all()


def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched():
    values = numbers(3, 5)
    spoilt = values.clone()
    spoilt[1, 2] = NAN

    ranks, slope = ot_rank(spoilt), gradient(spoilt)

    assert ranks[1].isnan().all()
    assert torch.equal(ranks[[0, 2]], ot_rank(values)[[0, 2]])
    assert torch.equal(slope[[0, 2]], gradient(values)[[0, 2]])
    assert slope[1].tolist() == [0.0] * 5


# ------------------------------------------------------------------------------------------------- shapes and dtypes


@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_any_axis_may_hold_the_items(dim):
    values = numbers(2, 3, 4)
    last = values.movedim(dim, -1)

    alone = torch.stack([ot_rank(row) for row in last.reshape(-1, last.shape[-1])]).reshape(last.shape)

    torch.testing.assert_close(ot_rank(values, dim=dim), alone.movedim(-1, dim))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 4), (0, 0), (2, 0, 4)])
def test_nothing_in_nothing_out(shape):
    values = numbers(*shape).requires_grad_()

    ranks = ot_rank(values)
    ranks.sum().backward()

    assert ranks.shape == shape
    assert values.grad is not None
    assert values.grad.shape == shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [9, 70])
def test_every_dtype_is_kept_and_its_answer_is_that_of_float64_up_to_rounding(n, dtype):
    values = numbers(4, n).to(dtype)
    eps = torch.finfo(dtype).eps

    ranks, slope = ot_rank(values), gradient(values)

    assert ranks.dtype == slope.dtype == dtype
    torch.testing.assert_close(ranks.double(), ot_rank(values.double()), rtol=eps, atol=eps)
    torch.testing.assert_close(slope.double(), gradient(values.double()), rtol=eps, atol=eps)


def test_the_input_is_left_as_it_was():
    values = numbers(3, 5)
    before = values.clone()

    ot_rank(values)

    assert torch.equal(values, before)


# -------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.skipif(hasattr(soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_gives_the_same():
    torch.compiler.reset()
    compiled = torch.compile(ot_rank, fullgraph=True, backend="eager")
    values = torch.cat([numbers(3, 5), torch.zeros(1, 5)]).requires_grad_()

    ranks = compiled(values, num_iters=5)

    torch.testing.assert_close(ranks, ot_rank(values, num_iters=5))
    expected = torch.autograd.grad(ot_rank(values, num_iters=5)[:3].square().sum(), values)
    torch.testing.assert_close(torch.autograd.grad(ranks[:3].square().sum(), values), expected)


def test_vmap_and_functional_jacobians_agree_with_batched_calls():
    values = numbers(2, 3, 5)

    torch.testing.assert_close(torch.func.vmap(ot_rank)(values), ot_rank(values))
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(ot_rank))(values), ot_rank(values))
    torch.testing.assert_close(torch.func.jacfwd(ot_rank)(values[0, 0]), torch.func.jacrev(ot_rank)(values[0, 0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives():
    values = numbers(3, 9)

    torch.testing.assert_close(ot_rank(values.cuda()).cpu(), ot_rank(values))


def test_well_separated_values_have_their_hard_ranks():
    values = numbers(5, 8).argsort(-1).double()

    torch.testing.assert_close(ot_rank(values, regularization_strength=1e-6), to_ranks(values), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.errors
def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(TypeError, match=r"ot_rank: `values` must be floating point; got torch.int64. Call `values.fl"):
        ot_rank(torch.zeros(3, dtype=torch.int64))
    for strength in (0.0, -1.0, NAN):
        with pytest.raises(ValueError, match=rf"ot_rank: `regularization_strength` must be positive; got {strength}"):
            ot_rank(torch.zeros(3), regularization_strength=strength)
    with pytest.raises(ValueError, match=r"ot_rank: `num_iters` must be positive; got 0"):
        ot_rank(torch.zeros(3), num_iters=0)
    for shape, dim in [((2, 3), 2), ((2, 3), -3), ((), -1)]:
        with pytest.raises(ValueError, match=rf"ot_rank: `dim` must name an axis of a {len(shape)}-D tensor"):
            ot_rank(torch.zeros(shape), dim=dim)
