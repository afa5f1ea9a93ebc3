"""The Fenchel-Young loss of perturbed ranks: its value and its gradient against sampling, its shape against theory."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from unshuffle.losses import fenchel_young, sampled_fenchel_young
from unshuffle.ops import perturbed_rank
from unshuffle.permutations import to_ranks

SCORES = np.array([0.3, -0.4, 0.9, 0.25, 1.1])
WRONG = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
SIGMA = 0.5
ERRORS = 5  # standard errors; the seeds are fixed

seeds = st.integers(0, 2**31)


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and hard ranks that have nothing to do with them."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, dtype=torch.float64, generator=rng)
    return scores, torch.randperm(n, generator=rng).double() + 1


def assert_is_the_mean_of(samples: np.ndarray, value: torch.Tensor) -> None:
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - value.detach().numpy()) <= ERRORS * error).all()


# ----------------------------------------------------------------------------------------------------- exact: oracles


def test_value_and_gradient_are_the_means_over_200000_draws():
    """F is the mean of the best ranking's value, max over y of <y, theta + sigma Z>; its gradient, of that ranking."""
    shaken = SCORES + SIGMA * np.random.default_rng(0).standard_normal((200_000, 5))
    best = rankdata(shaken, axis=-1)
    scores = torch.tensor(SCORES, requires_grad=True)

    loss = fenchel_young(scores, torch.tensor(WRONG), sigma=SIGMA)
    (gradient,) = torch.autograd.grad(loss, scores)

    assert_is_the_mean_of((best * shaken).sum(-1) - WRONG @ SCORES, loss)
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


def test_numerical_and_analytic_derivatives_agree(rng):
    scores = torch.randn(2, 3, 5, dtype=torch.float64, generator=rng, requires_grad=True)
    ranks = to_ranks(torch.randn(2, 3, 5, dtype=torch.float64, generator=rng))

    assert torch.autograd.gradcheck(lambda s: fenchel_young(s, ranks, sigma=0.5), scores)
    assert torch.autograd.gradgradcheck(lambda s: fenchel_young(s, ranks, sigma=0.5), scores)


# -------------------------------------------------------------------------------------------------- exact: properties


@given(n=st.integers(0, 9), seed=seeds, sigma=st.sampled_from([0.1, 1.0, 10.0]))
def test_the_gradient_is_expected_minus_true_ranks(n, seed, sigma):
    scores, ranks = drawn(n, seed)
    scores.requires_grad_()

    (gradient,) = torch.autograd.grad(fenchel_young(scores, ranks, sigma=sigma), scores)

    torch.testing.assert_close(gradient, perturbed_rank(scores.detach(), sigma=sigma) - ranks, rtol=0, atol=1e-12)


@given(n=st.integers(1, 9), seed=seeds, spread=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
def test_the_loss_is_never_negative_for_hard_ranks(n, seed, spread):
    scores, ranks = drawn(n, seed)

    assert fenchel_young(spread * scores, ranks).item() >= -1e-12


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


def test_the_sampled_loss_and_its_gradient_have_the_exact_mean(rng):
    rows = torch.tensor(SCORES).expand(20_000, -1).clone().requires_grad_()
    target = torch.tensor(WRONG)
    scores = torch.tensor(SCORES, requires_grad=True)

    losses = sampled_fenchel_young(rows, target.expand_as(rows), to_ranks, sigma=SIGMA, num_samples=10, generator=rng)
    (gradients,) = torch.autograd.grad(losses.sum(), rows)

    exact = fenchel_young(scores, target, sigma=SIGMA)
    assert_is_the_mean_of(losses.detach().numpy(), exact)
    assert_is_the_mean_of(gradients.numpy(), torch.autograd.grad(exact, scores)[0])


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

    assert loss.mean().item() == pytest.approx(0, abs=0.05)  # the noise's own mean; 1e6 would leave steps of 0.06


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_scores_are_perturbed_in_full(dtype, rng):
    scores, ranks = torch.randn(4, 9, generator=rng).to(dtype), to_ranks(torch.randn(4, 9, generator=rng))

    half = sampled_fenchel_young(scores, ranks, to_ranks, generator=torch.Generator().manual_seed(0))
    full = sampled_fenchel_young(scores.float(), ranks, to_ranks, generator=torch.Generator().manual_seed(0))

    assert torch.equal(half, full)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.errors
@pytest.mark.parametrize("loss", [fenchel_young, lambda *a, **k: sampled_fenchel_young(*a, to_ranks, **k)])
def test_wrong_arguments_are_refused(loss):
    with pytest.raises(TypeError, match=r"fenchel_young: `scores` must be floating point; got torch.int64"):
        loss(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ValueError, match=r"fenchel_young: `\w+` must have the shape of `scores`, \(2, 3\); got \(3,\)"):
        loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"fenchel_young: `sigma` must be positive; got 0"):
        loss(torch.zeros(3), torch.zeros(3), sigma=0)


@pytest.mark.errors
def test_no_samples_are_refused():
    with pytest.raises(ValueError, match=r"sampled_fenchel_young: `num_samples` must be positive; got 0"):
        sampled_fenchel_young(torch.zeros(3), torch.zeros(3), to_ranks, num_samples=0)
