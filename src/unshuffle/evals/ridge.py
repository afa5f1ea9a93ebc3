"""A linear probe in closed form: least squares on the classes, its penalty chosen without fitting twice."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from unshuffle import _check
from unshuffle.evals.probes import one_thread, refuse_misfits, standardise

PENALTIES = tuple(np.logspace(-4, 4, 17))
"""Tried in turn, in units of the mean square of the standardised features' singular values."""


def ridge_scores(
    features: Num[np.ndarray, "n d"],
    codes: Int[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    num_classes: int | None = None,
) -> Float[np.ndarray, "m k"]:
    r"""Scores each class for new rows by ridge regression on its indicator.

    With X the standardised features, Y the centred indicators and one decomposition of X'X,

    .. math:: W = (X^\top X + \lambda I)^{-1} X^\top Y

    is had for every penalty at once, and so is what each row would have been given had it been left out,
    (f - h y) / (1 - h) with its leverage h. The penalty with the most rows right when left out is taken, the larger of
    equals. A whole fit costs about as much as one step of a logistic regression's search: the probe for large data.

    Args:
        features: (n, d) of the labelled rows; standardised here.
        codes: (n,) classes from 0.
        test_features: (m, d) of the rows to predict.
        num_classes: one more than the largest class; found in ``codes`` when not given.

    Returns:
        (m, k) scores: estimates of the share of each class, larger where it is more likely.

    Raises:
        ValueError: shapes do not fit, a number is not finite, or there are no rows.

    Example:
        >>> ridge_scores(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1]), np.array([[-1.0]])).argmax()
        np.int64(0)
    """
    refuse_misfits("ridge_scores", features, codes, test_features)
    classes = int(codes.max()) + 1 if num_classes is None else num_classes
    share = np.bincount(codes, minlength=classes) / len(codes)
    with one_thread():
        rows, others = standardise(features, test_features)
        wide = rows.shape[1] > rows.shape[0]
        squares, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
        kept = squares > 1e-10 * max(squares[-1], np.finfo(float).tiny)
        squares, vectors = squares[kept], vectors[:, kept]
        axes = rows.T @ (vectors / np.sqrt(squares)) if wide else vectors
        turned = rows @ axes
        # X'Y of the centred indicators; the features' columns have mean 0, so the centre drops out.
        slope = np.stack([turned[codes == c].sum(0) for c in range(classes)], 1)
        penalty = _chosen(turned, squares, slope, codes, share)
        return others @ axes @ (slope / (squares + penalty)[:, None]) + share


def ridge_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: str = "classification",
    seed: int = 0,
) -> Shaped[np.ndarray, "m"]:
    """:func:`ridge_scores` as a probe: each row's likeliest class. Nothing is drawn; ``seed`` changes nothing.

    Raises:
        ValueError: the task is regression, or :func:`ridge_scores` refuses the rows.
    """
    _check.one_of("ridge_probe", "task", task, ("classification",))
    classes, codes = np.unique(targets, return_inverse=True)
    return classes[ridge_scores(features, codes, test_features).argmax(1)]


def _chosen(turned: np.ndarray, squares: np.ndarray, slope: np.ndarray, codes: np.ndarray, share: np.ndarray) -> float:
    """The penalty under which most rows are classified rightly by the fit without them."""
    if not len(squares):
        return 1.0
    right = {unit * squares.mean(): 0 for unit in PENALTIES}
    for penalty in right:
        fitted = turned @ (slope / (squares + penalty)[:, None]) + share
        leverage = (turned**2 / (squares + penalty)).sum(1) + 1 / len(codes)
        left = 1 - np.minimum(leverage, 1 - 1e-9)[:, None]
        # Without itself a row is given (f - h y) / (1 - h); y is 1 for its own class alone.
        fitted[np.arange(len(codes)), codes] -= leverage
        right[penalty] = int(((fitted / left).argmax(1) == codes).sum())
    return max(right, key=lambda penalty: (right[penalty], penalty))
