"""Windows merged into one ranking: exact where answers agree, fair where they do not, and the same every time."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from unshuffle.evals.merging import _bradley_terry, _every_pair, _sliding, after, chances, merge


def told(values: np.ndarray, asked: list | None = None):
    """A judge that knows the values."""

    def judge(windows: np.ndarray) -> np.ndarray:
        if asked is not None:
            asked.extend(windows.tolist())
        return after(values[windows])

    return judge


def unsure(values: np.ndarray, noise: float, seed: int = 0):
    """A judge that sees the values of each window through fresh noise."""
    rng = np.random.default_rng(seed)
    return lambda windows: after(values[windows] + noise * rng.standard_normal(windows.shape))


@given(n=st.integers(1, 30), length=st.integers(2, 9), seed=st.integers(0, 2**31))
@settings(max_examples=25)
def test_answers_that_agree_are_merged_to_the_very_order(n, length, seed):
    values = np.random.default_rng(seed).permutation(n).astype(float)

    found = merge(told(values), n, length, seed=seed)

    assert found.order.tolist() == values.argsort().tolist()
    assert (np.diff(found.scores[found.order]) >= 0).all()
    assert found.kept == 1


@pytest.mark.parametrize(("n", "length"), [(60, 8), (61, 5), (40, 2)])
def test_many_items_are_put_in_the_very_order_by_windows_that_slide(n, length):
    """Without asking for every pair: each of two times as many items takes about two times as many windows."""
    values = np.random.default_rng(n).permutation(n).astype(float)
    asked: list = []

    found = merge(told(values, asked), n, length, all_pairs=10)

    assert found.order.tolist() == values.argsort().tolist()
    met = {pair for window in asked for pair in combinations(sorted(window), 2)}
    assert found.windows == len(asked)
    assert len(met) < n * (n - 1) / 2


@pytest.mark.parametrize(("n", "length"), [(1, 4), (3, 4), (5, 4), (9, 4), (9, 3), (20, 8), (7, 2)])
def test_every_pair_meets_in_windows_of_the_right_length(n, length):
    windows = _every_pair(n, length)

    assert windows.shape[1] == length
    met = {pair for window in windows.tolist() for pair in combinations(sorted(set(window)), 2)}
    assert met == set(combinations(range(n), 2))
    if n >= length:
        assert all(len(set(window)) == length for window in windows.tolist())


def test_windows_that_slide_join_all_neighbours():
    order = np.random.default_rng(0).permutation(23)

    windows = _sliding(order, 8).tolist()

    met = {pair for window in windows for pair in pairwise(window)}
    assert met == set(pairwise(order.tolist()))


@pytest.mark.parametrize("all_pairs", [200, 10])
def test_noise_is_averaged_out(all_pairs):
    """Measured over four seeds: 0.94 to 0.96 from 105 windows, 0.989 from over 400; of the answers 0.73 to 0.83."""
    values = np.arange(60.0)

    found = merge(unsure(values, 4.0), 60, 8, all_pairs=all_pairs)

    assert kendalltau(found.scores, values).statistic > (0.9 if all_pairs == 200 else 0.96)
    assert 0.65 < found.kept < 0.9


def test_a_circle_is_settled_by_the_scores_and_disturbs_nothing_around_it():
    """0 < {1, 2, 3} < 4, and 1 < 2 < 3 < 1: of the three, no order is right."""
    beats = after(np.array([0.0, 1, 1, 1, 2]))
    for low, high in ((1, 2), (2, 3), (3, 1)):
        beats[high, low], beats[low, high] = 1, 0

    found = merge(lambda w: beats[w[:, :, None], w[:, None, :]], 5, 2)

    assert found.order[[0, 4]].tolist() == [0, 4]
    assert found.kept < 1


def test_the_same_seed_asks_the_same_windows():
    values = np.random.default_rng(0).random(40)
    first, again, other = [], [], []
    for asked, seed in ((first, 1), (again, 1), (other, 2)):
        merge(told(values, asked), 40, 4, all_pairs=5, seed=seed)

    assert first == again
    assert first != other


def test_items_stand_at_every_place_of_their_windows():
    """A judge that answers by place alone is heard as noise, not as an order."""
    found = merge(lambda windows: np.broadcast_to(after(np.arange(4.0)), (len(windows), 4, 4)), 24, 4)

    assert abs(kendalltau(found.scores, np.arange(24)).statistic) < 0.4
    assert found.kept < 0.85


def test_scores_are_likeliest_by_enumeration_on_a_grid():
    """Three items, a few answers: no scores of a fine grid are likelier (with the prior's weight)."""
    later, earlier, weight = np.array([1, 0, 2, 1, 2]), np.array([0, 1, 1, 2, 0]), np.array([3.0, 1, 2, 1, 1])

    def cost(scores: np.ndarray) -> np.ndarray:
        gap = scores[..., later] - scores[..., earlier]
        return (weight * np.logaddexp(0, -gap)).sum(-1) + 0.005 * np.square(scores).sum(-1)

    found = _bradley_terry(later, earlier, weight, 3)

    axis = np.linspace(-2, 2, 41)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    assert cost(found) <= cost(grid).min() + 1e-9
    assert abs(found.sum()) < 1e-4


def test_chances_of_a_permutation_are_its_order_and_of_no_knowledge_half():
    for perm in permutations(range(3)):
        np.testing.assert_array_equal(chances(np.eye(3)[list(perm)]), after(np.array(perm)))
    np.testing.assert_allclose(chances(np.full((2, 4, 4), 0.25)), 0.5)


def test_chances_are_those_of_independent_positions(rng):
    """By enumeration of all pairs of positions."""
    soft = np.random.default_rng(0).random((4, 4))
    soft /= soft.sum(-1, keepdims=True)

    found = chances(soft)

    for a, b in combinations(range(4), 2):
        whole = np.outer(soft[a], soft[b])
        assert found[a, b] == pytest.approx(np.tril(whole, -1).sum() + np.trace(whole) / 2)
        assert found[a, b] + found[b, a] == pytest.approx(1)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("n", "length", "words"), [(0, 4, "`n` must be positive; got 0"), (4, 1, "`length` must be 2")]
)
def test_nothing_to_merge_is_refused(n, length, words):
    with pytest.raises(ValueError, match=words):
        merge(told(np.zeros(4)), n, length)
