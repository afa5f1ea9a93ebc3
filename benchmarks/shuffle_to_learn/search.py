"""What was tried on notes before anything was measured: the training part alone, a fifth of it held back.

The cells stand in the order in which they were tried. What was chosen from them is in ``recordings.recipe``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from recordings import layout, notes, spoken, usual

from cells import Cell
from training import EXACT, FIXED, MSE, RANDOM, RAW, SOFT, Line, judged, pretrain, with_loss
from unshuffle.data.slices import Slices
from unshuffle.evals import mlp_probe
from unshuffle.recipes import ShuffleRecipe
from unshuffle.train.optim import AdamW

USUAL = usual()
EPOCHS = (3, 10, 30)
GAP = Slices("1", number=10, gap=2)
TRIED: dict[str, ShuffleRecipe] = {
    EXACT: with_loss(USUAL, EXACT),
    f"{EXACT}, σ = 1": with_loss(USUAL, EXACT, sigma=1.0),
    f"{SOFT}, ε = 1": with_loss(USUAL, SOFT, strength=1.0),
    f"{SOFT}, ε = 0.1": with_loss(USUAL, SOFT, strength=0.1),
    MSE: with_loss(USUAL, MSE),
    f"{MSE}, rate 1.5e-3": replace(with_loss(USUAL, MSE), optim=AdamW(lr=1.5e-3)),
    FIXED: with_loss(USUAL, FIXED),
    f"{FIXED}, rate 1.5e-3, 15 epochs": replace(with_loss(USUAL, FIXED), optim=AdamW(lr=1.5e-3), epochs=15),
    f"{EXACT}, 15 epochs": replace(with_loss(USUAL, EXACT), epochs=15),
    f"{EXACT}, bands placed at random within their cells, 2 bins less": replace(with_loss(USUAL, EXACT), patches=GAP),
    f"{EXACT}, the same, in the middle": replace(with_loss(USUAL, EXACT), patches=replace(GAP, jitter=False)),
}


def cells(folder: Path) -> list[Cell]:
    """One for each setting on notes, and for each length of training on spoken digits."""
    made = [Cell(f"search/{k}", partial(_cell, folder, name)) for k, name in enumerate(TRIED)]
    return made + [
        Cell(f"search-spoken/{name}/{epochs}", partial(_spoken_cell, folder, name, epochs))
        for name, epochs in product(("frequency", "time"), EPOCHS)
    ]


def _cell(folder: Path, name: str) -> list[Line]:
    data = notes(folder).held_back()
    done = pretrain(TRIED[name], data.train, seed=0)
    beside = {"raw": RAW, "random": RANDOM} if name == EXACT else {}
    return judged(
        done, data, layer=name, beside=beside, counts=(500,), probe=mlp_probe, seed=0, draws=2, split="held back"
    )  # fmt: skip


def _spoken_cell(folder: Path, name: str, epochs: int) -> list[Line]:
    data = spoken(folder).held_back()
    done = pretrain(replace(layout(name), epochs=epochs), data.train, seed=0)
    first = (name, epochs) == ("frequency", EPOCHS[0])
    beside = {"raw": RAW, "random": RANDOM} if first else {}
    layer = f"{name}, {epochs} epochs"
    return judged(
        done, data, layer=layer, beside=beside, counts=(500,), probe=mlp_probe, seed=0, draws=2, split="held back"
    )  # fmt: skip
