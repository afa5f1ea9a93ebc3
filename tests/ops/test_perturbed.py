"""Perturbed ranks: the closed forms against sampling, the sampled form against the closed one."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from unshuffle.ops import perturbed_rank
from unshuffle.ops.perturbed import win_probability

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


# ---------------------------------------------------------------------------------------------------------- sampled


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_the_sampled_rank_and_its_gradient_have_the_exact_mean(noise, rng):
    scores = torch.tensor(SCORES)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    rows = scores.expand(40_000, -1).clone().requires_grad_()

    ranks = perturbed_rank(rows, sigma=SIGMA, noise=noise, num_samples=5, generator=rng)
    (gradients,) = torch.autograd.grad((ranks * weights).sum(), rows)

    assert_is_the_mean_of(ranks.detach().numpy(), perturbed_rank(scores, sigma=SIGMA, noise=noise))
    assert_is_the_mean_of(gradients.numpy(), weights @ exact_jacobian(scores, sigma=SIGMA, noise=noise))


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
    with pytest.raises(ValueError, match=r"perturbed_rank: `num_samples` must be positive; got 0"):
        perturbed_rank(torch.zeros(3), num_samples=0)
