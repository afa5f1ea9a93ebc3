"""The figures of the score tables: accuracy for classes, mean squared error for numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Num, Shaped

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
    return float((predictions == targets).mean())


def mean_squared_error(predictions: Num[np.ndarray, "n"], targets: Num[np.ndarray, "n"]) -> float:
    """Returns the mean of the squared errors, in the squared unit of the targets; lower is better.

    Raises:
        ValueError: the shapes differ, or there is nothing to score.

    Example:
        >>> mean_squared_error(np.array([60.0, 62.0]), np.array([60, 65]))
        4.5
    """
    _refuse("mean_squared_error", predictions, targets)
    return float(np.square(predictions.astype(np.float64) - targets.astype(np.float64)).mean())


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


def _refuse(function: str, predictions: np.ndarray, targets: np.ndarray) -> None:
    if predictions.shape != targets.shape or targets.size == 0:
        raise ValueError(
            f"{function}: `predictions` and `targets` must have one shape, with at least one entry; got "
            f"{predictions.shape} and {targets.shape}."
        )
