"""What a frozen representation is worth without any training: ask the nearest labelled rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from sklearn.neighbors import NearestNeighbors

from unshuffle import _check

# Similarities held at once: 2**24 float32 numbers are 64 MiB.
_CHUNK = 2**24


def knn_predict(
    features: Num[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> Int[np.ndarray, "m"]:
    r"""Predicts the class of each row by a weighted vote of its nearest neighbours.

    With s_i the cosine similarity to labelled row i, the k most similar rows vote for their class,

    .. math:: \hat y = \arg\max_c \sum_{i \in N_k} [y_i = c] \; e^{s_i / T}

    Of equal sums the smallest class wins. Test rows are taken in chunks, so memory stays bounded.

    Args:
        features: (n, d) of the labelled rows; normalised here. A zero row is similar to nothing (0), not NaN.
        labels: (n,) classes from 0.
        test_features: (m, d) of the rows to predict.
        k: how many neighbours vote; all of them where there are fewer.
        temperature: T > 0; the smaller, the more the nearest alone decides.
        num_classes: one more than the largest class; found in ``labels`` when not given.

    Returns:
        (m,) int64 classes.

    Raises:
        ValueError: shapes do not fit, there are no rows, a label lies outside the classes, or an option is not
            positive.

    Example:
        >>> bank = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> knn_predict(bank, np.array([0, 0, 1]), np.array([[5.0, 1.0], [1.0, 5.0]]), k=1)
        array([0, 1])

    Source: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section
    3.4; as evaluated in GroCo.
    """
    _check.positive("knn_predict", "k", k)
    _check.positive("knn_predict", "temperature", temperature)
    num_classes = _classes(features, labels, test_features, num_classes)
    bank, queries = _normalise(features), _normalise(test_features)
    rows = max(1, _CHUNK // max(len(bank), num_classes))
    chunks = [queries[i : i + rows] for i in range(0, len(queries), rows)]
    votes = [_vote(chunk @ bank.T, labels, min(k, len(bank)), temperature, num_classes) for chunk in chunks]
    return np.concatenate([v.argmax(1) for v in votes]) if votes else np.empty(0, dtype=np.int64)


def knn_probe(
    features: Num[np.ndarray, "n d"],
    targets: Int[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: str = "classification",
    seed: int = 0,
) -> Int[np.ndarray, "m"]:
    """:func:`knn_predict` with its defaults, as a probe.

    Raises:
        ValueError: the task is regression.
    """
    _check.one_of("knn_probe", "task", task, ("classification",))
    return knn_predict(features, targets, test_features)


def nearest_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: str = "classification",
    seed: int = 0,
) -> Shaped[np.ndarray, "m"]:
    """Gives every row the target of the one nearest labelled row, by Euclidean distance.

    It has nothing to choose or to fit, so it works with one label a class and on a single feature. Features are taken
    as they are: deviations estimated from a handful of rows would only blur the distances, those of raw pixels most.
    """
    bank = NearestNeighbors(n_neighbors=1).fit(features)
    nearest = bank.kneighbors(test_features, return_distance=False)
    return targets[nearest[:, 0]]


def _vote(
    similarities: np.ndarray, labels: np.ndarray, k: int, temperature: float, num_classes: int
) -> Float[np.ndarray, "m c"]:
    nearest = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
    chosen = np.take_along_axis(similarities, nearest, axis=1).astype(np.float64)
    # Measured from the row's best: the vote's winner is the same, and no temperature overflows.
    weights = np.exp((chosen - chosen.max(1, keepdims=True)) / temperature)
    slots = labels[nearest] + num_classes * np.arange(len(nearest))[:, None]
    return np.bincount(slots.ravel(), weights.ravel(), num_classes * len(nearest)).reshape(-1, num_classes)


def _normalise(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _classes(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, num_classes: int | None) -> int:
    if features.ndim != 2 or test_features.ndim != 2 or features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"knn_predict: `features` and `test_features` must be (n, d) and (m, d) with one d; got "
            f"{features.shape} and {test_features.shape}. Flatten each sample to one row first."
        )
    if len(features) == 0 or labels.shape != (len(features),):
        raise ValueError(
            f"knn_predict: `labels` must hold one class for each of at least one row of `features`; got "
            f"{labels.shape} for {len(features)} rows."
        )
    found = int(labels.max()) + 1
    if labels.min() < 0 or found > (num_classes or found):
        raise ValueError(
            f"knn_predict: `labels` must be classes from 0 to {(num_classes or found) - 1}; got "
            f"{labels.min()} to {labels.max()}. Give `num_classes`, or number the classes from 0."
        )
    return num_classes or found
