"""The Fenchel-Young loss of perturbed ranks: its value and its gradient against sampling, its shape against theory."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.stats import rankdata

from unshuffle.losses.fenchel_young import fenchel_young, sampled_fenchel_young
from unshuffle.ops.noise import Noise
from unshuffle.ops.perturbed import perturbed_rank
from unshuffle.permutations import to_ranks

SCORES = np.array([0.3, -0.4, 0.9, 0.25, 1.1])
WRONG = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
SIGMA = 0.5
ERRORS = 5  # standard errors; the seeds are fixed

INF, NAN = float("inf"), float("nan")
EULER = 0.5772156649015329

seeds = st.integers(0, 2**31)
both_laws = pytest.mark.parametrize("noise", ["gaussian", "gumbel"])


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and hard ranks that have nothing to do with them."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, dtype=torch.float64, generator=rng)
    return scores, torch.randperm(n, generator=rng).double() + 1


def sampled_ranking(scores: torch.Tensor, ranks: torch.Tensor, **options) -> torch.Tensor:
    return sampled_fenchel_young(scores, ranks, to_ranks, **options)


def assert_is_the_mean_of(samples: np.ndarray, value: torch.Tensor) -> None:
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - value.detach().numpy()) <= ERRORS * error).all()


# ----------------------------------------------------------------------------------------------------- exact: oracles


@both_laws
def test_value_and_gradient_are_the_means_over_200000_draws(noise):
    """The best ranking's value, max over r of <r, theta + sigma Z>, less the true one's; its gradient, the ranking."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 5)) if noise == "gaussian" else rng.gumbel(size=(200_000, 5))
    shaken = SCORES + SIGMA * z
    best = rankdata(shaken, axis=-1)
    scores = torch.tensor(SCORES, requires_grad=True)

    loss = fenchel_young(scores, torch.tensor(WRONG), sigma=SIGMA, noise=noise)
    (gradient,) = torch.autograd.grad(loss, scores)

    mean = EULER * SIGMA * WRONG.sum() if noise == "gumbel" else 0.0  # of <y, sigma Z>, which is taken out
    assert_is_the_mean_of((best * shaken).sum(-1) - WRONG @ SCORES - mean, loss)
    assert_is_the_mean_of(best - WRONG, gradient)


def test_the_ranking_of_the_draws_is_the_best_of_all_permutations():
    """The oracle's own premise, by enumeration: ranks maximise <y, theta>."""
    best = max(np.dot(y, SCORES) for y in itertools.permutations(range(1, 6)))

    assert np.dot(rankdata(SCORES), SCORES) == pytest.approx(best)


@pytest.mark.parametrize("name", ["t5_s1", "t5_s0.1", "t8_s0.5"])
def test_value_and_gradient_equal_the_reference_vectors(golden, name):
    data = golden("perturbed")
    scores = torch.tensor(data[f"{name}/theta"], requires_grad=True)
    ranks = torch.tensor(data[f"{name}/y_true"]).double()

    loss = fenchel_young(scores, ranks, sigma=float(data[f"{name}/sigma"]))
    (gradient,) = torch.autograd.grad(loss, scores)

    np.testing.assert_allclose(loss.item(), data[f"{name}/exact_fy_loss"], atol=1e-9)
    np.testing.assert_allclose(gradient.numpy(), data[f"{name}/exact_fy_grad"], atol=1e-9)
    # The ports' reported loss is another function, of which this is not the gradient.
    assert loss.item() != pytest.approx(float(data[f"{name}/fy_port_value"]), rel=0.1)


@both_laws
@pytest.mark.parametrize("masked", [False, True])
def test_numerical_and_analytic_derivatives_agree_at_ties_too(noise, masked, rng):
    scores = torch.randn(3, 5, dtype=torch.float64, generator=rng)
    scores[1, [0, 2, 3]] = 0.3
    ranks = to_ranks(torch.randn(3, 5, dtype=torch.float64, generator=rng))
    options = {"noise": noise, "mask": torch.arange(5) != 3 if masked else None}

    assert torch.autograd.gradcheck(lambda s: fenchel_young(s, ranks, sigma=0.5, **options), scores.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda s: fenchel_young(s, ranks, sigma=0.5, **options), scores)


