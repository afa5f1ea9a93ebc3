"""Rank correlation as a loss: scipy's coefficients at no strength, true derivatives above it, and that it teaches."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unshuffle.losses import soft_kendall, soft_spearman
from unshuffle.ops import soft_rank

NAN, INF = float("nan"), float("inf")
COEFFICIENT = {soft_spearman: stats.spearmanr, soft_kendall: stats.kendalltau}

both_losses = pytest.mark.parametrize("loss", [soft_spearman, soft_kendall], ids=lambda f: f.__name__)
both_regularizers = pytest.mark.parametrize("regularization", ["l2", "kl"])
every_dtype = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)


def drawn(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and targets that rise with them on average."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, dtype=torch.float64, generator=rng)
    return scores, scores + torch.randn(shape, dtype=torch.float64, generator=rng)


def slope(loss, scores: torch.Tensor, target: torch.Tensor, **options) -> torch.Tensor:
    leaf = scores.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf, target, **options).nansum(), leaf)[0]


def soft_sign_correlation(ranks: np.ndarray, target: np.ndarray) -> float:
    """Oracle: Kendall's tau-b pair by pair, the sign of two ranks no steeper than one."""
    signs = [
        (max(-1.0, min(1.0, ranks[i] - ranks[j])), float(np.sign(target[i] - target[j])))
        for i in range(len(ranks))
        for j in range(i)
    ]
    return sum(c * s for c, s in signs) / math.sqrt(sum(c * c for c, _ in signs) * sum(s * s for _, s in signs))


# -------------------------------------------------------------------------------------------------------------- values


