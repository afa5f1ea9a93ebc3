"""A linear probe for samples with several labels: every class is a question of its own, there or not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.optimize import minimize
from scipy.special import expit

from unshuffle import _check
from unshuffle.evals import logistic
from unshuffle.evals.metrics import auc_by_class
from unshuffle.evals.probes import LOGISTIC_DEFAULT, LOGISTIC_STRENGTHS, one_thread, standardise


def multilabel_probe(
    features: Num[np.ndarray, "n d"],
    targets: Int[np.ndarray, "n k"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: str = "multilabel",
    seed: int = 0,
    folds: int = 3,
) -> Float[np.ndarray, "m k"]:
    r"""Scores new rows by one regularised logistic regression a class, all on the same frozen features.

    For each class, over the rows where it is known,

    .. math:: \sum_i \log(1 + e^{-s_i (w^\top x_i + b)}) + \frac{1}{2 C} \lVert w \rVert^2, \quad s_i = \pm 1

    with C chosen class by class among the strengths of the linear probe, by the area under the curve of held-out rows;
    of equals the one nearest to the default wins. A class of which only one kind of rows is known scores 0 everywhere.

    Args:
        features: (n, d) of the labelled rows; standardised as all probes do.
        targets: (n, k) of 1 (there), 0 (not there) and -1 (not to be judged: left out).
        test_features: (m, d) of the rows to score.
        task: ``"multilabel"``.
        seed: of the division into folds.
        folds: how many; at least 2. Fewer where there are fewer rows.

    Returns:
        (m, k) scores: larger means that the class is more likely there.

    Raises:
        ValueError: the shapes do not fit, a target is another number, or an option is not accepted.

    Example:
        >>> features, there = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
        >>> multilabel_probe(features, there, np.array([[-1.0], [9.0]])) > 0
        array([[False,  True],
               [ True, False]])
    """
    _refuse(features, targets, test_features, task, folds)
    features, test_features = standardise(features, test_features)
    with one_thread():
        features, test_features = logistic.onto_principal_axes(features, test_features)
        chosen = _choose(features, targets, seed, min(folds, len(features)))
        scores = np.zeros((len(test_features), targets.shape[1]))
        for strength in np.unique(chosen):
            columns = chosen == strength
            scores[:, columns] = _path(features, targets[:, columns], [strength], test_features)[0]
    return scores


def _choose(features: np.ndarray, targets: np.ndarray, seed: int, folds: int) -> np.ndarray:
    """Each class's strength."""
    order = np.random.default_rng(seed).permutation(len(features))
    gains = np.zeros((len(LOGISTIC_STRENGTHS), targets.shape[1]))
    for fold in range(folds if folds > 1 else 0):
        held = np.zeros(len(features), dtype=bool)
        held[order[fold::folds]] = True
        scores = _path(features[~held], targets[~held], LOGISTIC_STRENGTHS, features[held])
        # Where a held-out fold knows one kind of rows only, every strength is as good as any.
        gains += [np.nan_to_num(auc_by_class(s, targets[held]), nan=0.5) for s in scores]
    distance = np.abs(np.log(np.array(LOGISTIC_STRENGTHS) / LOGISTIC_DEFAULT))
    best = [np.lexsort((distance, -column.round(12)))[0] for column in gains.T]
    return np.array(LOGISTIC_STRENGTHS)[best]


def _path(
    features: np.ndarray, targets: np.ndarray, strengths: Sequence[float], others: np.ndarray
) -> list[np.ndarray]:
    """The scores of other rows by one strength after the other, each fit starting where the last ended."""
    weights, scores = None, []
    for strength in strengths:
        weights = _fit(features, targets, strength, weights)
        scores.append(others @ weights[:-1] + weights[-1])
    return scores


def _fit(features: np.ndarray, targets: np.ndarray, strength: float, start: np.ndarray | None) -> np.ndarray:
    """(d + 1, k) weights, the last row the intercepts: one optimisation for all classes, whose sum falls apart."""
    n, shape = len(features), (features.shape[1] + 1, targets.shape[1])
    known = (targets >= 0).astype(np.float64)
    known *= (known * targets).any(0) & (known * (1 - targets)).any(0)  # one kind of rows alone teaches nothing
    penalty = 1 / (strength * n)
    variance = (features**2).mean(0)
    scale = 1 / np.sqrt(np.append(variance / 4 + penalty, 0.25))[:, None]

    def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scaled.reshape(shape) * scale
        logits = features @ weights[:-1] + weights[-1]
        loss = float((known * (np.logaddexp(0, logits) - targets * logits)).sum()) / n
        residual = known * (expit(logits) - targets) / n
        gradient = np.vstack([features.T @ residual + penalty * weights[:-1], residual.sum(0)])
        return loss + penalty / 2 * float((weights[:-1] ** 2).sum()), (gradient * scale).ravel()

    first = np.zeros(shape) if start is None else start / scale
    options = {"gtol": 1e-4, "ftol": 1e-12, "maxiter": 500}
    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape) * scale


def _refuse(features: np.ndarray, targets: np.ndarray, test_features: np.ndarray, task: str, folds: int) -> None:
    _check.one_of("multilabel_probe", "task", task, ("multilabel",))
    if features.ndim != 2 or test_features.ndim != 2 or features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"multilabel_probe: `features` and `test_features` must be (n, d) and (m, d) with one d; got "
            f"{features.shape} and {test_features.shape}. Flatten each sample to one row first."
        )
    if targets.ndim != 2 or len(targets) != len(features) or len(features) == 0:
        raise ValueError(
            f"multilabel_probe: `targets` must be (n, k), a row for each of at least one row of `features`; got "
            f"{targets.shape} for {len(features)} rows."
        )
    if not np.isin(targets, (-1, 0, 1)).all():
        raise ValueError("multilabel_probe: `targets` must be 1 (there), 0 (not there) or -1 (not to be judged).")
    for name, rows in {"features": features, "test_features": test_features}.items():
        finite = np.isfinite(rows).all(1)
        if not finite.all():
            raise ValueError(f"multilabel_probe: `{name}` must be finite; row {finite.argmin()} holds NaN or infinity.")
    if folds < 2:
        raise ValueError(f"multilabel_probe: `folds` must be at least 2; got {folds}.")