def test_with_gumbel_noise_it_is_the_logistic_loss_of_all_pairs():
    scores, ranks = drawn(6, 0)
    above, below = (ranks.unsqueeze(-1) > ranks).nonzero(as_tuple=True)

    loss = fenchel_young(scores, ranks, sigma=SIGMA, noise="gumbel")

    pairs = torch.nn.functional.softplus((scores[below] - scores[above]) / SIGMA)
    torch.testing.assert_close(loss, SIGMA * pairs.sum())


@both_laws
@pytest.mark.parametrize("gap", [0.0, 0.01, 1.0, 10.0, 30.0])
def test_the_price_of_two_items_is_exact_however_small(noise, gap):
    """The pair's loss is the integral, from their distance on, of the chance that they are exchanged."""
    law = stats.norm(scale=math.sqrt(2)) if noise == "gaussian" else stats.logistic
    beyond, _ = integrate.quad(law.sf, gap, gap + 50, epsabs=0, epsrel=1e-13, limit=200)

    scores, ranks = torch.tensor([[gap, 0.0], [2.0, 1.0]], dtype=torch.float64)
    loss = fenchel_young(scores, ranks, noise=noise)

    assert loss.item() == pytest.approx(beyond, rel=1e-10, abs=0)


@both_laws
@pytest.mark.parametrize("masked", [False, True])
def test_done_in_parts_it_is_the_same_with_the_same_derivatives(noise, masked, rng, monkeypatch):
    scores = torch.randn(2, 9, dtype=torch.float64, generator=rng, requires_grad=True)
    ranks = to_ranks(torch.randn(2, 9, dtype=torch.float64, generator=rng))
    mask = torch.rand(2, 9, generator=rng) < 0.7 if masked else None

    def derivatives() -> tuple[torch.Tensor, ...]:
        loss = fenchel_young(scores, ranks, noise=noise, mask=mask)
        (slope,) = torch.autograd.grad(loss.sum(), scores, create_graph=True)
        return loss, slope, *torch.autograd.grad(slope.square().sum(), scores)

    whole = derivatives()
    monkeypatch.setattr(sys.modules[perturbed_rank.__module__], "_ROOM", 4 * scores.numel())  # parts of 4, 4 and 1

    torch.testing.assert_close(derivatives(), whole)


# -------------------------------------------------------------------------------------------------- exact: properties


@both_laws
@given(n=st.integers(0, 9), seed=seeds, sigma=st.sampled_from([0.1, 1.0, 10.0]), tied=st.booleans())
def test_the_gradient_is_expected_minus_true_ranks(noise, n, seed, sigma, tied):
    scores, ranks = drawn(n, seed)
    scores = (scores.round() if tied else scores).requires_grad_()

    (gradient,) = torch.autograd.grad(fenchel_young(scores, ranks, sigma=sigma, noise=noise), scores)

    expected = perturbed_rank(scores.detach(), sigma=sigma, noise=noise) - ranks
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@both_laws
@given(n=st.integers(1, 9), seed=seeds, spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e300]), offset=st.integers(-1, 1))
def test_the_loss_is_never_negative_for_hard_ranks(noise, n, seed, spread, offset):
    scores, ranks = drawn(n, seed)

    assert fenchel_young(spread * scores + 1e9 * offset, ranks, noise=noise).item() >= 0


@given(n=st.integers(2, 9), seed=seeds)
def test_the_loss_falls_towards_zero_only_as_the_right_order_moves_apart(n, seed):
    _, ranks = drawn(n, seed)

    losses = [fenchel_young(gap * ranks, ranks).item() for gap in (0.0, 0.5, 1.0, 2.0, 4.0)]

    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] > 0
    assert fenchel_young(100 * ranks, ranks).item() == pytest.approx(0, abs=1e-9)


