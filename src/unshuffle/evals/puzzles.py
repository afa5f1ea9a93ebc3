"""How well the pretext task itself is solved: puzzles made of held-out samples, and pictures of some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unshuffle import permutations
from unshuffle.data.patching import Bands, Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import Stamp
from unshuffle.types import Figure, Result


class Solved(NamedTuple):
    """Puzzles with their answers: patches as drawn, (B, n) orders, true and predicted ranks."""

    perm: Tensor
    true: Tensor
    predicted: Tensor

    def partial_ranks(self) -> Tensor:
        """Share of the patches put in their right position, (B,)."""
        return permutations.partial_ranks(self.predicted, self.true)


def solve(encoder: Encoder, items: Tensor, *, seed: int = 0, batch_size: int = 256) -> Solved:
    """Shuffles each sample by a permutation of its own and lets the encoder put it in order.

    Args:
        encoder: trained with :class:`~unshuffle.data.patching.Shuffle`.
        items: raw samples (B, C, H, W).
        seed: of the permutations, which come from where the training's came.
        batch_size: samples at a time.

    Raises:
        ValueError: the encoder was not trained on shuffled patches.
    """
    if not isinstance(encoder.transform, Shuffle):
        raise ValueError("solve: this encoder was not trained on shuffled patches; it has no puzzles to solve.")
    perm = encoder.transform.draw(len(items), torch.Generator().manual_seed(seed))
    predicted = []
    for start in range(0, len(items), batch_size):
        rows = slice(start, start + batch_size)
        patches = permutations.apply(encoder.transform.prepare(items[rows]), perm[rows])
        predicted.append(encoder.order(patches))
    return Solved(perm, (perm + 1).float(), torch.cat(predicted))


def pretext_results(solved: Solved, stamp: Stamp, *, layer: str, seed: int) -> list[Result]:
    """Partial ranks and exact order over all puzzles, each beside what guessing would give."""
    n, count = solved.true.shape[1], len(solved.true)
    placed = solved.partial_ranks()
    exact = float((placed == 1).float().mean())
    chance = 1.0 / float(np.prod(np.arange(1, n + 1, dtype=np.float64)))
    rows = [
        ("pretext: partial ranks", layer, float(placed.mean())),
        ("pretext: partial ranks", "chance", 1.0 / n),
        ("pretext: exact order", layer, exact),
        ("pretext: exact order", "chance", chance),
    ]
    return [
        Result(task, "accuracy", value, count, seed, layer=name, **stamp._asdict())
        for task, name, value in rows
    ]  # fmt: skip


def puzzle_figure(folder: Path, encoder: Encoder, items: Tensor, solved: Solved, *, count: int = 6) -> Figure:
    """Writes the first puzzles to ``figures/puzzles.npz``: as shuffled, as solved, and the truth."""
    transform = encoder.transform
    assert isinstance(transform, Shuffle)
    patches = transform.patches
    shown = replace(patches, normalize=False)
    cut = shown.cut(items[:count])
    before = permutations.apply(cut, solved.perm[:count])
    # The patch that got rank r goes to place r - 1.
    after = permutations.apply(before, solved.predicted[:count].argsort(-1))
    pictures = {name: _picture(shown.join(p)) for name, p in (("before", before), ("solved", after), ("truth", cut))}
    path = folder / "figures" / "puzzles.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    ranks = solved.partial_ranks()[:count].numpy()
    flags = {"partial_ranks": ranks, "spectrogram": np.array(isinstance(patches, Bands))}
    np.savez_compressed(path, allow_pickle=False, **pictures, **flags)
    caption = "Held-out samples, cut and shuffled; as the network puts them in order; and as they were."
    return Figure("puzzle", path.name, "Puzzles", caption)


def _picture(images: Tensor) -> np.ndarray:
    """(B, C, H, W) in [0, 1] to (B, H, W) or (B, H, W, 3)."""
    array = images.movedim(1, -1).clamp(0, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array
