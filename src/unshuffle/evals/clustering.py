"""How well clusters agree with classes, or with other clusters: information, pairs, purity, entropies.

All figures are functions of one table, how often each cluster meets each class, of which only the cells that are not
empty are held: ten thousand clusters of a million samples take no more memory than the samples.
"""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import gammaln

from unshuffle import _check

Average = Literal["arithmetic", "geometric"]
"""By which mean of both entropies a shared information is divided."""


class Contingency(NamedTuple):
    """How often each cluster meets each class: the cells that are not empty, row by row, and both margins.

    ``count``, ``row`` and ``column`` are (cells,); ``row`` and ``column`` are places in ``clusters`` (R,) and
    ``classes`` (C,), the names in use, ascending; ``rows`` (R,) and ``columns`` (C,) are their sizes.
    """

    count: Int[np.ndarray, "cells"]  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.count is not missed)
    row: Int[np.ndarray, "cells"]
    column: Int[np.ndarray, "cells"]
    clusters: Int[np.ndarray, "R"]
    classes: Int[np.ndarray, "C"]
    rows: Int[np.ndarray, "R"]
    columns: Int[np.ndarray, "C"]

    @property
    def total(self) -> int:
        """Samples."""
        return int(self.rows.sum())

    @property
    def same(self) -> bool:
        """Whether both divide the samples alike: every cluster is a class under another name."""
        return len(self.count) == len(self.rows) == len(self.columns)