@both_losses
@both_regularizers
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_without_strength_it_is_the_coefficient_of_scipy_nan_of_constants_included(loss, regularization, tied, n):
    scores, target = drawn(4, n, seed=n)
    scores, target = ((2 * scores).round(), target.round()) if tied else (scores, target)

    losses = loss(scores, target, regularization=regularization, regularization_strength=0.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        expected = [1 - COEFFICIENT[loss](s, t).statistic for s, t in zip(scores.numpy(), target.numpy())]
    np.testing.assert_allclose(losses.numpy(), expected, atol=1e-12)


@both_regularizers
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_soft_spearman_is_pearson_between_soft_and_hard_ranks(regularization, strength):
    scores, target = drawn(9)
    options = {"regularization": regularization, "regularization_strength": strength}

    expected = stats.pearsonr(soft_rank(scores, **options).numpy(), stats.rankdata(target.numpy())).statistic

    assert soft_spearman(scores, target, **options).item() == pytest.approx(1 - expected, abs=1e-12)


@both_regularizers
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_soft_kendall_counts_pairs_with_a_sign_no_steeper_than_one(regularization, strength):
    scores, target = drawn(9)
    target = target.round()
    options = {"regularization": regularization, "regularization_strength": strength}

    expected = soft_sign_correlation(soft_rank(scores, **options).numpy(), target.numpy())

    assert soft_kendall(scores, target, **options).item() == pytest.approx(1 - expected, abs=1e-12)


def test_at_a_large_strength_soft_spearman_is_pearson_between_scores_and_ranks():
    scores, target = drawn(9)

    expected = stats.pearsonr(scores.numpy(), stats.rankdata(target.numpy())).statistic

    assert soft_spearman(scores, target, regularization_strength=100.0).item() == pytest.approx(1 - expected)


@both_losses
def test_the_same_order_costs_nothing_and_the_opposite_one_two(loss):
    scores, target = torch.arange(6.0), torch.tensor([0, 1, 5, 7, 100, 2**53])

    assert loss(scores, target).item() == pytest.approx(0.0, abs=1e-15)
    assert loss(-scores, target).item() == pytest.approx(2.0)


@both_losses
@given(seed=st.integers(0, 2**31), n=st.integers(2, 9), strength=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
def test_it_is_never_negative_never_above_two_and_knows_no_offset(loss, seed, n, strength):
    scores, target = drawn(n, seed=seed)

    value = loss(scores, target, regularization_strength=strength)

    assert 0 <= value.item() <= 2 + 1e-12
    torch.testing.assert_close(loss(scores + 1e3, target.exp(), regularization_strength=strength), value)


@both_losses
def test_large_integers_are_not_tied_by_rounding(loss):
    """2**60 and 2**60 + 1 are one number in float64."""
    target = torch.tensor([2**60 + 1, 2**60, 2**60 + 2])

    assert loss(torch.tensor([1.0, 0.0, 2.0]), target).item() == pytest.approx(0.0, abs=1e-15)


@both_losses
@every_dtype
def test_every_dtype_is_solved_in_double_precision_and_rounded_once(loss, dtype):
    scores, target = drawn(3, 7)
    scores = scores.to(dtype)

    losses = loss(scores, target)

    assert losses.dtype == dtype
    torch.testing.assert_close(losses, loss(scores.double(), target).to(dtype), rtol=0, atol=0)


@both_losses
@pytest.mark.parametrize("shape", [(0, 4), (2, 3, 5), (5,)])
def test_any_batch_shape_gives_one_value_a_sample(loss, shape):
    scores, target = drawn(*shape)

    assert loss(scores, target).shape == shape[:-1]


# ----------------------------------------------------------------------------------------------------------- gradients


@both_losses
@both_regularizers
@pytest.mark.parametrize("strength", [0.3, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_numerical_and_analytic_derivatives_agree(loss, regularization, strength, masked):
    scores, target = drawn(3, 6, seed=3)
    mask = torch.arange(6) != 2 if masked else None
    options = {"regularization": regularization, "regularization_strength": strength, "mask": mask}

    assert torch.autograd.gradcheck(lambda s: loss(s, target, **options), scores.requires_grad_())


@both_losses
def test_without_strength_there_is_no_gradient(loss):
    assert (slope(loss, *drawn(3, 6), regularization_strength=0.0) == 0).all()


@both_losses
@pytest.mark.parametrize(("regularization", "strength"), [("l2", 1.0), ("kl", 10.0)])
def test_descending_it_raises_the_hard_rank_correlation(loss, regularization, strength):
    """From scores that know nothing of the target to nearly the same order. (KL ranks of few items harden early.)"""
    rng = torch.Generator().manual_seed(0)
    scores, target = (torch.randn(8, 12, generator=rng) for _ in range(2))

    before = 1 - soft_spearman(scores, target, regularization_strength=0.0).mean()
    scores.requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss(scores, target, regularization=regularization, regularization_strength=strength).sum().backward()
        optimizer.step()
    after = 1 - soft_spearman(scores.detach(), target, regularization_strength=0.0).mean()

    assert before < 0.3
    assert after > 0.95


# ----------------------------------------------------------------------------------------------------- masks and NaN


@both_losses
@pytest.mark.parametrize("hidden", [0.0, -1e9, INF, NAN])
def test_absent_items_change_nothing_for_the_others(loss, hidden):
    scores, target = drawn(2, 6)
    mask = torch.tensor([True, True, False, True, False, True])
    spoilt = [x.masked_fill(~mask, hidden) for x in (scores, target)]

    losses, slopes = loss(*spoilt, mask=mask), slope(loss, *spoilt, mask=mask)

    torch.testing.assert_close(losses, loss(scores[:, mask], target[:, mask]))
    torch.testing.assert_close(slopes[:, mask], slope(loss, scores[:, mask], target[:, mask]))
    assert (slopes[:, ~mask] == 0).all()


@both_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool], ids=str)
def test_targets_of_any_dtype_take_masks(loss, dtype):
    scores, target = torch.tensor([[0.3, 0.1, 0.7, 0.5]]), torch.tensor([[1, 0, 1, 1]]).to(dtype)
    mask = torch.tensor([[True, True, False, True]])

    hard = loss(scores, target, regularization_strength=0.0, mask=mask)

    assert hard.item() == pytest.approx(1 - COEFFICIENT[loss]([0.3, 0.1, 0.5], [1, 0, 1]).statistic)
    torch.testing.assert_close(loss(scores, target, mask=mask), loss(scores, target.double(), mask=mask))


@both_losses
@both_regularizers
@pytest.mark.parametrize("spoilt", ["target", "scores", "nan score", "nan target", "one item", "none"])
def test_an_undefined_correlation_is_nan_without_a_gradient_and_the_others_keep_theirs(loss, regularization, spoilt):
    scores, target = drawn(2, 7)
    mask = torch.ones(2, 7, dtype=torch.bool)
    if spoilt == "target":
        target[0] = 3.0
    elif spoilt == "scores":
        scores[0] = 0.1
    elif spoilt == "nan score":
        scores[0, 1] = NAN
    elif spoilt == "nan target":
        target[0, 1] = NAN
    else:
        mask[0] = torch.arange(7) == (3 if spoilt == "one item" else -1)
    options = {"regularization": regularization, "mask": mask}

    losses, slopes = loss(scores, target, **options), slope(loss, scores, target, **options)

    assert losses[0].isnan()
    assert (slopes[0] == 0).all()
    torch.testing.assert_close(losses[1], loss(scores[1], target[1], regularization=regularization))
    assert slopes[1].abs().max() > 0


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@both_losses
def test_arguments_are_refused_in_the_name_of_the_loss(loss):
    name, (scores, target) = loss.__name__, drawn(2, 3)

    with pytest.raises(TypeError, match=rf"{name}: `scores` must be floating point; got torch.int64. .*\.float\(\)"):
        loss(scores.long(), target)
    with pytest.raises(ValueError, match=rf"{name}: `target` must have the shape of `scores`, \(2, 3\); got \(2, 2\)"):
        loss(scores, target[:, :2])
    with pytest.raises(ValueError, match=f"{name}: `regularization` must be one of 'l2', 'kl'; got 'l1'"):
        loss(scores, target, regularization="l1")
    with pytest.raises(ValueError, match=f"{name}: `regularization_strength` must be 0 or more; got -1"):
        loss(scores, target, regularization_strength=-1.0)
    with pytest.raises(TypeError, match=f"{name}: `mask` must be a boolean tensor"):
        loss(scores, target, mask=torch.ones(3))
    with pytest.raises(ValueError, match=f"{name}: `mask` must broadcast"):
        loss(scores, target, mask=torch.ones(4, dtype=torch.bool))
