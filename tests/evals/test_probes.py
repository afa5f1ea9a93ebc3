import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from unshuffle.evals import linear_probe, logistic, mlp_probe, perceptron, probes
from unshuffle.evals.choosing import Job

PROBES = pytest.mark.parametrize("probe", [linear_probe, mlp_probe])


@pytest.fixture(autouse=True)
def no_warning_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr(probes, "MLP_STEPS", 60)
    monkeypatch.setattr(probes, "MLP_ALPHAS", (0.1, 1.0))


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images[:200], labels[:200], images[200:400], labels[200:400]


def blobs(n=60, columns=4, classes=3, seed=0):
    """Groups of rows that lie far apart, whatever the direction."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return np.eye(columns)[labels] * 20 + rng.standard_normal((n, columns)), labels


# Logistic regression


def penalised_loss(weights, features, codes, strength):
    logits = features @ weights[:-1] + weights[-1]
    logits -= logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    n = len(codes)
    return -log_p[np.arange(n), codes].mean() + (weights[:-1] ** 2).sum() / (2 * strength * n)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_the_gradient_of_the_penalised_loss_is_zero_at_the_fit(strength):
    rng = np.random.default_rng(0)
    features, codes = rng.standard_normal((30, 4)) * [1, 10, 0.1, 3], np.arange(30) % 3
    weights = logistic.fit(features, codes, strength=strength, tolerance=1e-9)
    for index in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[index] = 1e-5
        up, down = (penalised_loss(weights + sign * step, features, codes, strength) for sign in (1, -1))
        assert abs(up - down) / 2e-5 < 1e-5


def test_probabilities_equal_scikit_learns(digits):
    features, labels, others, _ = digits
    features, others = probes.standardise(features, others)
    weights = logistic.fit(features, labels, strength=0.1, tolerance=1e-8)
    reference = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(features, labels)
    np.testing.assert_allclose(
        logistic._logits(weights, others), others @ reference.coef_.T + reference.intercept_, atol=1e-3
    )


def test_a_start_changes_where_the_fit_begins_and_not_where_it_ends():
    features, codes = blobs()
    cold = logistic.fit(features, codes, strength=1.0, tolerance=1e-9)
    warm = logistic.fit(features, codes, strength=1.0, tolerance=1e-9, start=np.ones_like(cold))
    np.testing.assert_allclose(cold[:-1], warm[:-1], atol=1e-4)


@pytest.mark.parametrize(("n", "columns"), [(20, 100), (100, 20), (20, 20)])
def test_principal_axes_keep_all_inner_products(n, columns):
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((n, columns)), rng.standard_normal((7, columns))
    turned, turned_others = logistic.onto_principal_axes(features, others)
    assert turned.shape[1] <= min(n, columns)
    np.testing.assert_allclose(turned @ turned.T, features @ features.T, atol=1e-9)
    np.testing.assert_allclose(turned_others @ turned.T, others @ features.T, atol=1e-9)


@pytest.mark.parametrize("columns", [20, 200])
def test_a_fit_on_principal_axes_predicts_what_the_fit_on_the_columns_predicts(columns):
    rng = np.random.default_rng(0)
    features, others, codes = rng.standard_normal((60, columns)), rng.standard_normal((50, columns)), np.arange(60) % 4
    turned, turned_others = logistic.onto_principal_axes(features, others)
    plain, rotated = (logistic.fit(x, codes, strength=0.1, tolerance=1e-10) for x in (features, turned))
    np.testing.assert_allclose(logistic._logits(rotated, turned_others), logistic._logits(plain, others), atol=1e-5)


# The linear probe


def test_regression_is_ridge_regression_in_closed_form_with_the_best_left_out_error():
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((40, 6)), rng.standard_normal((10, 6))
    targets = features @ rng.standard_normal(6) + rng.standard_normal(40) + 5
    x, t = probes.standardise(features, others)
    y = targets - targets.mean()

    def left_out_error(alpha):
        hat = x @ np.linalg.solve(x.T @ x + alpha * np.eye(6), x.T) + 1 / 40
        return (((y - hat @ y) / (1 - np.diag(hat))) ** 2).mean()

    alpha = min(probes.RIDGE_ALPHAS, key=left_out_error)
    expected = t @ np.linalg.solve(x.T @ x + alpha * np.eye(6), x.T @ y) + targets.mean()
    np.testing.assert_allclose(linear_probe(features, targets, others, task="regression"), expected)


@pytest.mark.parametrize("strength", [1e-2, 1.0])
def test_digits_are_read_as_scikit_learn_reads_them_with_the_same_penalty(digits, monkeypatch, strength):
    features, labels, others, truth = digits
    x, t = probes.standardise(features, others)
    reference = LogisticRegression(C=strength, max_iter=5000).fit(x, labels).predict(t)
    monkeypatch.setattr(probes, "LOGISTIC_STRENGTHS", (strength,))
    predictions = linear_probe(features, labels, others, task="classification")
    assert (predictions == reference).mean() >= 0.98
    assert abs((predictions == truth).mean() - (reference == truth).mean()) <= 0.01


def test_the_strength_of_the_penalty_is_chosen_on_held_out_rows():
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((150, 100)), rng.standard_normal((3000, 100))
    targets, truth = features[:, 0] + features[:, 1] > 0, others[:, 0] + others[:, 1] > 0
    found = (linear_probe(features * 1.0, targets, others, task="classification") == truth).mean()
    weak = probes._logistic_path([_turned(features, targets, others)], [10.0])[0][0]
    assert found > (weak == truth).mean()


def _turned(features, targets, others):
    x, t = logistic.onto_principal_axes(*probes.standardise(features, others))
    return Job(x, targets, t)


@pytest.mark.parametrize("columns", [5, 500])
def test_labels_drawn_by_chance_are_predicted_by_chance(columns):
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((200, columns)), rng.standard_normal((400, columns))
    predictions = linear_probe(features, rng.integers(0, 4, 200), others, task="classification")
    assert abs((predictions == rng.integers(0, 4, 400)).mean() - 0.25) < 0.1


def test_classes_with_fewer_rows_than_folds_are_learned():
    features, labels = blobs(12, columns=4, classes=4)
    few = np.array([0, 1, 2, 3, 4, 5, 8, 9])
    assert (linear_probe(features[few], labels[few], features, task="classification") == labels).all()


def test_one_label_a_class_takes_the_default_strength_without_folds():
    features, labels = blobs(40, columns=4, classes=4)
    predictions = linear_probe(features[:4], labels[:4], features, task="classification")
    default = probes._logistic_path([_turned(features[:4], labels[:4], features)], [probes.LOGISTIC_DEFAULT])[0][0]
    assert (predictions == default).all()
    assert (predictions == labels).all()


# Both probes


@PROBES
def test_classes_that_lie_apart_are_told_apart(probe):
    (features, labels), (others, truth) = blobs(seed=0), blobs(seed=1)
    assert (probe(features, labels, others, task="classification") == truth).all()


@PROBES
def test_a_line_is_found(probe):
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((100, 3)), rng.standard_normal((50, 3))
    slope = np.array([1.0, -2.0, 0.5]) * 100
    predictions = probe(features, features @ slope + 1000, others, task="regression")
    truth = others @ slope + 1000
    assert ((predictions - truth) ** 2).mean() < 0.1 * truth.var()


@PROBES
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_scale_and_offset_of_a_column_do_not_matter(probe, task):
    features, labels = blobs()
    others, _ = blobs(seed=1)
    plain = probe(features, labels, others, task=task)
    scale, offset = np.array([1000.0, 0.001, 1.0, 5.0]), np.array([3.0, -1.0, 100.0, 0.0])
    np.testing.assert_allclose(
        probe(features * scale + offset, labels, others * scale + offset, task=task), plain, atol=1e-2
    )


@PROBES
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_column_that_is_constant_in_training_is_not_looked_at(probe, task):
    features, labels = blobs()
    others, _ = blobs(seed=1)
    constant = np.full((60, 1), 0.1)
    first, second = (
        probe(np.hstack([features, constant]), labels, np.hstack([others, surprise]), task=task)
        for surprise in (constant, constant + 1e6)
    )
    assert (first == second).all()


@PROBES
def test_a_test_row_far_outside_the_training_range_is_held_to_it(probe):
    features, targets = np.arange(20.0)[:, None], np.arange(20.0)
    edge, beyond = probe(features, targets, np.array([[38.0], [1e9]]), task="regression")
    assert edge == pytest.approx(beyond, rel=1e-5)  # two rows of one product: a processor may sum them in two orders


@PROBES
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_row_is_predicted_alone_as_among_others(probe, task):
    features, labels = blobs()
    others, _ = blobs(seed=1)
    together = probe(features, labels, others, task=task)
    alone = np.concatenate([probe(features, labels, others[i : i + 1], task=task) for i in (0, 7)])
    np.testing.assert_allclose(alone, together[[0, 7]], rtol=1e-4)


@PROBES
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_same_seed_predicts_the_same(probe, task):
    rng = np.random.default_rng(0)
    features, targets, others = rng.standard_normal((50, 8)), rng.integers(0, 3, 50), rng.standard_normal((20, 8))
    first, again = (probe(features, targets, others, task=task, seed=4) for _ in range(2))
    assert (first == again).all()


@PROBES
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_rows_is_enough(probe, task, n):
    features, targets = np.arange(3.0)[:n, None], np.array([0, 1, 1])[:n]
    predictions = probe(features, targets, np.array([[0.0], [2.0]]), task=task)
    assert np.isfinite(predictions).all()


@PROBES
def test_one_class_alone_is_predicted_for_all(probe):
    features, _ = blobs()
    assert set(probe(features, np.full(60, "piano"), features, task="classification")) == {"piano"}


@PROBES
def test_features_without_any_difference_predict_the_commonest_class(probe):
    labels = np.array([0] * 10 + [1] * 20)
    assert (probe(np.ones((30, 5)), labels, np.ones((4, 5)), task="classification") == 1).all()


@PROBES
def test_pixels_may_be_bytes_and_classes_words(probe):
    features, labels = blobs()
    names = np.array(["flute", "organ", "piano"])[labels]
    pixels = np.clip(features + 10, 0, 255).astype(np.uint8)
    assert (probe(pixels, names, pixels, task="classification") == names).all()


# The perceptron


def test_a_perceptron_learns_exclusive_or_and_a_linear_model_cannot():
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (400, 2))
    labels = (features[:, 0] > 0) ^ (features[:, 1] > 0)
    train, test = slice(0, 300), slice(300, 400)
    mlp, linear = (
        (probe(features[train], labels[train], features[test], task="classification") == labels[test]).mean()
        for probe in (mlp_probe, linear_probe)
    )
    assert mlp > 0.9 > 0.75 > linear


def test_a_perceptron_is_as_wide_as_asked(monkeypatch):
    asked = []
    original = perceptron.fit_predict
    monkeypatch.setattr(
        perceptron,
        "fit_predict",
        lambda *jobs, **options: asked.append(options["hidden"]) or original(*jobs, **options),
    )
    mlp_probe(np.arange(6.0)[:, None], np.arange(6.0), np.zeros((1, 1)), task="regression", hidden=(3, 2))
    assert set(asked) == {(3, 2)}


def test_rows_of_many_columns_keep_their_inner_products_in_columns_of_like_spread():
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((20, 100)) * np.geomspace(1, 100, 100), rng.standard_normal((7, 100))
    turned, turned_others = probes._within_span(features, others)
    assert turned.shape == (20, 20)
    np.testing.assert_allclose(turned @ turned.T, features @ features.T)
    np.testing.assert_allclose(turned_others @ turned.T, others @ features.T, atol=1e-9)
    axes, _ = logistic.onto_principal_axes(features, others)
    assert turned.std(0).max() / turned.std(0).min() < 3 < axes.std(0).max() / axes.std(0).min()


def test_a_perceptron_learns_from_more_columns_than_rows():
    features, labels = blobs(60, columns=120)
    others, truth = blobs(60, columns=120, seed=1)
    assert (mlp_probe(features, labels, others, task="classification") == truth).mean() > 0.7  # by chance: 0.33


def test_a_perceptron_leaves_threads_and_generators_as_they_were(digits):
    features, labels, others, _ = digits
    before, state = torch.get_num_threads(), torch.get_rng_state()
    mlp_probe(features[:20], labels[:20], others, task="classification")
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


# Arguments


@pytest.mark.errors
@PROBES
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "ranking"}, "`task` must be one of 'classification', 'regression'; got 'ranking'"),
        ({"test_features": np.zeros((2, 5))}, r"must be \(n, d\) and \(m, d\) with one d; got \(60, 4\) and \(2, 5\)"),
        ({"features": np.zeros((60, 2, 2))}, r"got \(60, 2, 2\) and \(60, 4\). Flatten"),
        ({"targets": np.zeros(59)}, r"`targets` must hold one entry .* got \(59,\) for 60 rows"),
        ({"features": np.full((60, 4), np.nan)}, "`features` must be finite; row 0"),
        ({"targets": np.full(60, np.inf), "task": "regression"}, "`targets` must be finite; row 0"),
        ({"folds": 1}, "`folds` must be at least 2; got 1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(probe, change, message):
    features, labels = blobs()
    arguments = {"features": features, "targets": labels, "test_features": features, "task": "classification", **change}
    with pytest.raises(ValueError, match=f"{probe.__name__}: .*{message}"):
        probe(**arguments)
