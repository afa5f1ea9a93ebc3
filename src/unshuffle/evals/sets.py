"""Held-out sets, and pictures of some in the order of their predicted scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unshuffle.data.loaders import ordered_loader
from unshuffle.data.sets import OrderedSets
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.types import Figure, Raw, Sets


def held_out_sets(encoder: Encoder, dataset: Dataset, *, seed: int, most: int = 1024, workers: int = 0) -> Sets:
    """Sets of labelled samples as in training, but of items as the encoder embeds them, and with their true ties.

    Args:
        encoder: trained on sets.
        dataset: of (item, value) pairs; at most ``most`` of them are taken, evenly spaced.
        seed: of how they are dealt.
        most: see ``dataset``.
        workers: processes that read samples.
    """
    size = len(cast(list, dataset))
    rows = np.linspace(0, size - 1, min(most, size)).round().astype(int).tolist()
    read = [loaded.raw for loaded in ordered_loader(Subset(dataset, rows), batch_size=256, workers=workers)]
    known = [raw for raw in read if raw is not None and raw.label is not None]
    if not known:
        raise ValueError(f"not one of {len(rows)} samples could be read with a value to be ordered by.")
    items, labels = torch.cat([raw.items for raw in known]), torch.cat([cast(Tensor, raw.label) for raw in known])
    transform = cast(OrderedSets, encoder.transform)
    truthful = replace(transform, drawing=replace(transform.drawing, strict=False, break_ties=False))
    dealt = truthful(Raw(items, torch.arange(len(items)), labels), torch.Generator().manual_seed(seed))
    return Sets(encoder.prepare(items)[dealt.index], dealt.ranks, dealt.index)


@torch.no_grad()
def item_scores(encoder: Encoder, items: Tensor, *, batch_size: int = 512) -> np.ndarray:
    """The single score of every raw item, (N,): what :class:`~unshuffle.methods.ordering.LearnToOrder` learns."""
    encoder.eval()
    parts = [encoder.prepare(part).unsqueeze(1) for part in items.split(batch_size)]
    return torch.cat([encoder.net(part).squeeze(1).float().cpu() for part in parts]).numpy()


def sets_figure(
    folder: Path, items: Tensor, scores: np.ndarray, values: np.ndarray, *, size: int, count: int
) -> Figure:
    """Writes ``figures/sets.npz``: the first ``count`` sets of ``size`` items with their scores and true values.

    Args:
        folder: the run's.
        items: (N, C, H, W) uint8; of what is left after the last whole set nothing is shown.
        scores: (N,) of the items.
        values: (N,) by which they are truly ordered.
        size: items in a set.
        count: the most sets to show.
    """
    shape = (min(count, len(items) // size), size)
    shown = shape[0] * size
    images = as_pixels(items[:shown].float() / 255)
    arrays = {"images": images.reshape(*shape, *images.shape[1:])}
    arrays |= {"scores": scores[:shown].reshape(shape), "truth": values[:shown].reshape(shape)}
    caption = "Held-out items, each set in the order of its scores; a wrong position in red."
    return Figure("sets", write_arrays(folder, "sets", arrays), "Sets in their learnt order", caption)
