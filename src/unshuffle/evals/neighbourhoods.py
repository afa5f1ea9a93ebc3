"""What lies near: votes of neighbours for several numbers of them, and pictures of neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from unshuffle.data.loaders import ordered_loader
from unshuffle.evals.embed import Features
from unshuffle.evals.metrics import accuracy
from unshuffle.evals.nearest import nearest_rows
from unshuffle.evals.neighbours import vote
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.evals.results import Stamp
from unshuffle.types import Figure, Result

KS = (1, 10, 20)
"""Numbers of neighbours in GroCo's tables."""


def knn_results(
    representations: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    truth: np.ndarray,
    mark: Stamp,
    *,
    question: str = "class",
    ks: Sequence[int] = KS,
    temperature: float = 0.07,
    seed: int = 0,
) -> list[Result]:
    """The accuracy of the weighted vote of k neighbours, for each k and each representation, from one search each.

    Args:
        representations: name -> (n, d) labelled rows and (m, d) rows to predict.
        labels: (n,) classes from 0.
        truth: (m,) classes.
        mark: the shared fields of the results.
        question: what the classes are.
        ks: numbers of neighbours.
        temperature: of the vote.
        seed: of what was embedded; goes into the results.

    Source: GroCo, section 4.2 and tables 2, 4 and 7d.
    """
    results = []
    for name, (bank, queries) in representations.items():
        found = nearest_rows(bank, queries, k=max(ks))
        for k in ks:
            right = accuracy(vote(found, labels, k=k, temperature=temperature), truth)
            task = f"{question}, {k} neighbour{'s' if k > 1 else ''}"
            results.append(Result(task, "accuracy", right, len(bank), seed, layer=name, **mark._asdict()))
    return results


def neighbourhood_figure(
    folder: Path,
    train: Dataset,
    test: Dataset,
    features: tuple[Features, Features],
    *,
    layer: str = "pretrained",
    classes: Sequence[str] = (),
    queries: int = 8,
    k: int = 8,
    seed: int = 0,
) -> Figure:
    """Writes ``figures/neighbours.npz``: a few samples of the test part, and what lies nearest to each in the other.

    Args:
        folder: the run's.
        train: labelled pictures that are searched.
        test: labelled pictures that are searched for.
        features: of both parts.
        layer: whose embedding.
        classes: names of the classes.
        queries: how many samples, drawn at random.
        k: how many neighbours of each.
        seed: of the draw.
    """
    known, asked = features
    assert known.labels is not None
    assert asked.labels is not None
    rows = np.sort(np.random.default_rng(seed).permutation(len(asked.index))[:queries])
    found = nearest_rows(known.vectors[layer], asked.vectors[layer][rows], k=k)
    flat, _ = pictures_of(train, known.index[found.index.ravel()])
    arrays = {
        "queries": pictures_of(test, asked.index[rows])[0],
        "found": flat.reshape(*found.index.shape, *flat.shape[1:]),
        "similarity": found.similarity,
        "same": known.labels[found.index] == asked.labels[rows, None],
        "names": np.array([classes[c] if len(classes) else str(c) for c in asked.labels[rows]], dtype=str),
    }
    caption = "Held-out samples (blue), and the nearest labelled ones with their similarity; red: of another class."
    return Figure("neighbours", write_arrays(folder, "neighbours", arrays), "Neighbourhoods", caption)


def pictures_of(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples by their places in the whole data set, as they are drawn, and which of them could be read.

    One may be wanted several times. In the place of one that could not be read is another.

    Raises:
        ValueError: not one could be read.
    """
    whole = dataset.dataset if isinstance(dataset, Subset) else dataset
    loader = ordered_loader(Subset(whole, np.unique(rows).tolist()), batch_size=256)
    read = [loaded.raw for loaded in loader if loaded.raw is not None]
    if not read:
        raise ValueError(f"not one of {len(rows)} samples could be read any more: see that the data are in place.")
    index = torch.cat([raw.index for raw in read]).numpy()
    places = np.searchsorted(index, rows).clip(max=len(index) - 1)
    items = torch.cat([raw.items for raw in read])[torch.from_numpy(places)]
    return as_pixels(items.float() / 255), index[places] == rows
