import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.metrics import mean_squared_error as sklearn_mse

from unshuffle.evals import accuracy, mean_squared_error, score


def test_accuracy_equals_scikit_learns():
    rng = np.random.default_rng(0)
    predictions, targets = rng.integers(0, 4, (2, 100))
    assert accuracy(predictions, targets) == accuracy_score(targets, predictions)


def test_accuracy_compares_words():
    assert accuracy(np.array(["a", "b"]), np.array(["a", "c"])) == 0.5


def test_mean_squared_error_equals_scikit_learns():
    rng = np.random.default_rng(0)
    predictions, targets = rng.standard_normal((2, 100))
    assert mean_squared_error(predictions, targets) == pytest.approx(sklearn_mse(targets, predictions))


def test_unsigned_bytes_do_not_wrap_around():
    assert mean_squared_error(np.array([0], dtype=np.uint8), np.array([200], dtype=np.uint8)) == 40_000


def test_each_task_has_its_metric():
    assert score("classification", np.array([1, 2]), np.array([1, 1])) == ("accuracy", 0.5)
    assert score("regression", np.array([1.0, 2.0]), np.array([1.0, 1.0])) == ("mse", 0.5)


@pytest.mark.errors
def test_another_task_is_refused():
    with pytest.raises(ValueError, match="score: `task` must be one of 'classification', 'regression'; got 'ranking'"):
        score("ranking", np.zeros(1), np.zeros(1))  # pyright: ignore[reportArgumentType]


@pytest.mark.errors
@pytest.mark.parametrize(("predictions", "targets"), [(np.zeros(3), np.zeros(2)), (np.zeros(0), np.zeros(0))])
def test_unequal_or_empty_arrays_are_refused(predictions, targets):
    with pytest.raises(ValueError, match="accuracy: `predictions` and `targets` must have one shape"):
        accuracy(predictions, targets)
    with pytest.raises(ValueError, match="mean_squared_error: `predictions` and `targets` must have one shape"):
        mean_squared_error(predictions, targets)
