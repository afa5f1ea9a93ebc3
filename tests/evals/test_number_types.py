"""Metrics and searches give the same value for the same numbers in every dtype, or raise TypeError."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from unshuffle import evals
from unshuffle.evals import unlabelled
from unshuffle.evals.clustering import adjusted_rand, contingency
from unshuffle.evals.ordering import (
    ndcg,
    normalization_error,
    pairwise_accuracy,
    resolve_ties,
    strict_kendall_tau,
    strict_pairwise_accuracy,
)
from unshuffle.methods.kmeans import kmeans
from unshuffle.permutations import kendall_tau

pytestmark = pytest.mark.untyped

INTEGERS = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMPY = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS, ids=str)
@pytest.mark.parametrize("metric", [kendall_tau, strict_kendall_tau, pairwise_accuracy, strict_pairwise_accuracy, ndcg])
def test_metrics_of_orders_do_not_depend_on_the_dtype(metric, dtype):
    predicted, true = torch.tensor([2, 0, 1, 1, 3, 5]), torch.tensor([3, 0, 1, 2, 2, 4])

    got = metric(predicted.to(dtype), true.to(dtype)), metric(predicted.to(dtype), true.double())

    assert [value.item() for value in got] == pytest.approx([metric(predicted.double(), true.double()).item()] * 2)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_the_extremes_of_an_integer_dtype_are_far_apart(dtype):
    ends = torch.tensor([torch.iinfo(dtype).max, torch.iinfo(dtype).min], dtype=dtype)

    assert pairwise_accuracy(ends, torch.tensor([1.0, 0.0])).item() == 1
    assert kendall_tau(ends, torch.tensor([0.0, 1.0])).item() == -1


@pytest.mark.parametrize("metric", [kendall_tau, strict_kendall_tau, pairwise_accuracy, strict_pairwise_accuracy, ndcg])
def test_a_ranking_with_nan_has_no_value_and_the_next_sample_has_one(metric):
    scores = torch.tensor([[1.0, torch.nan, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    true = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(2, 4)

    assert metric(scores, true).isnan().tolist() == [True, False]
    assert metric(true, scores).isnan().tolist() == [True, False]


@pytest.mark.parametrize("metric", [kendall_tau, strict_kendall_tau, pairwise_accuracy, strict_pairwise_accuracy])
def test_complex_rankings_are_refused(metric):
    with pytest.raises(TypeError, match=rf"{metric.__name__}|strict_pairwise_accuracy"):
        metric(torch.zeros(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.complex64))


def test_equal_infinities_tie():
    scores = torch.tensor([-torch.inf, 0.0, torch.inf, torch.inf])

    assert kendall_tau(scores, torch.tensor([1.0, 2.0, 3.0, 4.0])).item() == pytest.approx(
        scipy.stats.kendalltau([0, 1, 2, 2], [1, 2, 3, 4]).statistic
    )


def test_kendalls_tau_of_six_thousand_items_is_scipys_in_little_memory():
    code = """
import resource, numpy, scipy.stats, torch
from unshuffle.permutations import kendall_tau
rng = numpy.random.default_rng(0)
first, second = rng.integers(0, 2000, 6000), rng.normal(size=6000)
expected = scipy.stats.kendalltau(first, second).statistic
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
value = kendall_tau(torch.tensor(first), torch.tensor(second)).item()
print(value - expected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert abs(float(out[0])) < 1e-12
    assert int(out[1]) < 20_000 * (1024 if sys.platform == "darwin" else 1)  # KiB; all pairs need 40 times that


def test_ties_are_resolved_exactly_at_sizes_that_half_precision_and_float32_cannot_square():
    true, predicted = torch.arange(1.0, 5001.0), torch.arange(5000.0, 0.0, -1)

    assert torch.equal(resolve_ties(true, predicted), true)
    assert torch.equal(resolve_ties(true[:200].half(), predicted[:200].half()), true[:200].half())


def test_sums_of_half_precision_rows_are_not_rounded_to_it():
    uniform = torch.full((1000, 1000), 1 / 1024, dtype=torch.bfloat16)

    assert normalization_error(uniform).item() == pytest.approx(1 - 1000 / 1024, abs=1e-6)


@pytest.mark.parametrize("dtype", NUMPY)
def test_tables_figures_do_not_depend_on_the_dtype(dtype):
    scores = np.array([[3, 9, 7], [1, 0, 1], [5, 5, 5], [0, 2, 1]])
    classes, there = np.array([2, 0, 1, 1]), np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])

    for within, expected in ((1, 2 / 4), (2, 4 / 4)):
        assert evals.top_accuracy(scores.astype(dtype), classes, within=within) == expected
    assert evals.mean_auc(scores.astype(dtype), there) == evals.mean_auc(scores.astype("f8"), there)
    assert evals.mean_squared_error(scores[0].astype(dtype), scores[1].astype(dtype)) == (4 + 81 + 36) / 3
    assert evals.accuracy(scores[0].astype(dtype), scores[0]) == 1


