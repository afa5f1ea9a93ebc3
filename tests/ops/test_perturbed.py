"""Perturbed ranks and solvers: the closed forms against sampling, the sampled forms against the closed ones."""

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from unshuffle.ops.noise import Noise, resolve
from unshuffle.ops.perturbed import perturbed, perturbed_rank, win_probability
from unshuffle.permutations import to_ranks

SCORES = np.array([0.3, -0.4, 0.9, 0.25, 1.1])
SIGMA = 0.5
SAMPLES = 200_000
# Entries checked at once are few and the seed is fixed: five standard errors leave no room for chance.
ERRORS = 5


def draws(noise: str) -> tuple[np.ndarray, np.ndarray]:
    """Noise from numpy, and the derivative of its negative log-density there."""
    rng = np.random.default_rng(0)
    if noise == "gaussian":
        z = rng.standard_normal((SAMPLES, len(SCORES)))
        return z, z
    z = rng.gumbel(size=(SAMPLES, len(SCORES)))
    return z, 1 - np.exp(-z)


def assert_is_the_mean_of(samples: np.ndarray, value: torch.Tensor) -> None:
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - value.numpy()) <= ERRORS * error).all()


def _draw_logistic(shape, like, generator):
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device).logit(eps=1e-7)


LOGISTIC = Noise(_draw_logistic, score=lambda z: (z / 2).tanh())


def exact_jacobian(scores: torch.Tensor, **options) -> torch.Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda s: perturbed_rank(s, **options), scores)
    assert isinstance(jacobian, torch.Tensor)
    return jacobian


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_the_exact_rank_is_the_mean_over_200000_draws(noise):
    z, _ = draws(noise)

    ranks = rankdata(SCORES + SIGMA * z, axis=-1)

    assert_is_the_mean_of(ranks, perturbed_rank(torch.tensor(SCORES), sigma=SIGMA, noise=noise))


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_the_exact_jacobian_is_the_mean_over_200000_draws(noise):
    """Integration by parts: the derivative of the mean rank is that of rank times the noise's score, over sigma."""
    z, score = draws(noise)

    ranks = rankdata(SCORES + SIGMA * z, axis=-1) - 3  # less a constant, which changes no mean
    products = ranks[:, :, None] * score[:, None, :] / SIGMA

    assert_is_the_mean_of(products, exact_jacobian(torch.tensor(SCORES), sigma=SIGMA, noise=noise))


@pytest.mark.parametrize("name", ["t5_s1", "t5_s0.1", "t8_s0.5"])
def test_ranks_and_jacobian_equal_the_reference_vectors(golden, name):
    data = golden("perturbed")
    theta, sigma = torch.tensor(data[f"{name}/theta"]), float(data[f"{name}/sigma"])

    ranks, jacobian = perturbed_rank(theta, sigma=sigma), exact_jacobian(theta, sigma=sigma)

    np.testing.assert_allclose(ranks.numpy(), data[f"{name}/exact_expected_rank"], atol=1e-9)
    np.testing.assert_allclose(jacobian.numpy(), data[f"{name}/exact_jacobian"], atol=1e-9)
    np.testing.assert_allclose(ranks.numpy(), data[f"{name}/mc_expected_rank"], atol=2e-3)  # a million of their draws


