"""How good a clustering is where nobody knows the classes: whether what lies near has the same label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from unshuffle import _check
from unshuffle.evals import scaling
from unshuffle.evals.nearest import nearest_rows, refuse_shapes
from unshuffle.evals.probes import one_thread

KMEANS_WIDTH = 128
"""Principal axes on which K-means works, where there are more columns."""


class Agreement(NamedTuple):
    """Share of neighbours with the same label, and what it would be if labels of these sizes were drawn at random."""

    share: float
    chance: float


def neighbours_agreement(
    features: Num[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], *, k: int = 10, most: int = 2000, seed: int = 0
) -> Agreement:
    """How many of the k nearest other samples have a sample's own label, by cosine similarity.

    Near 1 where labels follow the representation, at ``chance`` where they are arbitrary. That the labels are good for
    anything it does not tell; that they are not noise, it does.

    Args:
        features: (n, d), two rows at least.
        labels: (n,) clusters.
        k: neighbours of each; all others where there are fewer.
        most: samples that are asked, drawn at random where there are more; all are searched.
        seed: of that draw.

    Raises:
        ValueError: there are fewer than two samples, the shapes do not fit, or an option is not positive.

    Example:
        >>> sides = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> neighbours_agreement(sides, np.array([0, 0, 1, 1]), k=1).share
        1.0
    """
    _check.positive("neighbours_agreement", "k", k)
    _check.positive("neighbours_agreement", "most", most)
    if len(features) < 2 or labels.shape != (len(features),):
        raise ValueError(
            f"neighbours_agreement: `labels` must hold one for each of two rows or more; got {labels.shape} for "
            f"{len(features)} rows."
        )
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:most])
    found = nearest_rows(features, features[rows], k=k + 1).index
    # Of equal rows another may stand in front of a sample itself: without itself, or else without the last, k are left.
    itself = found == rows[:, None]
    itself[~itself.any(1), -1] = True
    others = found[~itself].reshape(len(rows), -1)
    sizes = np.unique(labels, return_counts=True)[1].astype(float)
    chance = (sizes * (sizes - 1)).sum() / (len(labels) * (len(labels) - 1))
    return Agreement(float((labels[others] == labels[rows, None]).mean()), float(chance))


def tightness(features: Num[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "R"]:
    """The mean cosine similarity of two different samples of a cluster, cluster by cluster in ascending order.

    It costs one pass: the squared length of a sum of n unit vectors is n and all their products. NaN for single ones.

    Args:
        features: (n, d).
        labels: (n,) clusters.

    Raises:
        ValueError: the shapes do not fit.
    """
    refuse_shapes("tightness", features, features)
    if labels.shape != (len(features),):
        raise ValueError(f"tightness: `labels` must be (n,), one for each of {len(features)} rows; got {labels.shape}.")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros(features.shape), where=lengths > 0)
    _, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums, own = np.zeros((len(sizes), features.shape[1])), np.bincount(places, (unit**2).sum(1))
    np.add.at(sums, places, unit)
    pairs = sizes * (sizes - 1.0)
    return np.divide((sums**2).sum(1) - own, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0)


def onto_leading_axes(
    features: Num[np.ndarray, "n d"], others: Num[np.ndarray, "m d"], width: int
) -> tuple[Float[np.ndarray, "n w"], Float[np.ndarray, "m w"]]:
    """Both as coordinates on the ``width`` axes along which ``features`` varies most; as they are where d is no more.

    Source: the embedding of 128 in which the neighbours of SeLa's table 6 are looked up.
    """
    _check.positive("onto_leading_axes", "width", width)
    refuse_shapes("onto_leading_axes", features, others)
    width = min(width, len(features))
    if features.shape[1] <= width:
        return features.astype(np.float32), others.astype(np.float32)
    power = scaling.exponents(features.reshape(1, -1))
    rows, moved = (scaling.scaled(part, power).astype(np.float32) for part in (features, others))
    with one_thread():
        axes = PCA(width, random_state=0).fit(rows)
        return np.ldexp(axes.transform(rows), power), np.ldexp(axes.transform(moved), power)


def kmeans_labels(features: Num[np.ndarray, "n d"], clusters: int, *, seed: int = 0) -> Int[np.ndarray, "n"]:
    """Clusters of K-means on directions: rows of length 1, on 128 principal axes at the most.

    What a run's own labels are compared with, and the clusters of an encoder that has none.

    Raises:
        ValueError: there are fewer rows than clusters, or the number is not positive.
    """
    _check.positive("kmeans_labels", "clusters", clusters)
    if len(features) < clusters:
        raise ValueError(f"kmeans_labels: {clusters} clusters need as many rows; got {len(features)}.")
    features = scaling.scaled(features, scaling.exponents(features.reshape(1, -1)))
    rows, _ = onto_leading_axes(features, features[:1], KMEANS_WIDTH)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    with one_thread():
        found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(unit)  # type: ignore[arg-type]
        return found.astype(np.int64)
