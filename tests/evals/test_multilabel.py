"""Several labels a sample: each class is scored as scikit-learn scores it alone, and what is not judged has no say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from unshuffle.evals import Task, auc_by_class, compare, mean_auc, multilabel, multilabel_probe, stamp
from unshuffle.evals.probes import LOGISTIC_STRENGTHS

rng = np.random.default_rng(0)
FEATURES, OTHERS = rng.standard_normal((60, 5)), rng.standard_normal((40, 5))
WEIGHTS = rng.standard_normal((5, 4))


def there(features: np.ndarray, noise: float = 1.0) -> np.ndarray:
    """Four classes that depend on the features, with some noise."""
    return (features @ WEIGHTS + noise * np.random.default_rng(1).standard_normal((len(features), 4)) > 0).astype(int)


TARGETS, ASKED = there(FEATURES), there(OTHERS)


def with_gaps(targets: np.ndarray, share: float = 0.2) -> np.ndarray:
    return np.where(np.random.default_rng(2).random(targets.shape) < share, -1, targets)


# -------------------------------------------------------------------------------------------------------------- figures


def test_each_class_has_scikit_learns_area_over_the_rows_that_are_judged():
    targets, scores = with_gaps(TARGETS), FEATURES @ WEIGHTS + 1
    expected = [roc_auc_score(t[t >= 0], s[t >= 0]) for t, s in zip(targets.T, scores.T)]

    np.testing.assert_allclose(auc_by_class(scores, targets), expected)
    area = mean_auc(scores, targets)
    assert area == pytest.approx((np.mean(expected), np.std(expected), 4))


def test_what_is_not_judged_has_no_say():
    targets = with_gaps(TARGETS)
    scores = FEATURES @ WEIGHTS
    changed = np.where(targets < 0, 1e6 * rng.standard_normal(scores.shape), scores)

    np.testing.assert_array_equal(auc_by_class(changed, targets), auc_by_class(scores, targets))


def test_a_class_without_both_kinds_of_rows_is_left_out_of_the_mean():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.5, 0.4]])

    area = mean_auc(scores, np.array([[1, 0, 1], [0, 0, -1]]))

    assert (area.mean, area.spread, area.classes) == (1, 0, 1)


def test_guessing_and_equal_scores_are_worth_one_half():
    assert mean_auc(np.zeros((60, 4)), TARGETS).mean == 0.5


@pytest.mark.errors
def test_nothing_that_could_be_scored_is_refused():
    with pytest.raises(ValueError, match="mean_auc: `targets` must know, of one class at least, a row with it and"):
        mean_auc(np.zeros((2, 1)), np.array([[1], [-1]]))
    with pytest.raises(ValueError, match="auc_by_class: `scores` and `targets` must have one shape"):
        auc_by_class(np.zeros((2, 1)), np.zeros((2, 2), int))


# ---------------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize("strength", LOGISTIC_STRENGTHS)
def test_a_fit_of_all_classes_is_that_of_scikit_learn_class_by_class(strength):
    targets = with_gaps(TARGETS)

    (scores,) = multilabel._path(FEATURES, targets, [strength], OTHERS)

    for score, target in zip(scores.T, targets.T):
        alone = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(FEATURES[target >= 0], target[target >= 0])
        np.testing.assert_allclose(score, alone.decision_function(OTHERS), rtol=1e-2, atol=1e-2)


def test_it_learns_what_can_be_learned_and_nothing_else():
    learned = mean_auc(multilabel_probe(FEATURES, TARGETS, OTHERS), ASKED)
    shuffled = mean_auc(multilabel_probe(FEATURES, rng.permutation(TARGETS), OTHERS), ASKED)

    assert learned.mean > 0.8
    assert abs(shuffled.mean - 0.5) < 0.15


def test_a_classs_labels_do_not_change_another_classs_scores():
    other = TARGETS.copy()
    other[:, 1:] = 1 - other[:, 1:]

    np.testing.assert_allclose(
        multilabel_probe(FEATURES, TARGETS, OTHERS)[:, 0], multilabel_probe(FEATURES, other, OTHERS)[:, 0], atol=1e-2
    )


def test_a_class_of_which_one_kind_is_known_scores_alike_everywhere():
    targets = TARGETS.copy()
    targets[:, 1], targets[:, 2] = -1, np.where(targets[:, 2] == 1, 1, -1)

    scores = multilabel_probe(FEATURES, targets, OTHERS)

    assert not scores[:, 1:3].any()
    assert scores[:, [0, 3]].std(0).min() > 0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_handful_of_rows_is_answered(rows):
    assert np.isfinite(multilabel_probe(FEATURES[:rows], TARGETS[:rows], OTHERS)).all()


def test_scale_and_a_constant_column_do_not_matter():
    stretched = FEATURES * np.array([1, 1e3, 1e-3, 1, 5]) + 7
    others = OTHERS * np.array([1, 1e3, 1e-3, 1, 5]) + 7

    plain = multilabel_probe(FEATURES, TARGETS, OTHERS)
    changed = multilabel_probe(np.c_[stretched, np.ones(60)], TARGETS, np.c_[others, np.zeros(40)])

    np.testing.assert_allclose(changed, plain, atol=1e-2)


def test_it_joins_comparisons_with_a_mean_and_a_spread():
    rows = {"raw": (FEATURES, OTHERS), "noise": (rng.standard_normal((60, 3)), rng.standard_normal((40, 3)))}
    task = Task("classes, linear probe", "multilabel", TARGETS, ASKED)

    results = compare(rows, [task], [30, 60], draws=2, probe=multilabel_probe, stamp=stamp("toy", "test", "none"))

    assert [(r.layer, r.n, r.seed) for r in results[::2]] == [
        (layer, n, draw) for n, draws in ((30, 2), (60, 1)) for draw in range(draws) for layer in rows
    ]
    assert [r.metric for r in results[:2]] == ["mean AUC", "spread of AUC over 4 classes"]
    whole = mean_auc(multilabel_probe(FEATURES, TARGETS, OTHERS), ASKED)
    assert (results[-4].value, results[-3].value) == pytest.approx((whole.mean, whole.spread))
    assert results[-4].value > results[-2].value + 0.2


@pytest.mark.errors
@pytest.mark.parametrize(
    ("features", "targets", "others", "words"),
    [
        (FEATURES[:, :4], TARGETS, OTHERS, r"must be \(n, d\) and \(m, d\) with one d; got \(60, 4\) and \(40, 5\)"),
        (FEATURES, TARGETS[:9], OTHERS, r"must be \(n, k\), a row for each .*; got \(9, 4\) for 60 rows"),
        (FEATURES, TARGETS + 1, OTHERS, r"must be 1 \(there\), 0 \(not there\) or -1"),
        (FEATURES * np.nan, TARGETS, OTHERS, "`features` must be finite; row 0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(features, targets, others, words):
    with pytest.raises(ValueError, match=f"multilabel_probe: .*{words}"):
        multilabel_probe(features, targets, others)
