"""What a frozen representation is worth without any training: ask the nearest labelled rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from sklearn.neighbors import NearestNeighbors

from unshuffle import _check
from unshuffle.evals.nearest import Nearest, nearest_rows, refuse_shapes

# Sums of votes held at once: 2**20 float64 numbers are 8 MiB.
_SUMS = 2**20


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

    Of equal sums the smallest class wins, of equally similar rows the one with the smaller index votes; see
    :func:`~unshuffle.evals.nearest.nearest_rows`. Memory stays bounded, whatever the number of rows. For several k
    search once, with the largest, and let :func:`vote` count.

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
    refuse_shapes("knn_predict", features, test_features)
    num_classes = _classes(features, labels, num_classes)
    found = nearest_rows(features, test_features, k=k)
    return vote(found, labels, k=k, temperature=temperature, num_classes=num_classes)


def vote(
    found: Nearest,
    labels: Int[np.ndarray, "n"],
    *,
    k: int,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> Int[np.ndarray, "m"]:
    """The vote of :func:`knn_predict` among rows that were found before.

    Args:
        found: of each row to predict the nearest labelled ones, k of them or more.
        labels: (n,) classes from 0, of all labelled rows.
        k: how many of them vote; all where there are fewer.
        temperature: T > 0.
        num_classes: one more than the largest class; found in ``labels`` when not given.

    Returns:
        (m,) int64 classes.

    Raises:
        ValueError: an option is not positive.

    Example:
        >>> found = nearest_rows(np.eye(3), np.array([[3.0, 2.0, 2.5]]), k=3)
        >>> [vote(found, np.array([0, 1, 1]), k=k, temperature=1.0).item() for k in (1, 3)]
        [0, 1]
    """
    _check.positive("vote", "k", k)
    _check.positive("vote", "temperature", temperature)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    rows = max(1, _SUMS // classes)
    index, similarity = found.index[:, :k], found.similarity[:, :k]
    winners = [
        _sums(labels[index[i : i + rows]], similarity[i : i + rows], temperature, classes).argmax(1)
        for i in range(0, len(index), rows)
    ]
    return np.concatenate(winners) if winners else np.empty(0, dtype=np.int64)


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


def _sums(
    classes: Int[np.ndarray, "m k"], similarity: Float[np.ndarray, "m k"], temperature: float, num_classes: int
) -> Float[np.ndarray, "m c"]:
    """What each class gets; the neighbours are in order, the best first."""
    # Measured from the row's best: the vote's winner is the same, and no temperature overflows.
    weights = np.exp((similarity.astype(np.float64) - similarity[:, :1]) / temperature)
    slots = classes + num_classes * np.arange(len(classes))[:, None]
    return np.bincount(slots.ravel(), weights.ravel(), num_classes * len(classes)).reshape(-1, num_classes)


def _classes(features: np.ndarray, labels: np.ndarray, num_classes: int | None) -> int:
    if labels.shape != (len(features),):
        raise ValueError(
            f"knn_predict: `labels` must hold one class for each row of `features`; got {labels.shape} for "
            f"{len(features)} rows."
        )
    found = int(labels.max()) + 1
    if labels.min() < 0 or found > (num_classes or found):
        raise ValueError(
            f"knn_predict: `labels` must be classes from 0 to {(num_classes or found) - 1}; got "
            f"{labels.min()} to {labels.max()}. Give `num_classes`, or number the classes from 0."
        )
    return num_classes or found
