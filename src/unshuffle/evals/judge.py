"""One encoder judged on one labelled data set: against the raw input and against its own untrained twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unshuffle.data.loaders import SkipLog, ordered_loader
from unshuffle.evals.embed import Features, embed_dataset, raw_features, spectrogram_features
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
    projection: bool = False,
) -> Representations:
    """Embeds both parts by the raw input, the untrained network and the trained one, in one pass over each.

    The untrained network is the same architecture with fresh weights; its batch-norm statistics are set to those of
    (at most 1,024) training samples, without their labels.

    Args:
        encoder: the trained one.
        train, test: data sets of items or (item, label) pairs.
        seed: of the untrained network's weights.
        batch_size: samples at a time.
        workers: processes that read samples.
        skipped: counts unreadable samples.
        progress: called with (done, total) of both parts together.
        projection: add what training compared, where that is not the embedding itself.
    """
    embedders: dict[str, Callable[[Tensor], Tensor]] = {"raw": raw_embedder(encoder)}
    if encoder.can_be_rebuilt:
        few = spread_items(train, 1024, workers=workers)
        embedders["random"] = encoder.untrained(few, seed=seed).embed
    embedders["pretrained"] = encoder.embed
    if projection and encoder.can_project:
        embedders["projection"] = encoder.project
    first, total = len(cast(list, train)), len(cast(list, train)) + len(cast(list, test))
    parts = [
        embed_dataset(
            embedders, part, batch_size=batch_size, workers=workers, skipped=skipped,
            progress=_onwards(progress, start, total),
        )
        for part, start in ((train, 0), (test, first))
    ]  # fmt: skip
    return Representations(*parts)


def raw_embedder(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """Raw items to the input itself as features: what the network is given before it is cut, spectrograms of sounds."""
    if getattr(encoder.transform, "front", None) is None:
        return raw_features
    return lambda items: spectrogram_features(encoder.raw(items).cpu())


def _onwards(progress: Callable[[int, int], None] | None, start: int, total: int) -> Callable[[int, int], None] | None:
    """Progress within a part, told as progress within the whole."""
    return None if progress is None else lambda done, _: progress(start + done, total)


def spread_items(dataset: Dataset, count: int, *, workers: int = 0) -> Tensor:
    """At most ``count`` items from all over a data set, (B, ...), evenly spaced; unreadable ones are left out.

    Folders lie class after class: the first items alone would show one class.

    Raises:
        ValueError: not one can be read.
    """
    size = len(cast(list, dataset))
    rows = np.linspace(0, size - 1, min(count, size)).round().astype(int).tolist()
    batches = ordered_loader(Subset(dataset, rows), batch_size=256, workers=workers)
    found = [loaded.raw.items for loaded in batches if loaded.raw is not None]
    if not found:
        raise ValueError(f"not one of {len(rows)} samples could be read.")
    return torch.cat(found)


def split_rows(labels: Sequence[int] | np.ndarray, *, test_fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Splits rows at random so that every class keeps its share in both parts: (train, test).

    Raises:
        ValueError: a class has a single sample, or there is one class only.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ValueError(
            "to measure anything there must be at least two classes with two samples each; got "
            f"{dict(zip(classes.tolist(), counts.tolist()))} (class: samples)."
        )
    rng = np.random.default_rng(seed)
    test: list[int] = []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        test += rows[: min(len(rows) - 1, max(1, round(test_fraction * len(rows))))].tolist()
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(cast(list, test))
