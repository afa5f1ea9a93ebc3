"""Instrument notes and spoken digits: tables 1, 2, 5, 6 and figures 3 and 4 of Shuffle to Learn, at a small size.

The spectrograms are computed once for all cells, by the front end of the recipe. All settings were chosen by the cells
``search/…``, which see the training part alone.
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from cells import Cell
from training import (
    EXACT,
    FIXED,
    MSE,
    RANDOM,
    RAW,
    SAMPLED,
    SOFT,
    Data,
    Line,
    as_line,
    judged,
    pretrain,
    with_loss,
)
from unshuffle.data.audio import Sounds
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.slices import Slices
from unshuffle.data.spectrogram import LogMel
from unshuffle.evals import compare, mlp_probe, stamp
from unshuffle.evals.supervised import Supervised
from unshuffle.nets import SmallConv
from unshuffle.recipes import ShuffleRecipe, shuffle_audio
from unshuffle.train.optim import AdamW

LABELS = (200, 500, 1640)
SEEDS = (0, 1, 2)
LOSSES = (FIXED, MSE, SOFT, SAMPLED, EXACT)
SUPERVISED = "supervised, end to end"
BAND_NUMBERS = (2, 4, 5, 10, 20, 40)
LAYOUTS = {"frequency": None, "time": Slices(axis="time", number=10, gap=1), "time-frequency": Grid(3, 3, gap=2)}


# ---------------------------------------------------------------------------------------------------------------- data


@lru_cache
def notes(folder: Path) -> Data:
    """2,030 rendered notes: family (16), instrument (128), pitch (a number); the split of the file."""
    rows, spectrograms = _spectrograms(folder / "gm_notes.zip", seconds=4.0)
    kinds = {"family": "family", "instrument": "program", "pitch": "pitch"}
    targets = {task: np.array([int(row[column]) for row in rows]) for task, column in kinds.items()}
    return _divided("gm_notes", rows, spectrograms, targets)._replace(regressions=("pitch",))


@lru_cache
def spoken(folder: Path) -> Data:
    """3,000 spoken digits: digit (10) and speaker (6); the split of the file."""
    rows, spectrograms = _spectrograms(folder / "fsdd.zip", seconds=0.8)
    speakers = sorted({row["speaker"] for row in rows})
    targets = {
        "digit": np.array([int(row["digit"]) for row in rows]),
        "speaker": np.array([speakers.index(row["speaker"]) for row in rows]),
    }
    return _divided("fsdd", rows, spectrograms, targets)


def _spectrograms(archive: Path, *, seconds: float) -> tuple[list[dict[str, str]], torch.Tensor]:
    with zipfile.ZipFile(archive) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file.open("metadata.csv"))))
    source, _ = Sounds(seconds=seconds).settle(archive)
    sounds = source.open(archive)
    assert [row["file"] for row in rows] == list(sounds.names)
    front, _ = LogMel().settle(source.rate, source.item_shape)
    waves = torch.stack([sounds[k][0] for k in range(len(rows))])
    return rows, torch.cat([front(part) for part in waves.split(64)])


def _divided(name: str, rows: list[dict[str, str]], items: torch.Tensor, targets: dict[str, np.ndarray]) -> Data:
    known = np.array([row["split"] == "train" for row in rows])
    pairs = {task: (labels[known], labels[~known]) for task, labels in targets.items()}
    return Data(name, items[known], items[~known], pairs)


# ------------------------------------------------------------------------------------------------------------ settings


def usual() -> ShuffleRecipe:
    """``shuffle-audio`` on spectrograms that are there already: half the channels, and as many more passes."""
    return replace(shuffle_audio(), front=None, backbone=SmallConv(width=16), epochs=60)


def recipe(loss: str = EXACT) -> ShuffleRecipe:
    """With what the search chose for each loss."""
    made = with_loss(usual(), loss, strength=0.1)
    return replace(made, optim=AdamW(lr=1.5e-3), epochs=15) if loss == FIXED else made


def layout(name: str) -> ShuffleRecipe:
    """The recipe with another way of cutting."""
    patches = LAYOUTS[name]
    return recipe() if patches is None else replace(recipe(), patches=patches)


# --------------------------------------------------------------------------------------------------------------- cells


def cells(folder: Path) -> list[Cell]:
    """All measurements on sounds."""
    made = [
        Cell(f"notes/{slug(loss)}/{seed}", partial(_loss_cell, folder, loss, seed))
        for seed, loss in product(SEEDS, LOSSES)
    ]
    made += [
        Cell(f"layout/{data}/{name}/{seed}", partial(_layout_cell, folder, data, name, seed))
        for seed, data, name in product(SEEDS, ("notes", "spoken"), LAYOUTS)
        if (data, name) != ("notes", "frequency")  # that is notes/perturbed-ranks-exact
    ]
    made += [
        Cell(f"bands/{n}/{seed}", partial(_bands_cell, folder, n, seed)) for seed, n in product((0, 1), BAND_NUMBERS)
    ]
    made += [Cell(f"supervised/{seed}", partial(_supervised_cell, folder, seed)) for seed in SEEDS[:2]]
    return made


def slug(name: str) -> str:
    """A layer's name in a cell's."""
    return name.replace(",", "").replace(" ", "-")


def _loss_cell(folder: Path, loss: str, seed: int) -> list[Line]:
    data = notes(folder)
    done = pretrain(recipe(loss), data.train, seed=seed)
    beside = {"raw": RAW, "random": RANDOM} if loss == EXACT else {}
    return judged(done, data, layer=loss, beside=beside, counts=LABELS, probe=mlp_probe, seed=seed)


def _layout_cell(folder: Path, name: str, cut: str, seed: int) -> list[Line]:
    data = notes(folder) if name == "notes" else spoken(folder)
    done = pretrain(layout(cut), data.train, seed=seed)
    beside = {"raw": RAW, "random": f"{RANDOM}, {cut}"} if cut == "frequency" else {"random": f"{RANDOM}, {cut}"}
    return judged(done, data, layer=cut, beside=beside, counts=(500,), probe=mlp_probe, seed=seed)


def _bands_cell(folder: Path, number: int, seed: int) -> list[Line]:
    data = notes(folder)
    done = pretrain(replace(recipe(), patches=Bands(number)), data.train, seed=seed)
    beside = {"random": f"{RANDOM}, {number} bands"}
    layer = f"{number} bands"
    return judged(done, data, layer=layer, beside=beside, counts=(500,), probe=mlp_probe, seed=seed)


def _supervised_cell(folder: Path, seed: int) -> list[Line]:
    """The same architecture, trained on the labels alone; only its description is taken of the encoder."""
    data = notes(folder)
    encoder = pretrain(replace(recipe(), epochs=1), data.train[:128], seed=seed).encoder
    learner = Supervised(encoder, batch_size=32, folds=2)
    rows = {SUPERVISED: (data.train.numpy(), data.test.numpy())}
    mark = stamp(data.name, "test", "supervised")
    results = compare(rows, data.tasks(), LABELS, draws=1, seed=seed, probe=learner, stamp=mark)
    return list(map(as_line, results))
