"""One encoder judged on one labelled data set: against the raw input and against its own untrained twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle.data.loaders import SkipLog, ordered_loader
from unshuffle.evals.embed import Features, embed_dataset, raw_features
from unshuffle.evals.encoder import Encoder


class Representations(NamedTuple):
    """Training and test rows of the raw input, the untrained twin (where there can be one) and the encoder."""

    train: Features
    test: Features

    def pairs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Name to (train, test), as :func:`~unshuffle.evals.compare.compare` takes them."""
        return {name: (rows, self.test.vectors[name]) for name, rows in self.train.vectors.items()}


def representations(
    encoder: Encoder,
    train: Dataset,
    test: Dataset,
    *,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    skipped: SkipLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Representations:
    """Embeds both parts by the raw input, the untrained network and the trained one, in one pass over each.

    The untrained network is the same architecture with fresh weights; its batch-norm statistics are set to those of
    (at most 1,024) unlabelled training samples.

    Args:
        encoder: the trained one.
        train, test: data sets of items or (item, label) pairs.
        seed: of the untrained network's weights.
        batch_size: samples at a time.
        workers: processes that read samples.
        skipped: counts unreadable samples.
        progress: called with (done, total) of each part.
    """
    embedders: dict[str, Callable[[Tensor], Tensor]] = {"raw": raw_features}
    if encoder.net_value is not None:
        few = first_items(train, 1024, workers=workers)
        embedders["random"] = encoder.untrained(few, seed=seed).embed
    embedders["pretrained"] = encoder.embed
    parts = [
        embed_dataset(embedders, part, batch_size=batch_size, workers=workers, skipped=skipped, progress=progress)
        for part in (train, test)
    ]
    return Representations(*parts)


def first_items(dataset: Dataset, count: int, *, workers: int = 0) -> Tensor:
    """The first readable items of a data set, at most ``count``: (B, ...).

    Raises:
        ValueError: not one can be read.
    """
    found: list[Tensor] = []
    for loaded in ordered_loader(dataset, batch_size=256, workers=workers):
        if loaded.raw is not None:
            found.append(loaded.raw.items)
        if sum(map(len, found)) >= count:
            break
    if not found:
        raise ValueError("not one sample could be read.")
    return torch.cat(found)[:count]


def split_rows(labels: Sequence[int] | np.ndarray, *, test_fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Splits rows at random so that every class keeps its share in both parts: (train, test).

    Raises:
        ValueError: a class has a single sample, or there is one class only.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ValueError(
            f"to measure anything there must be two classes with two samples each; got {len(classes)} with "
            f"{counts.min() if len(counts) else 0} to {counts.max() if len(counts) else 0}."
        )
    rng = np.random.default_rng(seed)
    test: list[int] = []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        test += rows[: min(len(rows) - 1, max(1, round(test_fraction * len(rows))))].tolist()
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(cast(list, test))
