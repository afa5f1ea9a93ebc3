"""What a representation is worth while it is being learnt: held-out samples ask their nearest neighbours."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from unshuffle.data.files import rows_with_class
from unshuffle.data.loaders import Unreadable
from unshuffle.evals.embed import embed_dataset
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.neighbours import knn_predict

COLUMN = "knn"
"""Of ``metrics.csv``: the share of the held-out samples whose class their neighbours tell."""
MOST_KNOWN, MOST_ASKED = 10_000, 2_000


def neighbours(encoder: Encoder, known: Dataset, asked: Dataset) -> float | None:
    """The accuracy of weighted 20-nearest-neighbour votes, for held-out samples among those trained on.

    Samples go through the encoder as they would later; of large data sets an evenly spread part does.

    Args:
        encoder: as far as it has been trained.
        known: labelled samples, which vote.
        asked: labelled samples, whose classes are asked for.

    Returns:
        A share; None where the data have no classes.
    """
    if not (_has_classes(asked) and len(cast(list, _with_class(known))) and len(cast(list, _with_class(asked)))):
        return None
    parts = [
        embed_dataset({COLUMN: encoder.embed}, _spread(part, most))
        for part, most in ((_with_class(known), MOST_KNOWN), (_with_class(asked), MOST_ASKED))
    ]
    bank, queries = (part.vectors[COLUMN] for part in parts)
    labels, truth = (cast(np.ndarray, part.labels) for part in parts)
    classes, codes = np.unique(labels, return_inverse=True)
    return float((classes[knn_predict(bank, codes, queries)] == truth).mean())


def _has_classes(dataset: Dataset) -> bool:
    """Whether the first sample that can be read has one whole number for a label."""
    for index in range(len(cast(list, dataset))):
        sample = dataset[index]
        if not isinstance(sample, Unreadable):
            label = sample[1] if isinstance(sample, (tuple, list)) and len(sample) > 1 else None
            return label is not None and _is_class(torch.as_tensor(label))
    return False


def _is_class(label: torch.Tensor) -> bool:
    return label.ndim == 0 and not label.is_floating_point() and not label.is_complex()


def _with_class(dataset: Dataset) -> Dataset:
    """The samples in class folders, where some files are in none."""
    rows = rows_with_class(dataset)
    return dataset if rows is None else Subset(dataset, rows)


def _spread(dataset: Dataset, most: int) -> Dataset:
    size = len(cast(list, dataset))
    if size <= most:
        return dataset
    return Subset(dataset, np.linspace(0, size - 1, most).round().astype(int).tolist())
