"""Pictures of sets in the order of their predicted scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unshuffle.evals.encoder import Encoder
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.types import Figure


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
