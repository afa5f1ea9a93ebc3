"""Expected order statistics: the integral against enumeration, closed forms, perturbed ranks and draws."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from unshuffle.losses.fenchel_young import fenchel_young
from unshuffle.ops.noise import Noise
from unshuffle.ops.perturbed import perturbed_rank
from unshuffle.ops.perturbed_sort import perturbed_sort

INF, NAN = float("inf"), float("nan")
VALUES = [0.3, -0.4, 0.9, 0.25]
SIGMA = 0.5
SAMPLES = 200_000
ERRORS = 5  # standard errors; the seeds are fixed
LAWS = {"gaussian": stats.norm, "gumbel": stats.gumbel_r}
EULER = 0.5772156649015329

both_laws = pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
every_law = pytest.mark.parametrize("noise", ["gaussian", "gumbel", "laplace"])


def _draw_laplace(shape, like, generator):
    uniform = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device) - 0.5
    return -uniform.sign() * (-2 * uniform.abs()).clamp_min(-1 + 1e-7).log1p()


LAPLACE = Noise(_draw_laplace, score=torch.sign)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def at_least(k: int, below: list[float]) -> float:
    """Probability that k or more of independent events happen, over all 2^n subsets."""
    outcomes = itertools.product([0, 1], repeat=len(below))
    return sum(math.prod(p if b else 1 - p for p, b in zip(below, bits)) for bits in outcomes if sum(bits) >= k)


def enumerated(noise: str, k: int) -> float:
    """Oracle: E X = int_0^inf P(X > x) dx - int_-inf^0 P(X <= x) dx, by adaptive quadrature."""

    def not_above(x: float) -> float:
        return at_least(k, [LAWS[noise].cdf((x - v) / SIGMA) for v in VALUES])

    options = {"epsabs": 1e-12, "epsrel": 1e-12, "limit": 400}
    positive = sum(integrate.quad(lambda x: 1 - not_above(x), a, a + 4, **options)[0] for a in (0, 4, 8, 12))
    return positive - integrate.quad(not_above, -6, 0, **options)[0]


def assert_is_the_mean_of(samples: np.ndarray, value: torch.Tensor) -> None:
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - value.detach().numpy()) <= ERRORS * error).all()


def where_they_stand(values: torch.Tensor, **options) -> torch.Tensor:
    """The Jacobian, positions by items."""
    jacobian = torch.autograd.functional.jacobian(lambda v: perturbed_sort(v, **options), values)
    assert isinstance(jacobian, torch.Tensor)
    return jacobian


# ----------------------------------------------------------------------------------------------------- exact: oracles


@both_laws
def test_the_exact_sort_is_the_enumerated_integral(noise):
    ordered = perturbed_sort(torch.tensor(VALUES, dtype=torch.float64), sigma=SIGMA, noise=noise)

    np.testing.assert_allclose(ordered.numpy(), [enumerated(noise, k) for k in (1, 2, 3, 4)], rtol=0, atol=1e-10)


@both_laws
def test_values_and_jacobian_are_the_means_over_200000_draws(noise):
    z = LAWS[noise].rvs(size=(SAMPLES, 4), random_state=0)
    shaken = np.array(VALUES) + SIGMA * z
    values = torch.tensor(VALUES, dtype=torch.float64)

    assert_is_the_mean_of(np.sort(shaken, axis=-1), perturbed_sort(values, sigma=SIGMA, noise=noise))
    stands = np.argsort(shaken, axis=-1)[:, :, None] == np.arange(4)  # item i at position k: [draw, k, i]
    assert_is_the_mean_of(stands, where_they_stand(values, sigma=SIGMA, noise=noise))


@both_laws
@pytest.mark.parametrize("gap", [0.0, 0.7, 3.0, 20.0])
def test_two_items_have_the_known_expected_maximum(noise, gap):
    """Clark 1961 for normals, log-sum-exp for Gumbels; the smaller is what the larger leaves of the sum."""
    values = torch.tensor([gap, 0.0], dtype=torch.float64)
    x = gap / math.sqrt(2)
    normal = gap * stats.norm.cdf(x) + math.sqrt(2) * stats.norm.pdf(x)
    larger, mean = (normal, 0.0) if noise == "gaussian" else (math.log(math.exp(gap) + 1) + EULER, EULER)

    ordered = perturbed_sort(values, noise=noise)

    assert ordered.tolist() == pytest.approx([gap + 2 * mean - larger, larger], abs=1e-13)


def test_equal_values_have_the_tabled_order_statistics():
    """Of five standard normals (Teichroew 1956); of Gumbels the largest alone: log n + Euler's constant."""
    normal = perturbed_sort(torch.zeros(5, dtype=torch.float64))
    gumbel = perturbed_sort(torch.zeros(60, dtype=torch.float64), noise="gumbel")

    tabled = [-1.16296447, -0.49501897, 0.0, 0.49501897, 1.16296447]
    np.testing.assert_allclose(normal.numpy(), tabled, atol=1e-8)
    assert gumbel[-1].item() == pytest.approx(math.log(60) + EULER, abs=1e-12)