@given(n=st.integers(1, 9), seed=seeds)
def test_the_loss_is_convex_in_the_scores(n, seed):
    (first, ranks), (second, _) = drawn(n, seed), drawn(n, seed + 1)

    middle = fenchel_young((first + second) / 2, ranks)

    assert middle <= (fenchel_young(first, ranks) + fenchel_young(second, ranks)) / 2 + 1e-12


@given(n=st.integers(1, 9), seed=seeds)
def test_an_offset_of_all_scores_changes_nothing(n, seed):
    scores, ranks = drawn(n, seed)

    torch.testing.assert_close(fenchel_young(scores + 1000, ranks), fenchel_young(scores, ranks), rtol=0, atol=1e-9)


def test_tied_ranks_are_met_best_by_tied_scores():
    """Its gradient vanishes there; the constant that stays is the tie's entropy term."""
    ranks = torch.full((4,), 2.5, dtype=torch.float64)
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    loss = fenchel_young(scores, ranks)
    (gradient,) = torch.autograd.grad(loss, scores)

    assert gradient.abs().max() < 1e-12
    assert loss > 0
    assert fenchel_young(torch.tensor([0.0, 0.1, 0.0, 0.0]).double(), ranks) > loss


# ------------------------------------------------------------------------------------------------------ exact: masks


@both_laws
@pytest.mark.parametrize("hidden", [0.0, -1e9, INF, -INF, NAN])
def test_absent_items_cost_nothing_and_change_nothing_for_the_others(noise, hidden):
    scores = torch.tensor([[0.3, hidden, -0.4, INF, 0.2, hidden, INF, -INF], [hidden] * 8], dtype=torch.float64)
    ranks = torch.tensor([[4.0, hidden, 2.0, 6.0, 3.0, hidden, 5.0, 1.0], [hidden] * 8], dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True, True, False, True, True], [False] * 8])
    present = scores[0, mask[0]].requires_grad_()
    scores.requires_grad_()

    losses = fenchel_young(scores, ranks, noise=noise, mask=mask)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)

    alone = fenchel_young(present, ranks[0, mask[0]], noise=noise)
    torch.testing.assert_close(losses, torch.stack([alone.detach(), torch.zeros(()).double()]))
    torch.testing.assert_close(gradient[0, mask[0]], torch.autograd.grad(alone, present)[0])
    assert (gradient[~mask] == 0).all()


def test_a_mask_broadcasts_to_the_scores(rng):
    scores, ranks = torch.randn(2, 4, generator=rng), torch.tensor([2.0, 1.0, 0.0, 3.0]).expand(2, 4)

    losses = fenchel_young(scores, ranks, mask=torch.tensor([True, True, False, True]))

    torch.testing.assert_close(losses, fenchel_young(scores[:, [0, 1, 3]], ranks[:, [0, 1, 3]]))


# ---------------------------------------------------------------------------------------------------- exact: extremes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gap", [1e4, 1e30])
def test_scores_far_apart_cost_nothing_in_the_right_order_and_their_distance_in_another(dtype, gap):
    scores = torch.tensor([0.0, gap, 2 * gap], dtype=dtype, requires_grad=True)
    right, swapped = torch.tensor([1.0, 2.0, 3.0], dtype=dtype), torch.tensor([1.0, 3.0, 2.0], dtype=dtype)

    losses = fenchel_young(scores.expand(2, 3), torch.stack([right, swapped]), sigma=0.1)
    (gradient,) = torch.autograd.grad(losses[1], scores)

    assert losses.tolist() == pytest.approx([0.0, gap], rel=1e-6, abs=1e-15 * gap)
    assert gradient.tolist() == [0.0, -1.0, 1.0]


