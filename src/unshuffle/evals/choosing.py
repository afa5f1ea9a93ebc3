"""Choosing a setting by cross-validation on the labelled rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from unshuffle.evals.metrics import score

Kind: TypeAlias = Literal["classification", "regression"]


class Job(NamedTuple):
    """Rows to learn from, (n, ...) with their targets (n,), and rows to predict, (m, ...)."""

    features: np.ndarray
    targets: np.ndarray
    others: np.ndarray


# (jobs, settings) -> predictions (m,), [job][setting]
Fit: TypeAlias = Callable[[Sequence[Job], Sequence[float]], list[list[np.ndarray]]]


def choose(
    fit: Fit,
    features: np.ndarray,
    targets: np.ndarray,
    settings: tuple[float, ...],
    *,
    default: float,
    task: Kind,
    seed: int,
    folds: int,
) -> float:
    """Returns the setting that predicts held-out rows best; of equals, the one nearest to the default.

    Args:
        fit: learns and predicts; asked once, for all folds and settings.
        features: (n, ...) labelled rows.
        targets: (n,).
        settings: positive numbers.
        default: the answer where no class has two rows, so that nothing can be held out.
        task: decides what is best: accuracy, or squared error; and whether folds are stratified.
        seed: of the division into folds.
        folds: how many, at least 2; fewer where there are fewer rows.
    """
    if task == "classification" and len(np.unique(targets)) == len(targets):
        return default
    fold_of = deal(targets, task, min(folds, len(targets)), seed)
    held_out = [fold_of == fold for fold in range(fold_of.max() + 1)]
    jobs = [Job(features[~held], targets[~held], features[held]) for held in held_out]
    gains = np.zeros(len(settings))
    for held, predictions in zip(held_out, fit(jobs, settings)):
        gains += [_gain(task, predicted, targets[held]) for predicted in predictions]
    distance = np.abs(np.log(np.array(settings) / default))
    return settings[int(np.lexsort((distance, -gains))[0])]


def deal(targets: np.ndarray, task: Kind, folds: int, seed: int) -> np.ndarray:
    """Deals the rows round and round to the folds, in random order, class after class."""
    order = np.random.default_rng(seed).permutation(len(targets))
    if task == "classification":
        order = order[np.argsort(targets[order], kind="stable")]
    fold_of = np.empty(len(targets), dtype=int)
    fold_of[order] = np.arange(len(targets)) % folds
    return fold_of


def _gain(task: Kind, predictions: np.ndarray, targets: np.ndarray) -> float:
    metric, value = score(task, predictions, targets)
    return len(targets) * (value if metric == "accuracy" else -value)