@both_laws
@given(n=st.integers(1, 12), seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
def test_positions_averaged_by_their_probabilities_are_the_expected_ranks(noise, n, seed, spread):
    """d E[X_(k)] / d theta_i = P(item i stands at k): the mean of k under it is the perturbed rank."""
    values = spread * numbers(n, seed=seed)

    stands = where_they_stand(values, noise=noise)

    positions = torch.arange(1, n + 1, dtype=torch.float64)
    torch.testing.assert_close(positions @ stands, perturbed_rank(values, noise=noise), rtol=0, atol=1e-11)
    torch.testing.assert_close(stands.sum(0), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(stands.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)


@both_laws
@given(n=st.integers(1, 12), seed=st.integers(0, 2**31), sigma=st.sampled_from([0.01, 1.0, 30.0]))
def test_ranks_times_sorted_values_are_the_best_rankings_expected_value(noise, n, seed, sigma):
    """max_y <y, theta + sigma Z> = sum_k k X_(k), whose mean the Fenchel-Young loss knows in closed form."""
    values, ranks = numbers(n, seed=seed), torch.arange(1, n + 1, dtype=torch.float64)

    best = (ranks * perturbed_sort(values, sigma=sigma, noise=noise)).sum()

    mean = EULER * sigma * ranks.sum() if noise == "gumbel" else 0.0
    expected = fenchel_young(values, ranks, sigma=sigma, noise=noise) + (ranks * values).sum() + mean
    torch.testing.assert_close(best, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", ["t5_s1", "t5_s0.1", "t8_s0.5"])
def test_ranks_times_sorted_values_equal_the_reference_vectors(golden, name):
    data = golden("perturbed")

    ordered = perturbed_sort(torch.tensor(data[f"{name}/theta"]), sigma=float(data[f"{name}/sigma"])).numpy()

    np.testing.assert_allclose(ordered @ np.arange(1, len(ordered) + 1), data[f"{name}/exact_F"], atol=1e-9)


@both_laws
@pytest.mark.parametrize("n", [100, 300])
def test_large_sets_are_as_exact(noise, n):
    values = numbers(n).requires_grad_()

    ordered = perturbed_sort(values, noise=noise)
    (expected_ranks,) = torch.autograd.grad((ordered * torch.arange(1.0, n + 1)).sum(), values)

    torch.testing.assert_close(expected_ranks, perturbed_rank(values.detach(), noise=noise), rtol=0, atol=1e-9)
    mean = EULER if noise == "gumbel" else 0.0
    torch.testing.assert_close(ordered.sum(), (values + mean).sum(), rtol=0, atol=1e-9)


@both_laws
def test_derivatives_agree_with_finite_differences_at_ties_too(noise):
    values = torch.stack([numbers(5), torch.tensor([0.3, 0.3, -1.0, 0.3, 40.0]).double()]).requires_grad_()

    assert torch.autograd.gradcheck(lambda v: perturbed_sort(v, sigma=SIGMA, noise=noise), values)
    assert torch.autograd.gradgradcheck(lambda v: perturbed_sort(v, sigma=SIGMA, noise=noise), values)


@both_laws
def test_done_in_parts_it_is_the_same_with_the_same_derivatives(noise, monkeypatch):
    values = numbers(2, 5).requires_grad_()
    weights = numbers(2, 5, seed=1)

    def derivatives() -> tuple[torch.Tensor, ...]:
        ordered = perturbed_sort(values, noise=noise)
        (slope,) = torch.autograd.grad((ordered * weights).sum(), values, create_graph=True)
        return ordered, slope, *torch.autograd.grad(slope.square().sum(), values)

    whole = derivatives()
    monkeypatch.setattr(sys.modules[perturbed_rank.__module__], "_ROOM", 1000)  # twenty points of the grid at once

    torch.testing.assert_close(derivatives(), whole)


# ---------------------------------------------------------------------------------------------------- exact: extremes


@both_laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_of_any_magnitude_stand_beside_each_other(noise, dtype):
    near = torch.tensor([0.5, 0.0, 0.25], dtype=dtype)
    values = torch.cat([near, torch.tensor([1e30, -1e17, 3e38], dtype=dtype)]).requires_grad_()

    ordered = perturbed_sort(values, noise=noise)
    (gradient,) = torch.autograd.grad(ordered[1], values)

    torch.testing.assert_close(ordered[1:4], perturbed_sort(near, noise=noise))
    torch.testing.assert_close(ordered[[0, 4, 5]], values[[4, 3, 5]])
    assert gradient[3:].tolist() == [0.0, 0.0, 0.0]
    assert gradient.sum().item() == pytest.approx(1)


@both_laws
def test_an_offset_moves_the_answer_and_nothing_else(noise):
    values = torch.tensor([0.0, 0.125, 0.25, 2.0], dtype=torch.float64)  # exact beside 2^40

    moved = perturbed_sort(values + 2.0**40, noise=noise) - 2.0**40

    torch.testing.assert_close(moved, perturbed_sort(values, noise=noise), rtol=0, atol=1e-3)  # 2^40 has steps of 2e-4
    moved = where_they_stand(values + 2.0**40, noise=noise)
    torch.testing.assert_close(moved, where_they_stand(values, noise=noise), rtol=0, atol=1e-13)


@pytest.mark.parametrize("num_samples", [None, 200])
@both_laws
def test_infinite_values_stay_at_the_ends_with_gradient_zero(noise, num_samples, rng):
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=torch.float64, requires_grad=True)
    options = {"noise": noise, "num_samples": num_samples}

    ordered = perturbed_sort(values, generator=rng, **options)
    (gradient,) = torch.autograd.grad(ordered.sum(), values, create_graph=True)

    assert ordered[[0, 4, 5]].tolist() == [-INF, INF, INF]
    assert gradient[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(gradient[[1, 3, 5]], torch.ones(3, dtype=torch.float64))
    if num_samples is None:
        torch.testing.assert_close(ordered[1:4], perturbed_sort(values[[1, 3, 5]], noise=noise))
        (curvature,) = torch.autograd.grad(gradient.square().sum(), values)
        assert curvature.isfinite().all()


@pytest.mark.parametrize("num_samples", [None, 3])
def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched(num_samples):
    values = numbers(3, 4)
    spoilt = values.clone()
    spoilt[1, 2] = NAN

    def ordered(values: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return perturbed_sort(values, num_samples=num_samples, generator=generator)

    answer = ordered(spoilt.requires_grad_())
    answer[0].square().sum().backward()

    assert answer[1].isnan().all()
    assert torch.equal(answer[[0, 2]], ordered(values)[[0, 2]])
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()


@pytest.mark.parametrize("num_samples", [None, 3])
@pytest.mark.parametrize("shape", [(0,), (0, 4), (2, 0), (0, 0)])
def test_nothing_in_nothing_out(num_samples, shape):
    values = torch.zeros(shape, requires_grad=True)

    ordered = perturbed_sort(values, num_samples=num_samples)
    ordered.sum().backward()

    assert ordered.shape == shape
    assert values.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@both_laws
def test_narrow_dtypes_are_solved_in_double_and_rounded_once(noise, dtype):
    values = numbers(3, 9).to(dtype)

    ordered = perturbed_sort(values, noise=noise)

    assert torch.equal(ordered, perturbed_sort(values.double(), noise=noise).to(dtype))


def test_any_axis_may_hold_the_items():
    values = numbers(2, 3, 4)

    for dim in (-3, -2, 0, 1):
        expected = perturbed_sort(values.movedim(dim, -1)).movedim(-1, dim)
        torch.testing.assert_close(perturbed_sort(values, dim=dim), expected)


@both_laws
def test_vmapped_it_is_the_same(noise):
    """Transforms cannot see the range of the values: the widest grid is taken, of the same points."""
    values = numbers(4, 5)

    torch.testing.assert_close(
        torch.func.vmap(lambda v: perturbed_sort(v, noise=noise))(values), perturbed_sort(values, noise=noise)
    )


@pytest.mark.skipif(hasattr(perturbed_sort, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_is_the_same():
    torch.compiler.reset()
    values = numbers(4, 5)

    compiled = torch.compile(perturbed_sort, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(values), perturbed_sort(values))


# ----------------------------------------------------------------------------------------------------------- sampled


@every_law
def test_the_sampled_sort_and_its_gradient_are_the_means_over_numpys_draws(noise, rng):
    law = stats.laplace if noise == "laplace" else LAWS[noise]
    shaken = np.array(VALUES) + SIGMA * law.rvs(size=(SAMPLES, 4), random_state=0)
    stands = np.argsort(shaken, axis=-1)[:, 1, None] == np.arange(4)
    rows = torch.tensor(VALUES, dtype=torch.float64).expand(SAMPLES // 4, 4).clone().requires_grad_()

    chosen = LAPLACE if noise == "laplace" else noise
    ordered = perturbed_sort(rows, sigma=SIGMA, noise=chosen, num_samples=4, generator=rng)
    (gradients,) = torch.autograd.grad(ordered[:, 1].sum(), rows)

    for found, expected in ((ordered.detach().numpy(), np.sort(shaken, axis=-1)), (gradients.numpy(), stands)):
        error = np.sqrt(found.var(0) / len(found) + expected.var(0) / len(expected))
        assert (np.abs(found.mean(0) - expected.mean(0)) <= ERRORS * error).all()


def test_the_same_generator_state_gives_the_same_sampled_sort():
    values = numbers(3, 6)

    def sampled(seed: int) -> torch.Tensor:
        return perturbed_sort(values, num_samples=4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_the_sampled_sort_keeps_dtype_and_axis(dtype, rng):
    values = (10 * torch.randn(2, 4, 3, generator=rng)).to(dtype)

    ordered = perturbed_sort(values, sigma=1e-6, num_samples=2, generator=rng, dim=1)

    torch.testing.assert_close(ordered, values.sort(dim=1).values, rtol=1e-3, atol=1e-4)


def test_a_second_derivative_of_the_sampled_sort_is_refused():
    values = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(perturbed_sort(values, num_samples=3).square().sum(), values, create_graph=True)

    with pytest.raises(RuntimeError, match=r"sampled expectations have no second derivative\. Use an exact"):
        torch.autograd.grad(slope.sum(), values)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.errors
def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"perturbed_sort: `values` must be floating point; got torch.int64"):
        perturbed_sort(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"perturbed_sort: `sigma` must be positive; got 0"):
        perturbed_sort(torch.zeros(3), sigma=0)
    with pytest.raises(ValueError, match=r"perturbed_sort: `num_samples` must be positive; got 0"):
        perturbed_sort(torch.zeros(3), num_samples=0)
    with pytest.raises(ValueError, match=r"perturbed_sort: `dim` must name an axis of a 1-D tensor; got 1"):
        perturbed_sort(torch.zeros(3), dim=1)
    with pytest.raises(ValueError, match=r"perturbed_sort: `noise` must be one of 'gaussian', 'gumbel'; got 'laplace'"):
        perturbed_sort(torch.zeros(3), noise="laplace")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"perturbed_sort: `noise` must .* for the exact form; got a Noise. .*`num_s"):
        perturbed_sort(torch.zeros(3), noise=LAPLACE)