def test_two_items_by_hand():
    """P(N(1, 2) > 0) = Phi(1 / sqrt 2) = 0.7602; for Gumbel noise the logistic function of 1 = 0.7311."""
    scores = torch.tensor([0.0, 1.0])

    assert perturbed_rank(scores).tolist() == pytest.approx([1.2398, 1.7602], abs=1e-4)
    assert perturbed_rank(scores, noise="gumbel").tolist() == pytest.approx([1.2689, 1.7311], abs=1e-4)


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_one_of_two_wins(noise, rng):
    gap = 10 * torch.randn(50, dtype=torch.float64, generator=rng)

    both = win_probability(gap, sigma=2.0, noise=noise) + win_probability(-gap, sigma=2.0, noise=noise)

    torch.testing.assert_close(both, torch.ones_like(gap))


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_single_precision_is_solved_in_double_and_rounded_once(noise, rng):
    scores = torch.randn(1000, generator=rng)

    ranks = perturbed_rank(scores, noise=noise)

    assert torch.equal(ranks, perturbed_rank(scores.double(), noise=noise).float())


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
@pytest.mark.parametrize("masked", [False, True])
def test_done_in_parts_it_is_the_same_with_the_same_derivatives(noise, masked, rng, monkeypatch):
    scores = torch.randn(2, 9, dtype=torch.float64, generator=rng, requires_grad=True)
    weights = torch.randn(2, 9, dtype=torch.float64, generator=rng)
    mask = torch.rand(2, 9, generator=rng) < 0.7 if masked else None

    def derivatives() -> tuple[torch.Tensor, ...]:
        ranks = perturbed_rank(scores, noise=noise, mask=mask)
        (slope,) = torch.autograd.grad((ranks * weights).sum(), scores, create_graph=True)
        return ranks, slope, *torch.autograd.grad(slope.square().sum(), scores)

    whole = derivatives()
    monkeypatch.setattr(sys.modules[perturbed_rank.__module__], "_ROOM", 4 * scores.numel())  # parts of 4, 4 and 1

    torch.testing.assert_close(derivatives(), whole)