@both_laws
def test_infinite_scores_cost_nothing_in_their_place_and_get_no_gradient(noise):
    finite = torch.tensor([0.3, 0.9, -0.2], dtype=torch.float64, requires_grad=True)
    scores = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([6.0, 3.0, 1.0, 2.0, 5.0, 4.0], dtype=torch.float64)

    loss = fenchel_young(scores, ranks, noise=noise)
    alone = fenchel_young(finite, torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64), noise=noise)
    (gradient,) = torch.autograd.grad(loss, scores, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.square().sum(), scores)

    price_of_the_tie = {"gaussian": 1 / math.sqrt(math.pi), "gumbel": math.log(2)}[noise]  # of the two at infinity
    assert loss.item() == pytest.approx(alone.item() + price_of_the_tie)
    assert gradient[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(gradient[[1, 3, 5]], torch.autograd.grad(alone, finite)[0])
    assert curvature.isfinite().all()


def test_an_infinite_score_out_of_place_costs_infinitely_much_and_leaves_the_others_their_gradient():
    scores = torch.tensor([INF, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    loss = fenchel_young(scores, ranks)
    (gradient,) = torch.autograd.grad(loss, scores)

    assert loss.item() == INF
    torch.testing.assert_close(gradient[1:], (perturbed_rank(scores) - ranks)[1:].detach())
    assert gradient[0].item() == 0


@pytest.mark.parametrize("n", [1, 3])
def test_a_set_that_holds_nan_costs_nan_and_the_others_their_price(n):
    scores, ranks = torch.zeros(2, n), torch.arange(1.0, n + 1).expand(2, n)
    scores[1, 0] = NAN
    scores.requires_grad_()

    losses = fenchel_young(scores, ranks)
    (gradient,) = torch.autograd.grad(losses[0], scores)

    assert losses[1].isnan()
    torch.testing.assert_close(losses[0], fenchel_young(torch.zeros(n), ranks[0]))
    assert gradient.isfinite().all()


def test_an_offset_of_a_million_leaves_single_precision_its_value_and_gradient():
    """1e6 and 1e6 + 1/8 are exact in float32; sums of them with ranks are not, and must not be formed there."""
    scores = torch.tensor([0.0, 0.125, 0.25], requires_grad=True)
    ranks = torch.tensor([1.0, 3.0, 2.0])
    far = (scores.detach() + 1e6).requires_grad_()

    near_loss, far_loss = fenchel_young(scores, ranks, sigma=0.1), fenchel_young(far, ranks, sigma=0.1)

    torch.testing.assert_close(far_loss, near_loss)
    torch.testing.assert_close(torch.autograd.grad(far_loss, far), torch.autograd.grad(near_loss, scores))


def test_a_small_loss_is_not_lost_in_single_precision(rng):
    scores, ranks = 50 * torch.arange(1.0, 10.0) + torch.rand(9, generator=rng), torch.arange(1.0, 10.0)

    loss = fenchel_young(scores, ranks, sigma=20.0)

    torch.testing.assert_close(loss.double(), fenchel_young(scores.double(), ranks.double(), sigma=20.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_scores_cost_what_they_cost_in_full(dtype, rng):
    scores, ranks = torch.randn(4, 9, generator=rng).to(dtype), to_ranks(torch.randn(4, 9, generator=rng))

    loss = fenchel_young(scores, ranks)

    assert loss.dtype == torch.float32  # of the ranks
    torch.testing.assert_close(loss, fenchel_young(scores.float(), ranks))
    assert fenchel_young(scores, ranks.to(dtype)).dtype == dtype


@pytest.mark.parametrize(("shape", "n"), [((), 3), ((2, 4), 3), ((0,), 3), ((2,), 0), ((2,), 1)])
def test_one_value_for_each_set_of_a_batch(shape, n, rng):
    scores, ranks = torch.randn(*shape, n, generator=rng), torch.arange(1.0, n + 1).expand(*shape, n)

    loss = fenchel_young(scores, ranks)

    assert loss.shape == shape
    if n < 2:  # nothing can be out of order
        assert torch.equal(loss, torch.zeros(shape))


@pytest.mark.skipif(hasattr(fenchel_young, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_is_the_same(rng):
    torch.compiler.reset()
    scores, ranks = torch.randn(4, 9, generator=rng), to_ranks(torch.randn(4, 9, generator=rng))

    compiled = torch.compile(fenchel_young, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(scores, ranks), fenchel_young(scores, ranks))


def test_vmapped_it_is_the_same(rng):
    scores, ranks = torch.randn(4, 9, generator=rng), to_ranks(torch.randn(4, 9, generator=rng))

    torch.testing.assert_close(torch.func.vmap(fenchel_young)(scores, ranks), fenchel_young(scores, ranks))


# ----------------------------------------------------------------------------------------------------------- sampled


@both_laws
def test_the_sampled_loss_and_its_gradient_have_the_exact_mean(noise, rng):
    rows = torch.tensor(SCORES).expand(20_000, -1).clone().requires_grad_()
    target = torch.tensor(WRONG)
    scores = torch.tensor(SCORES, requires_grad=True)

    options = {"sigma": SIGMA, "noise": noise}
    losses = sampled_fenchel_young(rows, target.expand_as(rows), to_ranks, num_samples=10, generator=rng, **options)
    (gradients,) = torch.autograd.grad(losses.sum(), rows)

    exact = fenchel_young(scores, target, **options)
    assert_is_the_mean_of(losses.detach().numpy(), exact)
    assert_is_the_mean_of(gradients.numpy(), torch.autograd.grad(exact, scores)[0])


def test_the_sampled_loss_of_choosing_the_largest_is_that_of_the_softmax(rng):
    """One-hot answers and Gumbel noise: F is log-sum-exp, so the loss is the cross-entropy."""
    rows, target = torch.tensor(SCORES).expand(20_000, 5), torch.eye(5, dtype=torch.float64)[1].expand(20_000, 5)

    losses = sampled_fenchel_young(
        rows, target, lambda s: torch.nn.functional.one_hot(s.argmax(-1), 5), noise="gumbel", generator=rng
    )

    assert_is_the_mean_of(losses.numpy(), -torch.tensor(SCORES).log_softmax(-1)[1])


def test_noise_of_ones_own_is_drawn(rng):
    """Noise that is always (1, 0) moves the first item above the second."""
    fixed = Noise(lambda shape, like, _: torch.tensor([1.0, 0.0]).expand(shape).to(like), score=torch.zeros_like)

    loss = sampled_fenchel_young(torch.tensor([0.0, 0.25]), torch.tensor([1.0, 2.0]), to_ranks, noise=fixed)

    assert loss.item() == 0.75  # <(2, 1) - (1, 2), (1, 0.25)>


@given(n=st.integers(1, 6), seed=seeds, sigma=st.sampled_from([0.1, 1.0, 10.0]))
def test_no_draw_of_a_hard_target_costs_less_than_nothing(n, seed, sigma):
    scores, ranks = drawn(n, seed)

    loss = sampled_fenchel_young(
        scores, ranks, to_ranks, sigma=sigma, num_samples=1, generator=torch.Generator().manual_seed(seed)
    )

    assert loss.item() >= -1e-12 * (1 + sigma)


def test_sampling_nan_and_infinite_scores(rng):
    scores = torch.tensor([[0.0, NAN, 1.0], [0.0, INF, -INF], [0.0, INF, -INF]], requires_grad=True)
    ranks = torch.tensor([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0], [3.0, 2.0, 1.0]])

    def solver(shaken: torch.Tensor) -> torch.Tensor:
        assert not shaken.isnan().any()
        return to_ranks(shaken)

    losses = sampled_fenchel_young(scores, ranks, solver, generator=rng)
    (gradient,) = torch.autograd.grad(losses[1:].sum(), scores)

    assert losses[0].isnan()
    assert losses[1:].tolist() == [0.0, INF]
    assert gradient.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]


def test_the_sampled_gradient_is_the_mean_optimum_less_the_target(rng):
    """No derivative of the solver is taken: this one has none, and answers the same ranking always."""
    scores = torch.randn(2, 3, generator=rng, requires_grad=True)
    answer, target = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([1.0, 2.0, 3.0])

    loss = sampled_fenchel_young(
        scores, target.expand(2, 3), lambda s: answer.expand_as(s), num_samples=4, generator=rng
    )
    (gradient,) = torch.autograd.grad(loss.sum(), scores)

    torch.testing.assert_close(gradient, (answer - target).expand(2, 3))


def test_the_solver_sees_detached_draws_of_the_stated_scale(rng):
    seen = []

    def solver(shaken: torch.Tensor) -> torch.Tensor:
        seen.append(shaken)
        return to_ranks(shaken)

    scores = torch.zeros(500, 4, requires_grad=True)
    sampled_fenchel_young(scores, torch.ones(500, 4), solver, sigma=3.0, num_samples=7, generator=rng)

    (shaken,) = seen
    assert shaken.shape == (7, 500, 4)
    assert not shaken.requires_grad
    assert shaken.std().item() == pytest.approx(3.0, rel=0.05)


def test_the_same_generator_state_gives_the_same_sampled_loss():
    scores, ranks = drawn(5, 0)

    def sampled(seed: int) -> torch.Tensor:
        return sampled_fenchel_young(scores, ranks, to_ranks, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))


def test_sampling_far_scores_in_single_precision_loses_nothing(rng):
    scores = torch.tensor([1e6, 1e6 + 100, 1e6 + 200])

    loss = sampled_fenchel_young(
        scores.expand(1000, 3), torch.tensor([1.0, 2.0, 3.0]).expand(1000, 3), to_ranks, sigma=0.1, generator=rng
    )

    assert torch.equal(loss, torch.zeros(1000))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_scores_are_perturbed_in_full(dtype, rng):
    scores, ranks = torch.randn(4, 9, generator=rng).to(dtype), to_ranks(torch.randn(4, 9, generator=rng))

    half = sampled_fenchel_young(scores, ranks, to_ranks, generator=torch.Generator().manual_seed(0))
    full = sampled_fenchel_young(scores.float(), ranks, to_ranks, generator=torch.Generator().manual_seed(0))

    assert torch.equal(half, full)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.errors
@pytest.mark.parametrize("loss", [fenchel_young, sampled_ranking])
def test_wrong_arguments_are_refused(loss):
    with pytest.raises(TypeError, match=r"fenchel_young: `scores` must be floating point; got torch.int64"):
        loss(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ValueError, match=r"fenchel_young: `\w+` must have the shape of `scores`, \(2, 3\); got \(3,\)"):
        loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"fenchel_young: `sigma` must be positive; got 0"):
        loss(torch.zeros(3), torch.zeros(3), sigma=0)


@pytest.mark.errors
@pytest.mark.parametrize("loss", [fenchel_young, sampled_ranking])
def test_unknown_noise_is_refused(loss):
    with pytest.raises(ValueError, match=r"fenchel_young: `noise` must be one of 'gaussian', 'gumbel'; got 'cauchy'"):
        loss(torch.zeros(3), torch.zeros(3), noise="cauchy")


@pytest.mark.errors
def test_the_exact_loss_refuses_noise_without_a_closed_form_and_masks_of_another_kind():
    noise = Noise(lambda shape, like, _: torch.zeros(shape).to(like), score=torch.zeros_like)
    with pytest.raises(ValueError, match=r"fenchel_young: `noise` must .*; got a Noise. .*`sampled_fenchel_young`"):
        fenchel_young(torch.zeros(3), torch.zeros(3), noise=noise)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"fenchel_young: `mask` must be a boolean tensor, .*; got torch.float32"):
        fenchel_young(torch.zeros(3), torch.zeros(3), mask=torch.ones(3))
    with pytest.raises(ValueError, match=r"fenchel_young: `mask` must broadcast .*`scores`, \(3,\); got \(2,\)"):
        fenchel_young(torch.zeros(3), torch.zeros(3), mask=torch.tensor([True, False]))


@pytest.mark.errors
def test_no_samples_are_refused():
    with pytest.raises(ValueError, match=r"sampled_fenchel_young: `num_samples` must be positive; got 0"):
        sampled_fenchel_young(torch.zeros(3), torch.zeros(3), to_ranks, num_samples=0)
