"""Motion clips: table 3 of Shuffle to Learn, and the number of frames.

Handwritten digits in eight motions, in pairs that hold the same frames in opposite order. A set of such frames could be
either clip of its pair, so that nobody can tell the order of a pretext task over both. Pretraining therefore sees one
motion of each pair; the probe must tell all eight, for which the frames without their order are not enough. What both
together teach is measured too.
"""

from __future__ import annotations

import importlib.util
import random
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cells import Cell
from training import EXACT, FIXED, MSE, RANDOM, RAW, SAMPLED, SOFT, Data, Line, judged, pretrain, with_loss
from unshuffle.data.slices import Slices
from unshuffle.evals import mlp_probe
from unshuffle.nets import SmallConv
from unshuffle.recipes import ShuffleRecipe, shuffle_video

CLIPS, SIZE = 1600, 32
LABELS = (80, 1200)
ONE_WAY = ("right", "down", "zoom_in", "clockwise")
FRAMES = 20
FRAME_NUMBERS = (3, 5, 10, 20)
LOSSES = (FIXED, MSE, SOFT, SAMPLED, EXACT)
SEEDS = (0, 1)


class Motions(NamedTuple):
    """Clips (N, frames, 1, 32, 32) with their motion (8); and those of one motion of each pair, to learn order from."""

    data: Data
    one_way: tuple[torch.Tensor, torch.Tensor]


@lru_cache
def motions(folder: Path, frames: int = FRAMES) -> Motions:
    """Digits in motion; fewer frames are those of the same clips, spaced evenly."""
    tool = _tool(folder / "tools" / "make_motion_clips.py")
    draws = np.random.default_rng(0)
    pictures = list(tool.images(str(folder / "mnist.npz")))
    random.Random(0).shuffle(pictures)
    label = draws.permutation(np.arange(CLIPS) % len(tool.CLASSES))
    # A digit a clip: none is in both parts.
    clips = np.stack([tool.clip(p, kind, FRAMES, SIZE, draws) for p, kind in zip(pictures[:CLIPS], label)])
    items = torch.from_numpy(clips).movedim(-1, 2)[:, np.linspace(0, FRAMES - 1, frames).round().astype(int)]
    one_way = torch.from_numpy(np.isin(np.array(tool.CLASSES)[label], ONE_WAY))
    cut = CLIPS * 3 // 4
    train, test = items[:cut], items[cut:]
    data = Data("motion clips", train, test, {"motion": (label[:cut], label[cut:])})
    return Motions(data, (train[one_way[:cut]], test[one_way[cut:]]))


def _tool(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe(loss: str = EXACT, frames: int = FRAMES) -> ShuffleRecipe:
    """``shuffle-video``, with half its channels."""
    made = replace(shuffle_video(), patches=Slices("time", number=frames), backbone=SmallConv(width=8), epochs=40)
    return with_loss(made, loss)


def cells(folder: Path) -> list[Cell]:
    """All measurements on clips."""
    made = [
        Cell(f"clips/{loss.replace(',', '').replace(' ', '-')}/{seed}", partial(_loss_cell, folder, loss, seed))
        for seed, loss in product(SEEDS, LOSSES)
    ]
    made += [
        Cell(f"frames/{n}/{seed}", partial(_frames_cell, folder, n, seed)) for seed, n in product(SEEDS, FRAME_NUMBERS)
    ]
    return [*made, Cell("clips/both-ways/0", partial(_both_ways_cell, folder, 0))]


def _loss_cell(folder: Path, loss: str, seed: int) -> list[Line]:
    beside = {"raw": RAW, "random": RANDOM} if loss == EXACT else {}
    return _judged(recipe(loss), motions(folder), loss, beside, seed)


def _frames_cell(folder: Path, frames: int, seed: int) -> list[Line]:
    beside = {"random": f"{RANDOM}, {frames} frames"}
    return _judged(recipe(frames=frames), motions(folder, frames), f"{frames} frames", beside, seed)


def _both_ways_cell(folder: Path, seed: int) -> list[Line]:
    data, _ = motions(folder)
    both = Motions(data, (data.train, data.test))
    return _judged(recipe(), both, f"{EXACT}, all eight motions", {}, seed)


def _judged(made: ShuffleRecipe, clips: Motions, layer: str, beside: dict[str, str], seed: int) -> list[Line]:
    known, new = clips.one_way
    done = pretrain(made, known, seed=seed)
    return judged(
        done, clips.data, layer=layer, beside=beside, counts=LABELS, probe=mlp_probe, seed=seed, puzzles=new
    )  # fmt: skip