# ------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("options", [{}, {"noise": "gumbel"}, {"sigma": 1e-9, "num_samples": 3}], ids=str)
@pytest.mark.parametrize("hidden", [0.0, 1e9, float("inf"), float("nan")])
def test_absent_items_get_zero_and_change_nothing_for_the_others(options, hidden, rng):
    inf = float("inf")
    scores = torch.tensor([[0.3, hidden, -0.4, inf, 0.2, hidden, inf, -inf], [hidden] * 8], dtype=torch.float64)
    scores.requires_grad_()
    mask = torch.tensor([[True, False, True, True, True, False, True, True], [False] * 8])

    ranks = perturbed_rank(scores, mask=mask, generator=rng, **options)
    (gradient,) = torch.autograd.grad((ranks * torch.arange(8)).sum(), scores)

    present = mask[0]
    torch.testing.assert_close(ranks[0, present], perturbed_rank(scores[0, present], generator=rng, **options))
    assert (ranks[~mask] == 0).all()
    assert (gradient[~mask | scores.isinf()] == 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("num_samples", [None, 3])
def test_nan_in_a_present_slot_spoils_the_present_ones_of_its_set_only(num_samples, rng):
    nan = float("nan")
    scores, mask = torch.tensor([[0.0, nan, 1.0], [nan, 1.0, 2.0]]), torch.tensor([True, True, False])

    ranks = perturbed_rank(scores, mask=mask, num_samples=num_samples, generator=rng)

    assert ranks[:, :2].isnan().all()
    assert (ranks[:, 2] == 0).all()


@pytest.mark.parametrize("num_samples", [None, 2])
def test_a_mask_broadcasts_and_follows_the_axis(num_samples, rng):
    scores, mask = 100 * torch.randn(2, 4, 3, generator=rng), torch.tensor([[True], [False], [True], [True]])

    ranks = perturbed_rank(scores, sigma=1e-3, mask=mask, num_samples=num_samples, generator=rng, dim=1)

    expected = to_ranks(scores[:, [0, 2, 3]].movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(ranks[:, [0, 2, 3]], expected, rtol=0, atol=1e-4)
    assert (ranks[:, 1] == 0).all()


# ----------------------------------------------------------------------------------------------------- sampled ranks


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_the_sampled_rank_and_its_gradient_have_the_exact_mean(noise, rng):
    scores = torch.tensor(SCORES)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    rows = scores.expand(40_000, -1).clone().requires_grad_()

    ranks = perturbed_rank(rows, sigma=SIGMA, noise=noise, num_samples=5, generator=rng)
    (gradients,) = torch.autograd.grad((ranks * weights).sum(), rows)

    assert_is_the_mean_of(ranks.detach().numpy(), perturbed_rank(scores, sigma=SIGMA, noise=noise))
    assert_is_the_mean_of(gradients.numpy(), weights @ exact_jacobian(scores, sigma=SIGMA, noise=noise))


@pytest.mark.parametrize("num_samples", [1, 2])
def test_noise_of_ones_own_has_the_mean_and_the_gradient_of_numpys(num_samples, rng):
    z = np.random.default_rng(0).logistic(size=(SAMPLES, 5))
    ranks = rankdata(SCORES + SIGMA * z, axis=-1)
    slopes = (ranks[:, :1] - 3) * np.tanh(z / 2) / SIGMA
    rows = torch.tensor(SCORES).expand(SAMPLES, -1).clone().requires_grad_()

    sampled = perturbed_rank(rows, sigma=SIGMA, noise=LOGISTIC, num_samples=num_samples, generator=rng)
    (gradients,) = torch.autograd.grad(sampled[:, 0].sum(), rows)

    for found, expected in ((sampled.detach().numpy(), ranks), (gradients.numpy(), slopes)):
        error = np.sqrt((found.var(0) + expected.var(0)) / SAMPLES)
        assert (np.abs(found.mean(0) - expected.mean(0)) <= ERRORS * error).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_sampled_ranks_are_means_of_rankings_in_the_callers_dtype(dtype, rng):
    scores = torch.randn(3, 6, generator=rng).to(dtype)

    ranks = perturbed_rank(scores, num_samples=4, generator=rng)

    assert ranks.dtype == dtype
    assert torch.equal(4 * ranks, (4 * ranks).round())
    assert ranks.sum(-1).tolist() == [21.0] * 3


def test_the_same_generator_state_gives_the_same_draws_and_the_global_state_is_left_alone(rng):
    scores = torch.randn(3, 6, generator=rng)
    state = torch.random.get_rng_state()

    def sampled(seed: int) -> torch.Tensor:
        return perturbed_rank(scores, num_samples=4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (2, 0), (2, 1)])
def test_sampling_nothing_gives_nothing(shape):
    ranks = perturbed_rank(torch.zeros(shape), num_samples=3)

    assert torch.equal(ranks, torch.ones(shape))


def test_sampled_ranks_of_nan_are_nan_and_infinities_take_the_ends_with_gradient_zero(rng):
    inf, nan = float("inf"), float("nan")
    scores = torch.tensor([[0.0, nan, 1.0], [0.0, inf, -inf]], requires_grad=True)

    ranks = perturbed_rank(scores, num_samples=3, generator=rng)
    (gradient,) = torch.autograd.grad(ranks[1, 0], scores)

    assert ranks[0].isnan().all()
    assert ranks[1].tolist() == [2.0, 3.0, 1.0]
    assert gradient[1, 1:].tolist() == [0.0, 0.0]


def test_sampled_ranks_take_any_axis(rng):
    scores = 100 * torch.randn(2, 4, 3, generator=rng)

    ranks = perturbed_rank(scores, sigma=1e-3, num_samples=2, generator=rng, dim=1)

    torch.testing.assert_close(ranks, perturbed_rank(scores, sigma=1e-3, dim=1), rtol=0, atol=1e-4)


@pytest.mark.errors
def test_unknown_noise_and_no_samples_are_refused():
    with pytest.raises(ValueError, match=r"perturbed_rank: `noise` must be one of 'gaussian', 'gumbel'; got 'uniform'"):
        perturbed_rank(torch.zeros(3), noise="uniform")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"got 'uniform'. Any other law is a Noise\(draw, score\)"):
        perturbed_rank(torch.zeros(3), noise="uniform", num_samples=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"perturbed_rank: `num_samples` must be positive; got 0"):
        perturbed_rank(torch.zeros(3), num_samples=0)


@pytest.mark.errors
def test_noise_without_a_closed_form_is_refused_unless_it_is_sampled():
    with pytest.raises(ValueError, match=r"perturbed_rank: `noise` must .* for the exact form; got a Noise. .*`num_s"):
        perturbed_rank(torch.zeros(3), noise=LOGISTIC)


