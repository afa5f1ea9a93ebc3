"""Clusters against classes: equal to scikit-learn's figures, and to an enumeration of all labellings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn import metrics

from unshuffle.evals.clustering import (
    adjusted_information,
    adjusted_rand,
    cluster_entropies,
    commonest,
    contingency,
    effective_number,
    expected_information,
    mutual_information,
    normalised_information,
    purity,
)
from unshuffle.evals.clustering_results import history
from unshuffle.evals.labellings import Labelling
from unshuffle.evals.results import stamp

pairs = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 5), min_size=n, max_size=n) for _ in range(2)))
)


@settings(max_examples=40)
@given(pairs, st.sampled_from(["arithmetic", "geometric"]))
def test_the_figures_are_those_of_scikit_learn(both, average):
    clusters, classes = map(np.array, both)
    table = contingency(clusters, classes)

    assert mutual_information(table) == pytest.approx(metrics.mutual_info_score(classes, clusters), abs=1e-12)
    assert normalised_information(table, average=average) == pytest.approx(
        metrics.normalized_mutual_info_score(classes, clusters, average_method=average), abs=1e-9
    )
    assert adjusted_rand(table) == pytest.approx(metrics.adjusted_rand_score(classes, clusters), abs=1e-12)
    # Where the greatest possible information is what is expected, scikit-learn divides two rounding errors.
    upper = np.mean([entropy(table.rows), entropy(table.columns)])
    if upper - expected_information(table.rows, table.columns) > 1e-9:
        assert adjusted_information(table) == pytest.approx(
            metrics.adjusted_mutual_info_score(classes, clusters), abs=1e-8
        )


@settings(max_examples=25)
@given(pairs, st.randoms(use_true_random=False))
def test_names_of_clusters_mean_nothing(both, random):
    clusters, classes = map(np.array, both)
    names = np.array(random.sample(range(-50, 50), 6))
    table, renamed = contingency(clusters, classes), contingency(names[clusters], classes)

    for figure in (normalised_information, adjusted_information, adjusted_rand, purity):
        assert figure(table) == pytest.approx(figure(renamed), abs=1e-12)
    swapped = contingency(classes, clusters)
    assert normalised_information(table) == pytest.approx(normalised_information(swapped), abs=1e-12)
    assert adjusted_information(table) == pytest.approx(adjusted_information(swapped), abs=1e-9)


def test_the_expected_information_is_the_mean_over_all_labellings():
    clusters, classes = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    every = [mutual_information(contingency(clusters, np.array(order))) for order in set(permutations(classes))]

    assert expected_information(np.array([3, 2, 1]), np.array([2, 4])) == pytest.approx(np.mean(every), abs=1e-12)


def test_the_same_division_is_perfect_and_one_cluster_says_nothing():
    classes = np.arange(12) % 3
    for same in (contingency(5 - classes, classes), contingency(np.arange(4), np.arange(4))):
        assert [f(same) for f in (normalised_information, adjusted_information, adjusted_rand, purity)] == [1] * 4
    nothing = contingency(np.zeros(12, int), classes)
    assert [f(nothing) for f in (normalised_information, adjusted_information, adjusted_rand)] == [0, 0, 0]
    assert purity(nothing) == pytest.approx(1 / 3)


def test_more_clusters_raise_the_information_of_noise_but_not_the_adjusted_one():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 2000)
    few, many = (contingency(rng.integers(0, k, 2000), classes) for k in (10, 500))

    assert normalised_information(many) > normalised_information(few) + 0.2
    assert abs(adjusted_information(few)) < 0.01
    assert abs(adjusted_information(many)) < 0.01
    assert abs(adjusted_rand(many)) < 0.01


def test_each_cluster_has_its_entropy_and_its_commonest_class():
    clusters = np.array([4, 4, 4, 4, 9, 9, 2])
    classes = np.array([1, 1, 1, 0, 0, 5, 3])
    table = contingency(clusters, classes)

    assert table.clusters.tolist() == [2, 4, 9]
    np.testing.assert_allclose(cluster_entropies(table), [0, entropy([0.75, 0.25]), np.log(2)])
    top, share = commonest(table)
    assert top.tolist() == [3, 1, 0]  # of two equal ones the smaller
    assert share.tolist() == [1, 0.75, 0.5]
    assert purity(table) == pytest.approx(5 / 7)


def test_a_history_holds_scikit_learns_figures_of_labellings_that_follow_each_other(tmp_path):
    draw, truth = np.random.default_rng(0), np.arange(60) % 4
    every = [np.stack([draw.integers(0, 3, 60), np.where(draw.random(60) < 0.7, truth, 0)]) for _ in range(3)]
    every[1][1, :5] = -1  # held out

    (told,), _ = history(
        tmp_path, [Labelling(10 * i, labels) for i, labels in enumerate(every)], stamp("a", "training", "b"),
        truth=truth, head=1,
    )  # fmt: skip

    first, second, third = (labels[1] for labels in every)
    nmi = metrics.normalized_mutual_info_score
    with np.load(tmp_path / "figures" / "labellings.npz") as drawn:
        np.testing.assert_allclose(drawn["consecutive"][1:], [nmi(first[5:], second[5:]), nmi(second[5:], third[5:])])
        np.testing.assert_allclose(
            drawn["classes"], [nmi(truth, first), nmi(truth[5:], second[5:]), nmi(truth, third)], rtol=1e-9
        )
        assert told.value == drawn["consecutive"][2]


def test_the_effective_number_is_that_of_clusters_of_one_size():
    assert effective_number(np.full(7, 3)) == pytest.approx(7)
    assert effective_number(np.array([5, 0, 0])) == 1
    assert 1 < effective_number(np.array([98, 1, 1])) < 1.2


def test_a_million_samples_in_thousands_of_clusters_take_few_kinds_of_pairs():
    """Balanced clusters of two sizes and classes of three: six hypergeometric sums, however many there are."""
    rows = np.repeat([427, 428], 1500)
    total = int(rows.sum())
    columns = np.array([1300] * 400 + [1282] * 500)
    columns = np.append(columns, total - columns.sum())

    expected = expected_information(rows, columns)

    # To first order chance gives (R - 1)(C - 1) / 2N (Miller 1955); cells hold half a sample here, so only an order.
    assert 0.3 < expected / ((len(rows) - 1) * (len(columns) - 1) / 2 / total) < 1


@pytest.mark.errors
@pytest.mark.parametrize(("ours", "theirs"), [([1, 2], [1]), ([], []), ([[1]], [[1]])])
def test_samples_that_do_not_fit_are_refused(ours, theirs):
    with pytest.raises(ValueError, match=r"`clusters` and `classes` must be \(n,\)"):
        contingency(np.array(ours, int), np.array(theirs, int))


@pytest.mark.errors
def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="`average` must be one of 'arithmetic', 'geometric'; got 'max'"):
        normalised_information(contingency(np.arange(3), np.arange(3)), average="max")  # type: ignore[arg-type]
