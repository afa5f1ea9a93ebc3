"""Photographs: table 4 of Shuffle to Learn, a hundred patches, and a ResNet in place of AlexNet.

Pretraining sees the flowers without their labels. A linear probe then tells the flowers, and the scenes of another data
set, from the frozen features.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from cells import Cell
from pictures import flowers, scenes
from training import EXACT, FIXED, MSE, RANDOM, RAW, SAMPLED, SOFT, Line, judged, pretrain, with_loss
from unshuffle.data.patching import Grid
from unshuffle.evals import linear_probe
from unshuffle.nets import AlexNet, Backbone, ResNet, SmallConv
from unshuffle.recipes import ShuffleRecipe, shuffle

LOSSES = (FIXED, MSE, SOFT, SAMPLED, EXACT)
SEEDS = (0, 1)
SIZE, SMALL_EPOCHS, LARGE_EPOCHS = 96, 15, 8
BACKBONES: dict[str, Backbone] = {"AlexNet": AlexNet(), "ResNet-18": ResNet(depth=18, stem="standard")}


def recipe(loss: str = EXACT) -> ShuffleRecipe:
    """``shuffle`` with half its channels."""
    return with_loss(replace(shuffle(), backbone=SmallConv(width=16), epochs=SMALL_EPOCHS), loss)


def cells(folder: Path) -> list[Cell]:
    """All measurements on photographs."""
    made = [
        Cell(f"photos/{loss.replace(',', '').replace(' ', '-')}/{seed}", partial(_loss_cell, folder, loss, seed))
        for seed, loss in product(SEEDS, LOSSES)
    ]
    made += [Cell(f"backbone/{name}/0", partial(_backbone_cell, folder, name, 0)) for name in BACKBONES]
    made += [
        Cell(f"hundred/{loss.replace(',', '').replace(' ', '-')}/0", partial(_hundred_cell, folder, loss, 0))
        for loss in LOSSES
    ]
    return made


def _loss_cell(folder: Path, loss: str, seed: int) -> list[Line]:
    beside = {"raw": RAW, "random": RANDOM} if loss == EXACT else {}
    return _judged(folder, recipe(loss), loss, beside, seed)


def _backbone_cell(folder: Path, name: str, seed: int) -> list[Line]:
    made = replace(recipe(), backbone=BACKBONES[name], epochs=LARGE_EPOCHS, batch_size=32)
    return _judged(folder, made, name, {"random": f"{RANDOM}, {name}"}, seed)


def _hundred_cell(folder: Path, loss: str, seed: int) -> list[Line]:
    """Ten by ten patches of nine pixels: 100! orders, of which a fixed set holds a hundred."""
    made = replace(recipe(loss), patches=Grid(10, 10, gap=1), patch_features=32)
    beside = {"random": f"{RANDOM}, 100 patches"} if loss == EXACT else {}
    return _judged(folder, made, f"{loss}, 100 patches", beside, seed, size=100)


def _judged(
    folder: Path, made: ShuffleRecipe, layer: str, beside: dict[str, str], seed: int, *, size: int = SIZE
) -> list[Line]:
    data, others = flowers(folder, size), scenes(folder, size)
    done = pretrain(made, data.train, seed=seed)
    lines = judged(
        done, data, layer=layer, beside=beside, counts=(len(data.train),), probe=linear_probe, seed=seed
    )  # fmt: skip
    moved = judged(
        done, others, layer=layer, beside=beside, counts=(len(others.train),), probe=linear_probe, seed=seed
    )  # fmt: skip
    return [*lines, *(line for line in moved if line["record"] == "result" and "pretext" not in line["task"])]