@pytest.mark.errors
def test_masks_of_another_kind_or_shape_are_refused():
    with pytest.raises(TypeError, match=r"perturbed_rank: `mask` must be a boolean tensor, .*; got torch.float32"):
        perturbed_rank(torch.zeros(3), mask=torch.ones(3))
    with pytest.raises(TypeError, match=r"perturbed_rank: `mask` must be a boolean tensor, .*; got list"):
        perturbed_rank(torch.zeros(3), mask=[True, True, False])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"perturbed_rank: `mask` must broadcast .* \(2, 3\); got \(2,\)"):
        perturbed_rank(torch.zeros(2, 3), mask=torch.tensor([True, False]))


# -------------------------------------------------------------------------------------------------------- any solver


def one_hot(scores: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])


def best_permutation(scores: torch.Tensor) -> torch.Tensor:
    """Solves assignments of 3 by enumeration: the matrix P of the largest sum of P * scores."""
    matrices = torch.stack([torch.eye(3, dtype=scores.dtype)[list(p)] for p in itertools.permutations(range(3))])
    return matrices[(scores.unsqueeze(-3) * matrices).sum((-2, -1)).argmax(-1)]


def test_the_largest_under_gumbel_noise_is_the_softmax_with_its_gradient(rng):
    """The Gumbel-max trick: P(i is the largest) = exp(theta_i / sigma) / sum_j exp(theta_j / sigma)."""
    scores = torch.tensor(SCORES, requires_grad=True)
    rows = scores.detach().expand(20_000, -1).clone().requires_grad_()
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)

    shares = perturbed(one_hot, sigma=SIGMA, noise="gumbel", generator=rng)(rows)
    (gradients,) = torch.autograd.grad((shares * weights).sum(), rows)

    softmax = (scores / SIGMA).softmax(-1)
    assert_is_the_mean_of(shares.detach().numpy(), softmax.detach())
    assert_is_the_mean_of(gradients.numpy(), torch.autograd.grad((softmax * weights).sum(), scores)[0])


def test_one_item_alone_above_a_threshold_by_hand(rng):
    """A solver to a number, with no axis of its own: P(theta + sigma Z > 0) = Phi(theta / sigma)."""
    rows = torch.full((40_000, 1), 0.4, dtype=torch.float64, requires_grad=True)

    shares = perturbed(lambda s: (s > 0).squeeze(-1), sigma=SIGMA, num_samples=3, generator=rng)(rows)
    (gradients,) = torch.autograd.grad(shares.sum(), rows)

    assert_is_the_mean_of(shares.detach().numpy(), torch.tensor(norm.cdf(0.4 / SIGMA)))
    assert_is_the_mean_of(gradients.numpy(), torch.tensor([norm.pdf(0.4 / SIGMA) / SIGMA]))


