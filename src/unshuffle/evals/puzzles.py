"""How well the pretext task itself is solved: puzzles made of held-out samples, and pictures of some."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unshuffle import permutations
from unshuffle.data.mosaic import Tiles
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.shuffle import Shuffle
from unshuffle.data.slices import Slices
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.ordering import answers
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.evals.results import Stamp
from unshuffle.types import Figure, Result


class Solved(NamedTuple):
    """Puzzles with their answers: permutations as drawn, (B, n), true and predicted ranks.

    ``choices`` is the number of permutations that were there to draw from. ``soft`` are the soft matrices (B, n, n)
    behind the predicted ranks, of networks that predict such.
    """

    perm: Tensor
    true: Tensor
    predicted: Tensor
    choices: int
    soft: Tensor | None = None

    def partial_ranks(self) -> Tensor:
        """Share of the patches put in their right position, (B,)."""
        return permutations.partial_ranks(self.predicted, self.true)


def solve(encoder: Encoder, items: Tensor, *, seed: int = 0, batch_size: int = 256) -> Solved:
    """Shuffles each sample by a permutation of its own and lets the encoder put it in order.

    Args:
        encoder: trained with :class:`~unshuffle.data.shuffle.Shuffle`.
        items: raw samples (B, ...).
        seed: of the permutations, which come from where the training's came.
        batch_size: samples at a time.

    Raises:
        ValueError: the encoder was not trained on shuffled patches.
    """
    transform = encoder.transform
    if not isinstance(transform, Shuffle):
        raise ValueError("solve: this encoder was not trained on shuffled patches; it has no puzzles to solve.")
    perm = transform.draw(len(items), torch.Generator().manual_seed(seed))
    found = []
    size = encoder.at_once(batch_size)
    for part, drawn in zip(items.split(size), perm.split(size)):
        patches = encoder.prepare(part)
        found.append(answers(encoder, permutations.apply(patches, drawn.to(patches.device))))
    n = perm.shape[1]
    choices = math.factorial(n) if transform.choices is None else len(transform.choices.build(n))
    ranks, soft = torch.cat([part.ranks for part in found]), [part.soft for part in found if part.soft is not None]
    return Solved(perm, (perm + 1).float(), ranks, choices, torch.cat(soft) if soft else None)


def pretext_results(solved: Solved, stamp: Stamp, *, layer: str, seed: int) -> list[Result]:
    """Partial ranks and exact order over all puzzles, each beside what guessing would give.

    Exact order is guessed by chance once in as many times as there are permutations to draw from: n!, or the size of
    a fixed set.
    """
    placed = solved.partial_ranks()
    count, n = solved.true.shape
    exact = float((placed == 1).float().mean())
    rows = [
        ("pretext: partial ranks", layer, float(placed.mean())),
        ("pretext: partial ranks", "chance", 1 / n),
        ("pretext: exact order", layer, exact),
        ("pretext: exact order", "chance", 1 / solved.choices),
    ]
    return [
        Result(task, "accuracy", value, count, seed, layer=name, **stamp._asdict())
        for task, name, value in rows
    ]  # fmt: skip


def puzzle_figure(folder: Path, encoder: Encoder, items: Tensor, solved: Solved, *, count: int = 6) -> Figure:
    """Writes ``figures/puzzles.npz``: some puzzles as shuffled, as solved, and the truth.

    Args:
        folder: the run's.
        encoder: the one that solved them.
        items: raw samples (B, ...) as :func:`solve` took them.
        solved: its answer.
        count: the most puzzles to show, evenly spaced over all.
    """
    assert isinstance(encoder.transform, Shuffle)
    transform = encoder.transform
    assert not isinstance(transform.patches, Tiles), "mosaics have figures of their own"
    patches = as_seen(transform.patches)
    rows = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    truth = patches.cut(encoder.raw(items[rows]).cpu())
    before = permutations.apply(truth, solved.perm[rows])
    # The patch that got rank r goes to place r - 1.
    after = permutations.apply(before, solved.predicted[rows].argsort(-1))
    cut = {"before": before, "solved": after, "truth": truth}
    joined = {name: patches.join(shown) for name, shown in cut.items()}
    caption = "Held-out samples, cut and shuffled; as the network puts them in order; and as they were."
    arrays = {"partial_ranks": solved.partial_ranks()[rows].numpy()}
    if _is_series(joined["truth"]):
        arrays |= {name: shown.squeeze(-2).numpy() for name, shown in joined.items()}
        arrays["slices"] = np.array(_pieces(patches, joined["truth"], truth))
        return Figure("series", write_arrays(folder, "puzzles", arrays), "Puzzles", caption)
    if joined["truth"].ndim == 5:
        arrays["frames"] = np.array(joined["truth"].shape[1])
        joined = {name: _side_by_side(clips) for name, clips in joined.items()}
    arrays |= {name: as_pixels(pictures) for name, pictures in joined.items()}
    arrays["spectrogram"] = np.array(transform.front is not None or isinstance(patches, Bands))
    return Figure("puzzle", write_arrays(folder, "puzzles", arrays), "Puzzles", caption)


def as_seen(patches: Grid | Bands | Slices) -> Grid | Bands | Slices:
    """The same cut, of pixels as the eye takes them."""
    if isinstance(patches, Grid):
        return replace(patches, normalize=False, means=())
    return replace(patches, normalize=False)


def _is_series(items: Tensor) -> bool:
    """Whether items are (B, channels, 1, time), which are drawn as curves."""
    return items.ndim == 4 and items.shape[-2] == 1


def _pieces(patches: Grid | Bands | Slices, items: Tensor, cut: Tensor) -> int:
    """Into how many stretches of time a series was cut; 1 where along another axis."""
    return items.shape[-1] // cut.shape[-1] if isinstance(patches, Slices) else 1


def _side_by_side(clips: Tensor, *, most: int = 32) -> Tensor:
    """Clips (B, frames, C, H, W) as rows of frames (B, C, h, frames * w), at most 32 pixels high: to look at."""
    size = (min(most, clips.shape[-2]), min(most, clips.shape[-1]))
    small = torch.nn.functional.adaptive_avg_pool2d(clips.flatten(0, 1), size).unflatten(0, clips.shape[:2])
    return small.permute(0, 2, 3, 1, 4).flatten(-2)
