"""Pictures of sets in the order of their predicted scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unshuffle.evals.encoder import Encoder
from unshuffle.types import Figure


@torch.no_grad()
def item_scores(encoder: Encoder, items: Tensor, *, batch_size: int = 512) -> np.ndarray:
    """The single score of every raw item, (N,): what :class:`~unshuffle.methods.ordering.LearnToOrder` learns."""
    encoder.eval()
    parts = [encoder.transform.prepare(items[i : i + batch_size]) for i in range(0, len(items), batch_size)]
    return torch.cat([encoder.net(part.unsqueeze(1)).squeeze(1) for part in parts]).numpy()


def sets_figure(
    folder: Path, items: Tensor, scores: np.ndarray, values: np.ndarray, *, size: int, count: int
) -> Figure:
    """Writes ``figures/sets.npz``: the first ``count`` sets of ``size`` items with their scores and true values."""
    total = size * count
    images = items[:total].float().div(255).reshape(count, size, *items.shape[1:]).squeeze(2).numpy()
    path = folder / "figures" / "sets.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = values[:total].reshape(count, size)
    np.savez_compressed(path, images=images, scores=scores[:total].reshape(count, size), truth=truth)
    caption = "Held-out items, each set in the order of its scores; a wrong position in red."
    return Figure("sets", path.name, "Sets in their learnt order", caption)
