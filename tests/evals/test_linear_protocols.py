"""The classifier that LARS trains, and the one in closed form."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from unshuffle.evals import lars_probe, lars_scores, ridge, ridge_probe, ridge_scores
from unshuffle.evals.probes import standardise


@pytest.fixture(scope="module")
def blobs():
    """Three classes in eight dimensions, that overlap a little."""
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.standard_normal((3, 8))
    codes = np.concatenate([np.arange(3), rng.integers(0, 3, 597)])
    rows = centres[codes] + rng.standard_normal((600, 8))
    return rows[:400], codes[:400], rows[400:], codes[400:]


def nearest_centre(rows, codes, others):
    centres = np.stack([rows[codes == c].mean(0) for c in np.unique(codes)])
    return ((others[:, None] - centres) ** 2).sum(-1).argmin(1)


def test_lars_learns_to_tell_classes_apart(blobs):
    rows, codes, others, truth = blobs
    best = (nearest_centre(rows, codes, others) == truth).mean()
    scores = lars_scores(rows, codes, others, epochs=60, batch_size=32, base_rate=100.0)
    assert scores.shape == (200, 3)
    assert (scores.argmax(1) == truth).mean() > best - 0.04


@pytest.mark.own_seeds
def test_one_epoch_of_one_batch_is_one_step_written_out(blobs):
    """From the same first weights: the gradient of the mean cross-entropy, scaled to the weights' length."""
    rows, codes, others, _ = blobs
    torch.manual_seed(3)  # what others drew does not matter
    scores = lars_scores(rows, codes, others, epochs=1, seed=5)
    weight = (0.01 * torch.randn(3, 8, generator=torch.Generator().manual_seed(5))).double().requires_grad_()
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.from_numpy(rows) @ weight.T + bias, torch.from_numpy(codes)).backward()
    rate = 0.1 * 400 / 256
    moved = weight - rate * 0.001 * weight.norm() / weight.grad.norm() * weight.grad
    expected = torch.from_numpy(others) @ moved.T - rate * bias.grad  # zeros take their gradient as it is
    assert np.allclose(scores, expected.detach().numpy(), atol=1e-5)


def test_features_of_every_epoch_may_be_fresh(blobs):
    rows, codes, others, _ = blobs
    asked = []

    def augmented(epoch):
        asked.append(epoch)
        return rows

    fresh = lars_scores(augmented, codes, others, epochs=3)
    assert asked == [0, 1, 2]
    assert np.array_equal(fresh, lars_scores(rows, codes, others, epochs=3))


def test_as_probes_both_name_the_classes(blobs):
    rows, codes, others, truth = blobs
    names = np.array(["ash", "beech", "oak"])
    best = (nearest_centre(rows, codes, others) == truth).mean()
    assert set(lars_probe(rows, names[codes], others)) <= set(names)
    assert (ridge_probe(rows, names[codes], others) == names[truth]).mean() > best - 0.03


@pytest.mark.parametrize("rows", [400, 30, 6])
def test_the_closed_form_is_ridge_regression_on_indicators(blobs, rows, monkeypatch):
    features, codes, others, _ = blobs
    features, codes = features[:rows], codes[:rows]
    monkeypatch.setattr(ridge, "PENALTIES", (0.3,))
    scaled, asked = standardise(features, others)
    squares = np.linalg.eigvalsh(scaled.T @ scaled)
    alpha = 0.3 * squares[squares > 1e-10 * squares[-1]].mean()
    expected = Ridge(alpha).fit(scaled, np.eye(3)[codes]).predict(asked)
    assert np.allclose(ridge_scores(features, codes, others), expected, atol=1e-9)


def test_the_penalty_is_the_one_under_which_most_left_out_rows_are_right(blobs, monkeypatch):
    """Each row in turn left out of the indicators' regression, on features standardised once."""
    features, codes, others, _ = blobs
    rng = np.random.default_rng(1)
    features = np.hstack([features[:40], rng.standard_normal((40, 60))])
    others, codes = np.hstack([others, rng.standard_normal((200, 60))]), codes[:40]
    scaled, _ = standardise(features, others)
    squares = np.linalg.eigvalsh(scaled @ scaled.T)
    mean = squares[squares > 1e-10 * squares[-1]].mean()

    def right(unit):
        kept = [np.delete(np.arange(40), i) for i in range(40)]
        return sum(
            Ridge(unit * mean).fit(scaled[rows], np.eye(3)[codes[rows]]).predict(scaled[[i]]).argmax() == codes[i]
            for i, rows in enumerate(kept)
        )

    units = (1e-3, 1.0, 30.0)
    best = max(units, key=lambda unit: (right(unit), unit))
    assert len({right(unit) for unit in units}) > 1
    monkeypatch.setattr(ridge, "PENALTIES", units)
    chosen = ridge_scores(features, codes, others)
    monkeypatch.setattr(ridge, "PENALTIES", (best,))
    assert np.array_equal(chosen, ridge_scores(features, codes, others))


def test_constant_features_leave_the_most_frequent_class(blobs):
    _, codes, _, _ = blobs
    scores = ridge_scores(np.ones((400, 2)), codes, np.ones((3, 2)))
    assert np.allclose(scores, np.bincount(codes) / 400)


@pytest.mark.errors
@pytest.mark.parametrize(("probe", "name"), [(lars_probe, "lars_probe"), (ridge_probe, "ridge_probe")])
def test_numbers_cannot_be_learnt(probe, name, blobs):
    with pytest.raises(ValueError, match=f"{name}: `task` must be one of 'classification'"):
        probe(*blobs[:3], task="regression")


@pytest.mark.errors
@pytest.mark.parametrize("option", ["epochs", "batch_size", "base_rate"])
def test_options_must_be_positive(option, blobs):
    with pytest.raises(ValueError, match=f"lars_scores: `{option}` must be positive"):
        lars_scores(*blobs[:3], **{option: 0})


@pytest.mark.errors
def test_rows_that_are_not_finite_are_named(blobs):
    rows, codes, others, _ = blobs
    spoilt = np.where(np.arange(400)[:, None] == 7, np.nan, rows)
    for scores in (lars_scores, ridge_scores):
        with pytest.raises(ValueError, match="`features` must be finite; row 7"):
            scores(spoilt, codes, others)
