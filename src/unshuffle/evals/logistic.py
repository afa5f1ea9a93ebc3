"""Multinomial logistic regression, fast enough to be fitted hundreds of times.

scikit-learn minimises the same objective, but its L-BFGS sees raw features' spread of scales (on the demo's
spectrograms the largest variance is a thousand times the mean) and needs ten times the iterations. Here the features
are turned onto their principal axes once, which an L2 penalty does not notice, and every axis is scaled by an estimate
of its curvature for the optimiser only: the minimum stays what it was.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.optimize import minimize


def onto_principal_axes(
    features: Num[np.ndarray, "n d"], test_features: Num[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, "m r"]]:
    """Turns rows onto the r <= min(n, d) principal axes that ``features`` spans, losing nothing a linear model uses.

    With X = U S V', the rows become X V = U S and T V. Inner products among the rows of X, and between them and those
    of T, stay what they were, so an L2-penalised linear model (and a kernel method) predicts the same; only the number
    of columns falls, from d to at most n. What T holds outside the span of X meets no weight either way.

    Args:
        features: (n, d) training rows; they should be centred.
        test_features: (m, d) rows to turn with them.

    Returns:
        The turned rows, (n, r) and (m, r); r is 0 where ``features`` is all zero.

    Example:
        >>> rows = np.array([[3.0, 0.0, 4.0], [-3.0, 0.0, -4.0]])
        >>> turned, _ = onto_principal_axes(rows, rows)
        >>> turned.shape, bool(np.allclose(turned @ turned.T, rows @ rows.T))
        ((2, 1), True)
    """
    wide = features.shape[1] > features.shape[0]
    squares, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = squares > 1e-12 * max(squares[-1], np.finfo(float).tiny)
    squares, vectors = squares[kept], vectors[:, kept]
    if not wide:
        return features @ vectors, test_features @ vectors
    lengths = np.sqrt(squares)
    return vectors * lengths, (test_features @ features.T) @ (vectors / lengths)


def fit(
    features: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, "n"],
    *,
    strength: float,
    start: Float[np.ndarray, "d+1 k"] | None = None,
    tolerance: float = 1e-3,
    max_iter: int = 500,
) -> Float[np.ndarray, "d+1 k"]:
    r"""Minimises the penalised cross-entropy of a linear classifier.

    .. math:: \frac1n \sum_i -\log \mathrm{softmax}(W^\top x_i + b)_{y_i} + \frac{1}{2 C n} \lVert W \rVert^2

    Args:
        features: (n, d); the matrix products run in their dtype, the sums in float64. Any basis gives the same
            minimum, principal axes give it soonest.
        codes: (n,) classes 0 … k − 1, each of them present.
        strength: C > 0, scikit-learn's: small is a strong penalty.
        start: where to start, the result of a neighbouring ``strength``; zeros otherwise.
        tolerance: stops when no entry of the gradient, in the optimiser's scale, exceeds it.
        max_iter: stops there without a word: the objective has long been flat.

    Returns:
        (d + 1, k) weights, the last row the intercepts.

    Example:
        >>> weights = fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), strength=1.0)
        >>> predict(weights, np.array([[-2.0], [0.5]]))
        array([0, 1])
    """
    n, columns, classes = len(features), features.shape[1], int(codes.max()) + 1
    penalty = 1 / (strength * n)
    scale = _scale(features, classes, penalty)
    onehot = np.eye(classes, dtype=features.dtype)[codes]

    def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scaled.reshape(columns + 1, classes) * scale
        loss, residual = _cross_entropy(_logits(weights, features), onehot)
        gradient = np.vstack([features.T @ residual, residual.sum(0)]) / n
        gradient[:-1] += penalty * weights[:-1]
        return loss / n + penalty / 2 * float((weights[:-1] ** 2).sum()), (gradient * scale).ravel()

    first = np.zeros((columns + 1, classes)) if start is None else start / scale
    options = {"gtol": tolerance, "ftol": 1e-12, "maxiter": max_iter}
    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(columns + 1, classes) * scale


def predict(weights: Float[np.ndarray, "rows k"], features: Float[np.ndarray, "m d"]) -> Int[np.ndarray, "m"]:
    """Returns each row's likeliest class; of equals, the first."""
    return _logits(weights, features).argmax(1)


def _scale(features: np.ndarray, classes: int, penalty: float) -> np.ndarray:
    """One over the root of the curvature along each weight, p(1 - p) taken where training starts, at p = 1 / k."""
    curvature = max((classes - 1) / classes**2, 1e-3)
    variance = np.einsum("nd,nd->d", features, features, dtype=np.float64) / len(features)
    return 1 / np.sqrt(np.append(curvature * variance + penalty, curvature))[:, None]


def _logits(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    weights = weights.astype(features.dtype)
    return features @ weights[:-1] + weights[-1]


def _cross_entropy(logits: np.ndarray, onehot: np.ndarray) -> tuple[float, np.ndarray]:
    """The summed loss, and its gradient with respect to the logits (which are overwritten)."""
    logits -= logits.max(1, keepdims=True)
    true_class = np.einsum("nk,nk->", logits, onehot, dtype=np.float64)
    np.exp(logits, out=logits)
    total = logits.sum(1, keepdims=True)
    loss = float(np.log(total, dtype=np.float64).sum() - true_class)
    logits /= total
    logits -= onehot
    return loss, logits
