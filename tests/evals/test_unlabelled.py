"""What can be said of clusters without classes: against plain loops, and at chance for arbitrary labels."""

from __future__ import annotations

import numpy as np
import pytest

from unshuffle.evals.clustering import adjusted_rand, contingency
from unshuffle.evals.unlabelled import kmeans_labels, neighbours_agreement, onto_leading_axes, tightness


def groups(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four directions, each with some noise."""
    labels = np.arange(count) % 4
    return np.random.default_rng(seed).normal(size=(count, 12)) * 0.2 + 2 * np.eye(4, 12)[labels], labels


def test_neighbours_agree_as_a_loop_counts_them():
    rows = np.random.default_rng(0).normal(size=(30, 5))
    labels = np.random.default_rng(1).integers(0, 3, 30)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar = unit @ unit.T - 9 * np.eye(30)
    expected = np.mean([labels[np.argsort(-similar[i])[:4]] == labels[i] for i in range(30)])
    pairs = [labels[i] == labels[j] for i in range(30) for j in range(30) if i != j]

    agreement = neighbours_agreement(rows, labels, k=4)

    assert agreement.share == pytest.approx(expected)
    assert agreement.chance == pytest.approx(np.mean(pairs))


def test_labels_that_follow_the_representation_agree_and_arbitrary_ones_do_as_chance_has_it():
    rows, labels = groups(400)
    shuffled = np.random.default_rng(0).permutation(labels)

    assert neighbours_agreement(rows, labels).share == 1
    noise = neighbours_agreement(rows, shuffled)
    assert noise.share == pytest.approx(noise.chance, abs=0.03)


def test_equal_rows_are_each_others_neighbours():
    agreement = neighbours_agreement(np.ones((50, 3)), np.arange(50) % 2, k=40)
    assert 0.4 < agreement.share < 0.6


def test_many_samples_are_asked_in_part_and_all_are_searched():
    rows, labels = groups(400)
    assert neighbours_agreement(rows, labels, most=7).share == 1
    assert neighbours_agreement(rows[:3], np.zeros(3, int), k=99).share == 1


def test_tightness_is_the_mean_over_all_pairs():
    rows = np.random.default_rng(0).normal(size=(20, 4))
    labels = np.array([3] * 8 + [1] * 11 + [7])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    found = tightness(rows, labels)

    for place, label in enumerate((1, 3)):
        own = unit[labels == label]
        products = own @ own.T
        expected = products[~np.eye(len(own), dtype=bool)].mean()
        assert found[place] == pytest.approx(expected)
    assert np.isnan(found[2])


def test_leading_axes_keep_what_varies():
    rows, _ = groups(60)
    few, others = onto_leading_axes(rows, rows[:5], 3)

    centred = rows - rows.mean(0)
    spectrum = np.linalg.svd(centred, compute_uv=False) ** 2
    assert few.shape == (60, 3)
    np.testing.assert_allclose(few[:5], others, atol=1e-5)
    np.testing.assert_allclose((few**2).sum(0), spectrum[:3], rtol=1e-4)
    assert onto_leading_axes(rows, rows, 99)[0].shape == (60, 12)


def test_kmeans_finds_directions_whatever_their_lengths():
    rows, labels = groups(80)
    rows *= np.random.default_rng(0).uniform(0.1, 10, (80, 1))
    found = kmeans_labels(rows, 4)
    assert adjusted_rand(contingency(found, labels)) == 1
    assert (found == kmeans_labels(rows, 4)).all()


@pytest.mark.errors
def test_what_cannot_be_measured_is_told():
    with pytest.raises(ValueError, match="must hold one for each of two rows or more"):
        neighbours_agreement(np.ones((1, 2)), np.zeros(1, int))
    with pytest.raises(ValueError, match=r"one for each of 3 rows; got \(2,\)"):
        tightness(np.ones((3, 2)), np.zeros(2, int))
    with pytest.raises(ValueError, match="4 clusters need as many rows; got 3"):
        kmeans_labels(np.ones((3, 2)), 4)
