"""What learns an order from frozen features: RankSVM and RankNet, linear scores from pairs.

Both take features and values of the samples to learn from, and score new samples; larger scores belong later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from unshuffle import permutations
from unshuffle.losses import PairwiseLogistic

PENALTIES = tuple(10.0**k for k in range(-4, 3))
FOLDS = 3


def rank_svm(
    features: np.ndarray,
    values: np.ndarray,
    new: np.ndarray,
    *,
    penalties: Sequence[float] = PENALTIES,
    most_pairs: int = 5000,
    seed: int = 0,
) -> np.ndarray:
    """Scores samples by a linear function that puts pairs in order with a margin.

    .. math:: \\min_w \\; \\tfrac12 |w|^2 + C \\, \\mathrm{mean}_{(i, j)} \\max(0, 1 - w^T (x_i - x_j))^2

    over pairs of which i belongs after j; tied pairs say nothing. Features are standardised. C is chosen by folds of
    the samples, so that no sample is in a pair to learn from and in one to judge by.

    Args:
        features: (N, d).
        values: (N,) by which the samples are ordered; equal ones tie.
        new: (M, d) to be scored.
        penalties: values of C to choose from.
        most_pairs: of more pairs, so many are drawn at random.
        seed: of folds and pairs.

    Returns:
        (M,) scores.

    Raises:
        ValueError: all values tie.

    Source: Joachims, "Optimizing Search Engines using Clickthrough Data", KDD 2002; the baseline of Parikh & Grauman
    2011, whose term for tied pairs is left out.
    """
    known, asked = _standardized(features, new)

    def scored(learn: np.ndarray, judge: np.ndarray, penalty: float) -> np.ndarray:
        return judge @ _svm(known[learn], values[learn], penalty, most_pairs, seed)

    best = _chosen("rank_svm", known, values, penalties, scored, seed)
    return scored(np.arange(len(known)), asked, best)


def rank_net(
    features: np.ndarray,
    values: np.ndarray,
    new: np.ndarray,
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> np.ndarray:
    """Scores samples by a linear function under which the order of all pairs is likeliest; ties pull together.

    As :func:`rank_svm`, with the logistic loss of RankNet, C times its mean over all pairs, tied ones with target 1/2,
    in place of the hinge. The minimum is unique and found exactly.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, with one layer.
    """
    known, asked = _standardized(features, new)

    def scored(learn: np.ndarray, judge: np.ndarray, penalty: float) -> np.ndarray:
        return judge @ _logistic(known[learn], values[learn], penalty)

    best = _chosen("rank_net", known, values, penalties, scored, seed)
    return scored(np.arange(len(known)), asked, best)


def _svm(features: np.ndarray, values: np.ndarray, penalty: float, most: int, seed: int) -> np.ndarray:
    """The weights (d,) of squared hinges of differences."""
    from sklearn.svm import LinearSVC

    later, earlier = np.nonzero(values[:, None] > values[None, :])
    rng = np.random.default_rng(seed)
    if len(later) > most:
        drawn = rng.choice(len(later), most, replace=False)
        later, earlier = later[drawn], earlier[drawn]
    # A machine without intercept does not care which way round a pair is; it does want two classes.
    sign = np.where(np.arange(len(later)) % 2, 1.0, -1.0)
    differences = sign[:, None] * (features[later] - features[earlier])
    if len(later) == 1:
        differences, sign = np.concatenate([differences, -differences]), np.array([sign[0], -sign[0]])
    machine = LinearSVC(C=penalty / len(sign), fit_intercept=False, dual="auto", max_iter=5000, random_state=seed)
    return machine.fit(differences, sign).coef_[0]


def _logistic(features: np.ndarray, values: np.ndarray, penalty: float) -> np.ndarray:
    """The weights (d,) of pairwise logistic losses, by L-BFGS."""
    from scipy.optimize import minimize

    inputs = torch.from_numpy(features)
    ranks = permutations.to_ranks(torch.from_numpy(values).double())[None]
    share = penalty / math.comb(len(values), 2)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(weights).requires_grad_()
        loss = share * PairwiseLogistic().loss((inputs @ w)[None], ranks, None).sum() + w.square().sum() / 2
        (slope,) = torch.autograd.grad(loss, w)
        return float(loss.detach()), slope.numpy()

    return minimize(cost, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x


def _standardized(features: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts with mean 0 and deviation 1 of the first, constant features 0, in float64."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    safe = np.where(deviation > 1e-12 * (1 + np.abs(mean)), deviation, np.inf)
    return (features - mean) / safe, (new - mean) / safe


def _chosen(
    function: str,
    features: np.ndarray,
    values: np.ndarray,
    penalties: Sequence[float],
    scored: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
    seed: int,
) -> float:
    """The penalty under which pairs of samples not learnt from are put in order best; of equal ones the smallest."""
    if len(np.unique(values)) < 2:
        raise ValueError(
            f"{function}: `values` must hold two different ones at least, to make a pair that has an order."
        )
    if len(penalties) == 1:
        return penalties[0]
    folds = np.random.default_rng(seed).permutation(len(values)) % FOLDS
    parts = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(FOLDS)]
    sound = [(a, b) for a, b in parts if min(len(np.unique(values[a])), len(np.unique(values[b]))) > 1]
    right = [
        sum(_right_pairs(scored(a, features[b], penalty), values[b]) for a, b in sound) for penalty in sorted(penalties)
    ]
    return sorted(penalties)[int(np.argmax(right))]


def _right_pairs(scores: np.ndarray, values: np.ndarray) -> float:
    """Share of the pairs with an order that are put in it."""
    later, earlier = np.nonzero(values[:, None] > values[None, :])
    return float((scores[later] > scores[earlier]).mean())
