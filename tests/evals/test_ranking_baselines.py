"""Linear scores learnt from pairs: against oracles, and on orders that pairs can and cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.stats import kendalltau

from unshuffle.evals.ranking_baselines import _logistic, _svm, rank_net, rank_svm

both = pytest.mark.parametrize("learn", [rank_svm, rank_net])


def linear(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first two tell five levels, and three say nothing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 5)) * [1, 5, 1, 1, 9] + 3
    hidden = x[:, 0] - x[:, 1] / 5 + noise * rng.standard_normal(count)
    return x, np.digitize(hidden, np.quantile(hidden, [0.2, 0.4, 0.6, 0.8])).astype(float)


@both
def test_new_samples_are_put_in_order(learn):
    x, y = linear(120, 0.1)

    scores = learn(x[:60], y[:60], x[60:])

    assert kendalltau(scores, y[60:]).statistic > 0.8
    assert kendalltau(learn(x[:60], y[:60], x[60:], seed=0), scores).statistic == pytest.approx(1)


@both
def test_shuffled_values_teach_nothing(learn):
    """On average: five features that say nothing have a direction by chance."""
    x, y = linear(120, 0.1)
    rng = np.random.default_rng(3)

    scores = [learn(x[:60], rng.permutation(y[:60]), x[60:], penalties=[1.0]) for _ in range(20)]

    assert abs(np.mean([kendalltau(each, y[60:]).statistic for each in scores])) < 0.3


@both
def test_units_of_features_and_of_values_do_not_matter(learn):
    x, y = linear(40, 0.5)

    scores = learn(x[:30], y[:30], x[30:], penalties=[1.0])
    other = learn(x[:30] * [1e3, 1, 1, 1e-3, 1] + 7, np.exp(y[:30]), x[30:] * [1e3, 1, 1, 1e-3, 1] + 7, penalties=[1.0])

    np.testing.assert_allclose(other, scores, atol=1e-3)


@both
def test_a_feature_that_never_changes_is_left_aside(learn):
    x, y = linear(40, 0.5)
    x[:, 4] = 1 / 3

    changed = x.copy()
    changed[30:, 4] = 99

    np.testing.assert_allclose(
        learn(x[:30], y[:30], changed[30:], penalties=[1.0]), learn(x[:30], y[:30], x[30:], penalties=[1.0])
    )


def test_the_machine_minimises_squared_hinges_of_all_pairs():
    """The oracle minimises the written formula itself."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)), rng.integers(0, 4, 12).astype(float)
    later, earlier = np.nonzero(y[:, None] > y[None, :])
    gaps = x[later] - x[earlier]

    def cost(w: np.ndarray) -> float:
        return w @ w / 2 + 2.0 * np.square(np.maximum(0, 1 - gaps @ w)).mean()

    np.testing.assert_allclose(_svm(x, y, 2.0, 5000, 0), minimize(cost, np.zeros(3)).x, atol=1e-3)


def test_the_net_minimises_the_cross_entropies_of_all_pairs_ties_at_a_half():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((10, 3)), rng.integers(0, 4, 10).astype(float)
    first, second = np.triu_indices(10, 1)
    goal = np.heaviside(y[first] - y[second], 0.5)

    def cost(w: np.ndarray) -> float:
        odds = (x[first] - x[second]) @ w
        return w @ w / 2 + 3.0 * (np.logaddexp(0, odds) - goal * odds).mean()

    best = minimize(cost, np.zeros(3)).x
    assert check_grad(cost, lambda w: np.zeros(3), best) < 1e-3
    np.testing.assert_allclose(_logistic(x, y, 3.0), best, atol=1e-3)


@both
@pytest.mark.errors
def test_values_that_all_tie_are_refused(learn):
    with pytest.raises(ValueError, match="`values` must hold two different ones"):
        learn(np.zeros((4, 2)), np.ones(4), np.zeros((2, 2)))


@both
def test_two_samples_are_enough(learn):
    scores = learn(np.array([[0.0], [1.0]]), np.array([5.0, 2.0]), np.array([[0.0], [1.0], [2.0]]))

    assert (np.diff(scores) < 0).all()