@pytest.mark.parametrize("other", [np.array([b"a", b"b"]), np.array([0, 1])], ids=["bytes", "numbers"])
def test_words_and_other_kinds_of_labels_are_refused_where_none_can_be_equal(other):
    with pytest.raises(TypeError, match=r"accuracy: .*both str.*got <U1"):
        evals.accuracy(np.array(["a", "b"]), other)


@pytest.mark.parametrize("values", [np.array([b"1", b"2"]), np.array(["1", "2"]), np.array([1j, 2j])], ids=str)
def test_an_error_of_words_is_refused(values):
    with pytest.raises(TypeError, match="mean_squared_error: `predictions` must be real numbers"):
        evals.mean_squared_error(values, np.array([1.0, 2.0]))


def test_scores_that_are_nan_are_not_the_best():
    with pytest.raises(ValueError, match="top_accuracy: `scores` must not be NaN; got 1 of 4"):
        evals.top_accuracy(np.array([[np.nan, 1.0], [1.0, 0.0]]), np.array([1, 0]), within=1)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "u8", "i8", "?", "U3", "S3"])
def test_clusters_are_compared_in_any_dtype_of_whole_numbers_or_names(dtype):
    ours, theirs = np.array([0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 1])

    got = adjusted_rand(contingency(ours.astype(dtype), theirs.astype(dtype)))

    assert got == pytest.approx(adjusted_rand_score(theirs, ours))


def test_clusters_that_are_fractions_are_refused():
    with pytest.raises(TypeError, match="contingency: `clusters` must be whole numbers or names; got dtype float64"):
        contingency(np.array([0.0, np.nan]), np.array([0, 1]))


# ------------------------------------------------------------------------------------------- features of any magnitude


@pytest.fixture
def bank():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    return rng.normal(size=(3, 8))[labels] + 0.5 * rng.normal(size=(60, 8)), labels


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("power", [-83, 66])  # about 1e-25 and 1e20
def test_neighbors_and_clusters_do_not_depend_on_the_magnitude_of_features(bank, power, dtype):
    rows, labels = bank
    rows = rows.astype(dtype)
    scaled = np.ldexp(rows, power)  # exact

    for k in (1, 5):
        assert np.array_equal(evals.nearest_rows(scaled, scaled, k=k).index, evals.nearest_rows(rows, rows, k=k).index)
    assert unlabelled.neighbours_agreement(scaled, labels) == unlabelled.neighbours_agreement(rows, labels)
    assert np.array_equal(unlabelled.kmeans_labels(scaled, 3), unlabelled.kmeans_labels(rows, 3))
    axes, scaled_axes = (unlabelled.onto_leading_axes(part, part, 3)[0] for part in (rows, scaled))
    np.testing.assert_allclose(np.ldexp(scaled_axes, -power), axes, rtol=1e-5)


def test_one_tiny_and_one_huge_row_keep_their_directions(bank):
    rows, _ = bank
    mixed = rows.copy()
    mixed[0], mixed[1] = np.ldexp(rows[0], -200), np.ldexp(rows[1], 500)

    assert np.array_equal(evals.nearest_rows(mixed, rows, k=4).index, evals.nearest_rows(rows, rows, k=4).index)


def test_features_that_are_words_are_refused():
    with pytest.raises(TypeError, match="nearest_rows: features must be real numbers; got dtype <U1"):
        evals.nearest_rows(np.array([["a"]]), np.array([["a"]]), k=1)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e5])
def test_clusters_far_from_the_origin_are_told_apart_in_float32(offset):
    rng = torch.Generator().manual_seed(0)
    truth = torch.arange(3).repeat(50)
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[truth] + 0.05 * torch.randn(150, 2, generator=rng)
    shifted = (rows + offset).float()
    first = shifted[torch.randperm(150, generator=torch.Generator().manual_seed(5))[:3]].double().numpy()

    labels = kmeans(shifted, 3, generator=torch.Generator().manual_seed(5)).numpy()

    theirs = KMeans(3, init=first, n_init=1, tol=0, algorithm="lloyd").fit(shifted.double().numpy()).labels_
    assert np.array_equal(labels, theirs)
    assert adjusted_rand_score(labels, theirs) == 1