def test_the_mean_assignment_and_its_gradient_are_those_of_numpys_draws(rng):
    theta = torch.randn(3, 3, dtype=torch.float64, generator=rng)
    z = torch.tensor(np.random.default_rng(0).standard_normal((SAMPLES // 4, 3, 3)))
    answers = best_permutation(theta + SIGMA * z)
    slopes = (answers[:, 0, 1] - 1 / 3)[:, None, None] * z / SIGMA
    rows = theta.expand(SAMPLES // 10, 3, 3).clone().requires_grad_()

    mean = perturbed(best_permutation, sigma=SIGMA, generator=rng, num_dims=2)(rows)
    (gradients,) = torch.autograd.grad(mean[:, 0, 1].sum(), rows)

    for found, expected in ((mean.detach(), answers), (gradients, slopes)):
        error = (found.var(0) / len(found) + expected.var(0) / len(expected)).sqrt()
        assert ((found.mean(0) - expected.mean(0)).abs() <= ERRORS * error).all()


def test_the_mean_of_the_other_draws_takes_most_of_the_variance(rng):
    rows = (torch.tensor([0.0, 0.1, 0.2]) + 0.1 * torch.arange(3)).expand(4000, -1).clone().requires_grad_()

    def spread(offset: float) -> float:
        answers = perturbed(lambda s: to_ranks(s) + offset, num_samples=10, generator=rng)(rows)
        return float(torch.autograd.grad(answers[:, 0].sum(), rows)[0].std())

    assert spread(1000.0) == pytest.approx(spread(0.0), rel=0.1)  # a constant of all answers adds no variance
    assert spread(0.0) < 0.5


def test_the_sampled_rank_is_perturbed_applied_to_ranks(rng):
    scores = torch.randn(4, 6, dtype=torch.float64, generator=rng, requires_grad=True)
    slopes = torch.randn(4, 6, dtype=torch.float64, generator=rng)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    ranks = perturbed_rank(scores, sigma=0.5, num_samples=7, generator=seeded())
    answers = perturbed(to_ranks, sigma=0.5, num_samples=7, generator=seeded())(scores)

    torch.testing.assert_close(ranks, answers)
    expected = torch.autograd.grad(answers, scores, slopes)
    torch.testing.assert_close(torch.autograd.grad(ranks, scores, slopes), expected)


@given(
    batch=st.lists(st.integers(0, 3), max_size=2),
    item=st.lists(st.integers(0, 3), min_size=1, max_size=2),
    answer=st.lists(st.integers(0, 3), max_size=2),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_answers_of_any_shape_keep_the_batch_and_the_dtype_of_the_scores(batch, item, answer, dtype):
    scores = torch.zeros((*batch, *item), dtype=dtype, requires_grad=True)

    def solver(shaken: torch.Tensor) -> torch.Tensor:
        assert shaken.shape == (4, *batch, *item)
        assert not shaken.requires_grad
        return torch.ones(4, *batch, *answer, dtype=torch.int64)

    mean = perturbed(solver, num_samples=4, num_dims=len(item))(scores)
    mean.sum().backward()

    assert torch.equal(mean, torch.ones((*batch, *answer), dtype=dtype))
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros_like(scores))  # one answer always


def test_a_problem_that_holds_nan_is_nan_whole_and_the_solver_never_sees_it(rng):
    scores = torch.zeros(2, 3, 3)
    scores[1, 2, 0] = float("nan")

    def solver(shaken: torch.Tensor) -> torch.Tensor:
        assert not shaken.isnan().any()
        return shaken[..., :2, 0]

    answer = perturbed(solver, generator=rng, num_dims=2)(scores.requires_grad_())
    answer[0].sum().backward()

    assert answer.isnan().tolist() == [[False, False], [True, True]]
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_forward_mode_and_vmap_see_the_same_estimate(rng):
    scores, tangent = torch.randn(2, 5, dtype=torch.float64, generator=rng)

    def seeded(row: torch.Tensor) -> torch.Tensor:
        return perturbed(to_ranks, generator=torch.Generator().manual_seed(3))(row)

    expected = torch.autograd.functional.jacobian(seeded, scores)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(torch.func.jacrev(seeded)(scores), expected)
    torch.testing.assert_close(torch.func.jvp(seeded, (scores,), (tangent,))[1], expected @ tangent)
    drawn = torch.func.vmap(perturbed(to_ranks, sigma=1e-6), randomness="different")(scores.expand(3, 5))
    torch.testing.assert_close(drawn, to_ranks(scores).expand(3, 5))


@pytest.mark.skipif(hasattr(perturbed_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_has_its_gradient():
    torch.compiler.reset()
    scores = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).expand(4000, 3).clone().requires_grad_()

    ranks = torch.compile(lambda s: perturbed_rank(s, num_samples=10), fullgraph=True, backend="eager")(scores)
    (gradients,) = torch.autograd.grad(ranks[:, 0].sum(), scores)

    assert_is_the_mean_of(gradients.numpy(), exact_jacobian(scores[0].detach())[0])


@pytest.mark.parametrize(
    ("law", "derivatives"),
    [
        # Whether t + Z is above 0: the normal distribution function and its derivatives ...
        ("gaussian", [0.758036, 0.312254, -0.218578]),
        # ... and 1 - exp(-e^t), with derivatives e^t q and e^t q (1 - e^t), where q = exp(-e^t); all at t = 0.7.
        ("gumbel", [0.866513, 0.268809, -0.272506]),
    ],
)
def test_derivatives_of_the_estimate_are_estimates_of_the_derivatives(law, derivatives):
    chance = perturbed(
        lambda scores: (scores > 0).double(), noise=law, num_samples=400_000, num_dims=0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    score = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    value = chance(score)
    (first,) = torch.autograd.grad(value, score, create_graph=True)
    (second,) = torch.autograd.grad(first, score)

    for found, expected in zip((value, first, second), derivatives):
        assert found.item() == pytest.approx(expected, abs=0.015)  # six standard errors of the second


@pytest.mark.parametrize(
    "second",
    [
        lambda f, x: torch.func.jacrev(torch.func.jacrev(f))(x),
        lambda f, x: torch.stack(
            [torch.func.jvp(torch.func.grad(f), (x,), (unit,))[1] for unit in torch.eye(3).double()]
        ),
    ],
    ids=["reverse over reverse", "forward over reverse"],
)
def test_second_derivatives_are_the_same_in_every_mode(second):
    def cost(scores: torch.Tensor) -> torch.Tensor:
        return perturbed_rank(scores, num_samples=5, generator=torch.Generator().manual_seed(0)).square().sum()

    scores = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)

    expected = torch.autograd.functional.hessian(cost, scores)
    assert expected.abs().max() > 0
    torch.testing.assert_close(second(cost, scores), expected)


def test_a_number_alone_is_one_problem_and_with_no_axes_a_problem_each_are_many():
    def double(scores: torch.Tensor) -> torch.Tensor:
        return 2 * scores.sign()

    numbers = torch.tensor([[5.0, -5.0, torch.nan]])

    assert perturbed(double, sigma=0.01)(torch.tensor(5.0)).item() == 2
    assert perturbed(double, sigma=0.01, num_dims=0)(numbers)[0, :2].tolist() == [2.0, -2.0]
    assert perturbed(double, sigma=0.01, num_dims=0)(numbers)[0, 2].isnan()


@pytest.mark.parametrize("law", ["gaussian", "gumbel", LOGISTIC], ids=["gaussian", "gumbel", "logistic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scores_of_noise_have_mean_zero_and_mean_one_times_the_noise(law, dtype, rng):
    """Integration by parts: E s(Z) = 0 and E Z s(Z) = 1, for every smooth density."""
    law = resolve("test", law)

    z = law.draw((SAMPLES, 1), torch.zeros(2, dtype=dtype), rng)

    assert z.dtype == dtype
    assert_is_the_mean_of(law.score(z).numpy(), torch.zeros(1))
    assert_is_the_mean_of((z * law.score(z)).numpy(), torch.ones(1))


@pytest.mark.errors
def test_solvers_and_options_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"perturbed: `num_samples` must be positive; got 0"):
        perturbed(to_ranks, num_samples=0)
    with pytest.raises(ValueError, match=r"perturbed: `num_dims` must be 0 or more; got -1"):
        perturbed(to_ranks, num_dims=-1)
    with pytest.raises(ValueError, match=r"perturbed: `sigma` must be positive; got -1"):
        perturbed(to_ranks, sigma=-1)
    with pytest.raises(ValueError, match=r"perturbed: `noise` must be one of 'gaussian', 'gumbel'; got 'uniform'. Any"):
        perturbed(to_ranks, noise="uniform")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"perturbed: `scores` must be floating point; got torch.int64"):
        perturbed(to_ranks)(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"perturbed: `scores` must have 2 axes or more \(`num_dims`\); got 1"):
        perturbed(to_ranks, num_dims=2)(torch.zeros(3))
    with pytest.raises(ValueError, match=r"perturbed: `argmax` must keep the first axes, \(10, 2\); got \(2, 3\)"):
        perturbed(lambda s: s.sum(0))(torch.zeros(2, 3))
