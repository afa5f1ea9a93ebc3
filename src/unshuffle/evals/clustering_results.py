"""Clusterings as lines of results, and their history as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int, Num

from unshuffle.evals.clustering import (
    Contingency,
    adjusted_information,
    adjusted_rand,
    cluster_entropies,
    contingency,
    effective_number,
    normalised_information,
    purity,
)
from unshuffle.evals.labellings import Labelling
from unshuffle.evals.pictures import write_arrays
from unshuffle.evals.results import Stamp
from unshuffle.evals.unlabelled import neighbours_agreement
from unshuffle.types import Figure, Result

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def against_classes(
    labels: Int[np.ndarray, "n"], truth: Int[np.ndarray, "n"], mark: Stamp, *, layer: str, seed: int
) -> list[Result]:
    """How well clusters agree with classes: the columns of table A.1, purity, and the mean entropy of a cluster.

    The mean is over clusters, weighted by their sizes: the entropy of the class that is left when the cluster is known.
    """
    table = contingency(labels, truth)
    told = {
        "NMI": normalised_information(table),
        "adjusted NMI": adjusted_information(table),
        "adjusted Rand index": adjusted_rand(table),
        "purity": purity(table),
        "entropy of a cluster (nats)": _mean_entropy(table),
    }
    return _lines("clusters and classes", told, mark, len(labels), layer, seed)


def without_classes(
    features: Num[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], mark: Stamp, *, layer: str, seed: int
) -> list[Result]:
    """What can be said of clusters without knowing any class: whether neighbours agree, and how many are used.

    ``agreement above chance`` is 1 where all neighbours have one label and 0 where they agree as often as arbitrary
    labels of the same sizes would.
    """
    told = {"effective number of clusters": effective_number(np.unique(labels, return_counts=True)[1])}
    if len(labels) > 1:
        agreement = neighbours_agreement(features, labels, seed=seed)
        told["neighbours' agreement"] = agreement.share
        room = 1 - agreement.chance
        told["agreement above chance"] = (agreement.share - agreement.chance) / room if room > 0 else 0.0
    return _lines("clusters alone", told, mark, len(labels), layer, seed)


def history(
    folder: Path,
    labellings: Iterable[Labelling],
    mark: Stamp,
    *,
    truth: np.ndarray | None,
    head: int = 0,
    seed: int = 0,
) -> tuple[list[Result], list[Figure]]:
    """What became of a run's labels: results of the last labelling, and the picture of all.

    Args:
        folder: the run's.
        labellings: of the run, from the first on.
        mark: the shared fields of the results.
        truth: (N,) classes of all samples of the data set that was trained on, -1 for a sample without one; None where
            they are not known.
        head: whose labels.
        seed: goes into the results.

    Returns:
        Nothing of fewer than two labellings. Else the NMI of the last two, and ``figures/labellings.npz``: of each
        labelling its step, NMI with the one before and with the classes, and the quartiles of its clusters' entropies.

    Raises:
        ValueError: ``truth`` is of another number of samples, or there is no such head.

    Source: SeLa, figures A.1 and A.4.
    """
    steps, changed, agreed, spread, count = [], [], [], [], 0
    before = None
    for step, every in labellings:
        _refuse(every, truth, head)
        labels = every[head]
        there = labels >= 0
        if not there.any():
            continue
        steps.append(step)
        changed.append(np.nan if before is None else _between(before, labels))
        known = there if truth is None else there & (truth >= 0)
        table = None if truth is None or not known.any() else contingency(labels[known], truth[known])
        agreed.append(np.nan if table is None else normalised_information(table))
        spread.append(np.full(5, np.nan) if table is None else np.quantile(cluster_entropies(table), QUARTILES))
        before, count = labels, int(there.sum())
    if len(steps) < 2:
        return [], []
    arrays = {
        "step": np.array(steps), "consecutive": np.array(changed), "classes": np.array(agreed),
        "entropies": np.array(spread),
    }  # fmt: skip
    caption = "How much of a labelling the next one keeps"
    caption += "." if truth is None else ", how it agrees with the true classes, and how mixed its pseudo-classes are."
    figure = Figure("labellings", write_arrays(folder, "labellings", arrays), "Labels over time", caption)
    told = {"NMI of the last two labellings": changed[-1]}
    return _lines("labels over time", told, mark, count, f"head {head + 1}", seed), [figure]


def _between(before: np.ndarray, after: np.ndarray) -> float:
    """NMI of two labellings, of the samples that both label."""
    both = (before >= 0) & (after >= 0)
    return normalised_information(contingency(after[both], before[both])) if both.any() else np.nan


def _mean_entropy(table: Contingency) -> float:
    return float((cluster_entropies(table) * table.rows).sum() / table.total)


def _lines(task: str, told: dict[str, float], mark: Stamp, count: int, layer: str, seed: int) -> list[Result]:
    return [
        Result(task, metric, float(value), count, seed, layer=layer, **mark._asdict()) for metric, value in told.items()
    ]


def _refuse(labels: np.ndarray, truth: np.ndarray | None, head: int) -> None:
    if not 0 <= head < len(labels):
        raise ValueError(f"--head must be from 1 to {len(labels)}, the heads of the run; got {head + 1}.")
    if truth is not None and len(truth) != labels.shape[1]:
        raise ValueError(f"history: `truth` is of {len(truth)} samples, and the labels are of {labels.shape[1]}.")
