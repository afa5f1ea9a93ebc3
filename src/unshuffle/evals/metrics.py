"""The figures of the score tables: accuracy for classes, squared error for numbers, ROC areas for several labels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from sklearn.metrics import roc_auc_score

from unshuffle import _check


def accuracy(predictions: Shaped[np.ndarray, "n"], targets: Shaped[np.ndarray, "n"]) -> float:
    """Returns the share of predictions that equal their target, from 0 to 1; higher is better.

    Raises:
        ValueError: the shapes differ, or there is nothing to score.

    Example:
        >>> accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]))
        0.75
    """
    _refuse("accuracy", predictions, targets)
    kinds = {kind if (kind := values.dtype.kind) in "USO" else "numbers" for values in (predictions, targets)}
    if len(kinds - {"O"}) > 1:
        raise TypeError(
            "accuracy: `predictions` and `targets` must both be numbers, both str, or both bytes: no two others are "
            f"equal; got {predictions.dtype} and {targets.dtype}."
        )
    return float((predictions == targets).mean())


def top_accuracy(scores: Num[np.ndarray, "n k"], targets: Int[np.ndarray, "n"], *, within: int = 5) -> float:
    """Returns the share of rows whose class is among the ``within`` best scored, from 0 to 1; higher is better.

    Of equal scores the smaller class counts as the better one.

    Raises:
        ValueError: the shapes do not fit, there is nothing to score, or ``within`` is not positive.

    Example:
        >>> top_accuracy(np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]), np.array([2, 2]), within=2)
        0.5
    """
    _check.positive("top_accuracy", "within", within)
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or not targets.size:
        raise ValueError(
            f"top_accuracy: `scores` must be (n, k) and `targets` (n,), n at least 1; got {scores.shape} and "
            f"{targets.shape}."
        )
    _refuse_nan("top_accuracy", "scores", scores)
    # Sorted from the right, so that equal scores keep their order; unsigned scores have no negative to sort by.
    best = scores.shape[1] - 1 - np.argsort(scores[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :within]
    return float((best == targets[:, None]).any(1).mean())


def mean_squared_error(predictions: Num[np.ndarray, "n"], targets: Num[np.ndarray, "n"]) -> float:
    """Returns the mean of the squared errors, in the squared unit of the targets; lower is better.

    Raises:
        ValueError: the shapes differ, or there is nothing to score.

    Example:
        >>> mean_squared_error(np.array([60.0, 62.0]), np.array([60, 65]))
        4.5
    """
    _refuse("mean_squared_error", predictions, targets)
    _refuse_other_than_numbers("mean_squared_error", "predictions", predictions)
    _refuse_other_than_numbers("mean_squared_error", "targets", targets)
    return float(np.square(predictions.astype(np.float64) - targets.astype(np.float64)).mean())


class MeanAUC(NamedTuple):
    """Areas under the curve, class by class: their mean, their standard deviation, and over how many classes."""

    mean: float
    spread: float
    classes: int


def mean_auc(scores: Num[np.ndarray, "n k"], targets: Int[np.ndarray, "n k"]) -> MeanAUC:
    """Returns the mean over classes of the area under the ROC curve, and its spread over classes; higher is better.

    A class's area is the chance that a row in which it is scores above one in which it is not; 0.5 is guessing. The
    deviation is that of the classes from their mean (with k), not an uncertainty of the mean.

    Args:
        scores: (n, k), larger where a class is more likely there.
        targets: (n, k) of 1 (there), 0 (not there) and -1 (not to be judged: left out of its class).

    Raises:
        ValueError: the shapes differ, or no class has both kinds of rows.

    Example:
        >>> mean_auc(np.array([[0.9, 0.2], [0.1, 0.3], [0.4, 0.1]]), np.array([[1, 0], [0, 1], [-1, 0]]))
        MeanAUC(mean=1.0, spread=0.0, classes=2)
    """
    areas = auc_by_class(scores, targets)
    judged = areas[~np.isnan(areas)]
    if len(judged) == 0:
        raise ValueError("mean_auc: `targets` must know, of one class at least, a row with it and a row without.")
    return MeanAUC(float(judged.mean()), float(judged.std()), len(judged))


def auc_by_class(scores: Num[np.ndarray, "n k"], targets: Int[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
    """Returns each class's area under the ROC curve; NaN where rows of only one kind are known.

    Raises:
        ValueError: the shapes differ, or there is nothing to score.
    """
    _refuse("auc_by_class", scores, targets, name="scores")
    _refuse_nan("auc_by_class", "scores", scores)
    _refuse_nan("auc_by_class", "targets", targets)
    areas = np.full(targets.shape[1], np.nan)
    for column, (score_, target) in enumerate(zip(scores.T, targets.T)):
        known = target >= 0
        if len(np.unique(target[known])) == 2:
            areas[column] = roc_auc_score(target[known], score_[known])
    return areas


def score(
    task: Literal["classification", "regression"],
    predictions: Shaped[np.ndarray, "n"],
    targets: Shaped[np.ndarray, "n"],
) -> tuple[str, float]:
    """Scores predictions by their task's own metric.

    Args:
        task: ``"classification"`` or ``"regression"``.
        predictions: (n,) classes or numbers.
        targets: (n,) the truth.

    Returns:
        The metric's name, ``"accuracy"`` or ``"mse"``, and its value.

    Raises:
        ValueError: the task is another, the shapes differ, or there is nothing to score.

    Example:
        >>> score("classification", np.array([0, 1]), np.array([0, 2]))
        ('accuracy', 0.5)
    """
    _check.one_of("score", "task", task, ("classification", "regression"))
    if task == "classification":
        return "accuracy", accuracy(predictions, targets)
    return "mse", mean_squared_error(predictions, targets)


def _refuse_nan(function: str, name: str, values: np.ndarray) -> None:
    """Refuse NaN, and what is not real."""
    _refuse_other_than_numbers(function, name, values)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(f"{function}: `{name}` must not be NaN; got {int(np.isnan(values).sum())} of {values.size}.")


def _refuse_other_than_numbers(function: str, name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{function}: `{name}` must be real numbers; got dtype {values.dtype}.")


def _refuse(function: str, predictions: np.ndarray, targets: np.ndarray, *, name: str = "predictions") -> None:
    if predictions.shape != targets.shape or targets.size == 0:
        raise ValueError(
            f"{function}: `{name}` and `targets` must have one shape, with at least one entry; got "
            f"{predictions.shape} and {targets.shape}."
        )