def contingency(clusters: Shaped[np.ndarray, "n"], classes: Shaped[np.ndarray, "n"]) -> Contingency:
    """Counts how often each cluster meets each class.

    Args:
        clusters: (n,) whole numbers, of any size and sign.
        classes: (n,) whole numbers.

    Raises:
        TypeError: they are neither whole numbers nor names.
        ValueError: the shapes differ, or there are no samples.

    Example:
        >>> contingency(np.array([7, 7, 9]), np.array([0, 1, 1])).count
        array([1, 1, 1])
    """
    if clusters.ndim != 1 or clusters.shape != classes.shape or not len(clusters):
        raise ValueError(
            f"contingency: `clusters` and `classes` must be (n,) with one n > 0; got {clusters.shape} and "
            f"{classes.shape}."
        )
    for name, labels in (("clusters", clusters), ("classes", classes)):
        if labels.dtype.kind not in "iubUS":
            raise TypeError(f"contingency: `{name}` must be whole numbers or names; got dtype {labels.dtype}.")
    names, row, rows = np.unique(clusters, return_inverse=True, return_counts=True)
    others, column, columns = np.unique(classes, return_inverse=True, return_counts=True)
    cells, count = np.unique(row.astype(np.int64) * len(others) + column, return_counts=True)
    return Contingency(count, cells // len(others), cells % len(others), names, others, rows, columns)


def mutual_information(table: Contingency) -> float:
    r"""The information that clusters and classes share, :math:`\sum_{ij} p_{ij} \ln (p_{ij} / p_i p_j)`, in nats.

    Example:
        >>> sides = np.array([0, 0, 1, 1])
        >>> round(mutual_information(contingency(sides, sides)), 4)  # ln 2
        0.6931
    """
    expected = table.rows[table.row].astype(float) * table.columns[table.column] / table.total
    return max(0.0, float((table.count * np.log(table.count / expected)).sum() / table.total))


def normalised_information(table: Contingency, *, average: Average = "arithmetic") -> float:
    """NMI: the shared information in units of a mean of both entropies, from 0 to 1.

    It grows with the number of clusters, whatever they hold: compare clusterings of one number of clusters, or take
    :func:`adjusted_information`.

    Args:
        table: of clusters and classes.
        average: arithmetic (Vinh et al., scikit-learn) or geometric (DeepCluster's definition).

    Returns:
        1 where both divide alike; 0 where they share nothing, or only one of them divides at all.

    Raises:
        ValueError: there is no such average.

    Source: Vinh, Epps & Bailey, "Information theoretic measures for clusterings comparison", JMLR 2010, table 2.
    """
    mean = _mean_entropy("normalised_information", table, average)
    return 1.0 if table.same else mutual_information(table) / mean if mean > 0 else 0.0


def adjusted_information(table: Contingency, *, average: Average = "arithmetic") -> float:
    """Adjusted NMI: 0 on average for clusters of these sizes drawn at random, 1 where both divide alike.

    Args:
        table: of clusters and classes.
        average: of both entropies, what the largest shared information is taken for.

    Returns:
        (I - E I) / (mean H - E I); may be a little below 0.

    Raises:
        ValueError: there is no such average.

    Source: Vinh, Epps & Bailey 2010, equation 6; table A.1 of SeLa.
    """
    mean = _mean_entropy("adjusted_information", table, average)
    if table.same:
        return 1.0
    expected = expected_information(table.rows, table.columns)
    room = mean - expected
    return (mutual_information(table) - expected) / room if room > 1e-12 else 0.0


def expected_information(rows: Int[np.ndarray, "R"], columns: Int[np.ndarray, "C"]) -> float:
    """The information that clusters and classes of these sizes share on average if they have nothing to do with it.

    How often a cluster of a samples meets a class of b is then hypergeometric, whichever they are: of all pairs of
    equal sizes one is computed. Balanced clusters have two sizes at the most, so thousands of them cost no more than
    two.

    Args:
        rows: (R,) sizes of the clusters.
        columns: (C,) sizes of the classes; their sum is that of the rows.

    Source: Vinh, Epps & Bailey 2010, equation 24a.
    """
    total = int(rows.sum())
    log_factorial = gammaln(np.arange(total + 1) + 1.0)
    (sizes, times), (others, often) = (np.unique(part, return_counts=True) for part in (rows, columns))
    expected = 0.0
    for (a, m), (b, k) in itertools.product(zip(sizes.tolist(), times), zip(others.tolist(), often)):
        n = np.arange(max(1, a + b - total), min(a, b) + 1)
        chance = log_factorial[[a, b, total - a, total - b]].sum() - log_factorial[total] - log_factorial[n]
        chance -= log_factorial[a - n] + log_factorial[b - n] + log_factorial[total - a - b + n]
        expected += float(m * k * (np.exp(chance) * n / total * np.log(n * (total / a / b))).sum())
    return expected


def adjusted_rand(table: Contingency) -> float:
    """The adjusted Rand index: pairs of samples that both put together, 0 on average at random, 1 where alike.

    Source: Hubert & Arabie, "Comparing partitions", 1985; table A.1 of SeLa.
    """
    if table.same:
        return 1.0
    both, ours, theirs, all_pairs = (
        float((size * (size - 1.0) / 2).sum())
        for size in (table.count, table.rows, table.columns, np.array([table.total]))
    )
    expected = ours * theirs / all_pairs
    return (both - expected) / ((ours + theirs) / 2 - expected)


def purity(table: Contingency) -> float:
    """The share of samples of the class that is most frequent in their cluster: 1 for clusters of one sample each."""
    return float(np.maximum.reduceat(table.count, _starts(table)).sum() / table.total)


def cluster_entropies(table: Contingency) -> Float[np.ndarray, "R"]:
    """The entropy of the classes within each cluster, in nats: 0 for one class alone, ln C for all alike.

    Source: SeLa, figure A.4.
    """
    share = table.count / table.rows[table.row]
    return np.abs(np.add.reduceat(-share * np.log(share), _starts(table)))


def commonest(table: Contingency) -> tuple[Int[np.ndarray, "R"], Float[np.ndarray, "R"]]:
    """The most frequent class of each cluster, the smaller of equals, and its share there."""
    order = np.lexsort((table.column, -table.count, table.row))[_starts(table)]
    return table.classes[table.column[order]], table.count[order] / table.rows


def effective_number(sizes: Int[np.ndarray, "R"]) -> float:
    """As many clusters of one size would be as hard to guess: e to the entropy of the sizes; empty ones count nothing.

    Example:
        >>> round(effective_number(np.array([10, 10, 0])), 6)
        2.0
    """
    return float(np.exp(_entropy(sizes)))


def _starts(table: Contingency) -> np.ndarray:
    """The first cell of each row; none is empty."""
    return np.flatnonzero(np.diff(table.row, prepend=-1))


def _entropy(sizes: np.ndarray) -> float:
    share = sizes[sizes > 0] / sizes.sum()
    return abs(float((share * np.log(share)).sum()))


def _mean_entropy(function: str, table: Contingency, average: str) -> float:
    _check.one_of(function, "average", average, ("arithmetic", "geometric"))
    ours, theirs = _entropy(table.rows), _entropy(table.columns)
    return (ours + theirs) / 2 if average == "arithmetic" else float(np.sqrt(ours * theirs))
