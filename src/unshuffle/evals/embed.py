"""Embedding a whole data set, skipping what cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle import _check
from unshuffle.data.loaders import SkipLog, ordered_loader


class Features(NamedTuple):
    """Rows of a data set as vectors, one matrix for each embedder.

    ``index`` says which sample a row is; ``labels`` is None where the data have none.
    """

    vectors: dict[str, np.ndarray]
    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    labels: np.ndarray | None


def embed_dataset(
    embedders: Mapping[str, Callable[[Tensor], Tensor]],
    dataset: Dataset,
    *,
    batch_size: int = 256,
    workers: int = 0,
    skipped: SkipLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Embeds all samples of a data set in one pass, in order.

    Args:
        embedders: by name, each from raw items (B, ...) to (B, d); ``{"pretrained": encoder.embed}``.
        dataset: gives items, or (item, label) pairs.
        batch_size: samples at a time.
        workers: processes that read samples.
        skipped: counts unreadable samples; raises when there are too many.
        progress: called with (done, total).

    Raises:
        TooManyUnreadable: more than ``skipped`` allows.
        ValueError: not one sample could be read.
    """
    _check.positive("embed_dataset", "batch_size", batch_size)
    skipped = skipped if skipped is not None else SkipLog()
    vectors: dict[str, list[Tensor]] = {name: [] for name in embedders}
    index: list[Tensor] = []
    labels: list[Tensor] = []
    total, done = len(cast(list, dataset)), 0
    for loaded in ordered_loader(dataset, batch_size=batch_size, workers=workers):
        skipped.add(loaded.skipped)
        done += len(loaded.skipped)
        if loaded.raw is not None:
            for name, embed in embedders.items():
                vectors[name].append(embed(loaded.raw.items))
            index.append(loaded.raw.index)
            labels += [] if loaded.raw.label is None else [loaded.raw.label]
            done += len(loaded.raw.items)
        if progress is not None:
            progress(done, total)
    if not index:
        raise ValueError(f"not one of {total} samples could be read. {skipped.summary()}")
    known = torch.cat(labels).numpy() if labels else None
    return Features({k: torch.cat(v).numpy() for k, v in vectors.items()}, torch.cat(index).numpy(), known)


def raw_features(items: Tensor, *, side: int = 32, most: int = 4096) -> Tensor:
    """The input itself as features, (B, d): what every embedding must beat.

    Of more than ``most`` values pictures are averaged down to at most ``side`` pixels a side first, the frames of clips
    and the time of series (channels, 1, time) until that many are left.
    """
    flat = items.float()
    if flat[0].numel() > most and flat.ndim in (4, 5):
        flat = flat.flatten(1, -3)  # the frames of a clip beside its channels
        channels, height, width = flat.shape[1:]
        if items.ndim == 5:
            side = max(4, math.isqrt(most // channels))
        size = (min(side, height), min(side, width)) if height > 1 else (1, min(width, max(side, most // channels)))
        flat = torch.nn.functional.adaptive_avg_pool2d(flat, size)
    return flat.flatten(1)


def spectrogram_features(spectrograms: Tensor, *, most: int = 4096) -> Tensor:
    """Spectrograms (B, 1, bands, frames) as features, (B, d): every band, and frames averaged down to ``most`` values.

    Bands are kept whole: what tells one sound from another, its pitch before all, is written there.
    """
    bands, frames = spectrograms.shape[-2:]
    size = (bands, min(frames, max(1, most // bands)))
    return torch.nn.functional.adaptive_avg_pool2d(spectrograms.float(), size).flatten(1)
