"""All cells, the most telling ones first. A setting that several tables of the paper share is trained once.

``full/sela 128x1/0`` is self-labelling's row of table 8, and the middle of tables 1 to 4; ``full/sela 128x10/0`` is
that of tables 3, 5 and 6. A cell of an ablation changes one thing of the former.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from sela_training import (
    CHOSEN,
    FALLING,
    METHODS,
    TEN_HEADS,
    USUAL,
    Choice,
    Line,
    Method,
    clustered,
    judged,
    labelled,
    over_time,
    trained,
    unlabelled,
    untrained,
)

from cells import Cell
from sized import Size
from small_images import Part, Split, cifar10, held_back, other
from unshuffle.recipes.sela import SelfLabelRecipe

KINDS = ("full", "light", "heavy")
"""Of training data: all classes alike; half of the trucks gone; 10 % of the first class gone, 20 % of the second, …"""
TRUCK = 9
OTHERS = ("flowers", "mnist")
SEEDS = (0, 1)
SEARCH = (0.01, 0.03, 0.1)
WIDER: dict[str, tuple[float, ...]] = {TEN_HEADS: (0.3,), "k-means": (0.003,)}
"""Rates of the search; further ones where the best was at an end."""
LABELLINGS, CLUSTERS, HEADS = (0, 4, 60), (32, 512), (3,)
"""Beside the usual setting: labellings (30, every second epoch), clusters (128) and heads (1; 10)."""
OTHER_LOOKS = ("one view", "as embedded")
AGAIN = {"alexnet": "trained again", "resnet": "AlexNet on its labels"}


def cells(folder: Path, size: Size) -> list[Cell]:
    """One for each training; the names of those of another size than the usual one say so."""
    first, second = (_main(folder, size, seed) for seed in SEEDS)
    search = (Cell(searched(*pair), partial(_tried, folder, size, *pair)) for pair in tried())
    made = [*search, *first, *_ablations(folder, size), *second, *_falling(folder, size)]
    return [cell._replace(name=cell.name + size.mark(USUAL)) for cell in made]


def tried() -> Iterator[tuple[str, Choice]]:
    """Rates with four views, other looks at the rate in the middle; all at falling rates and at one rate all along.
    Other looks at the chosen rate, too."""
    for row, chosen in CHOSEN.items():
        for falling in (True, False):
            yield from ((row, Choice(rate, falling)) for rate in sorted((*SEARCH, *WIDER.get(row, ()))))
            rates = {SEARCH[1], chosen.rate} if falling == chosen.falling else {SEARCH[1]}
            looks = OTHER_LOOKS if row in METHODS else ()
            yield from ((row, Choice(rate, falling, look)) for rate in sorted(rates) for look in looks)


def searched(row: str, choice: Choice) -> str:
    """What the cell of a choice is called."""
    look = "–" if row == "supervised" else choice.look
    return f"search/{row}{'' if choice.falling else ', one rate all along'}/{look}/{choice.rate:g}"


def _main(folder: Path, size: Size, seed: int) -> Iterator[Cell]:
    """Tables 6 and 8."""
    yield Cell(f"full/random/{seed}", partial(_random, folder, size, seed))
    for kind in KINDS:
        heads = (1, 10) if kind == "full" else (1,)
        for count in heads:
            made = unlabelled(size, heads=count)
            yield Cell(f"{kind}/sela 128x{count}/{seed}", partial(_unlabelled, folder, size, kind, made, seed))
        made = unlabelled(size, "k-means")
        yield Cell(f"{kind}/k-means 128x1/{seed}", partial(_unlabelled, folder, size, kind, made, seed))
        yield Cell(f"{kind}/supervised/{seed}", partial(_supervised, folder, size, kind, seed))


def _ablations(folder: Path, size: Size) -> Iterator[Cell]:
    """Tables 1 to 4, and the part of table 5 that needs another network."""
    varied = {f"table1/{count} labellings": unlabelled(size, rounds=count) for count in LABELLINGS}
    varied |= {f"table2/{clusters}x1": unlabelled(size, clusters=clusters) for clusters in CLUSTERS}
    varied |= {f"table3/128x{heads}": unlabelled(size, heads=heads) for heads in HEADS}
    varied["start/cold 128x1"] = unlabelled(size, warm_start=False)
    varied |= {f"table4/{kind} 128x1": unlabelled(size, kind=kind) for kind in ("narrow", "resnet")}
    for name, made in varied.items():
        yield Cell(f"{name}/0", partial(_unlabelled, folder, size, "full", made, 0))


def _falling(folder: Path, size: Size) -> Iterator[Cell]:
    """The rows that labels teach, at rates that fall as in the recipes."""
    for row, choice in FALLING.items():
        method, heads = _made_of(row)
        made = unlabelled(size, method, heads=heads, choice=choice)
        for kind in KINDS if heads == 1 else ("full",):
            yield Cell(f"falling/{kind}/{method} 128x{heads}/0", partial(_unlabelled, folder, size, kind, made, 0))


def _made_of(row: str) -> tuple[Method, int]:
    """The method and the heads of a kind of row."""
    return ("sela", 10) if row == TEN_HEADS else (cast(Method, row), 1)


# ------------------------------------------------------------------------------------------------------------- one cell


def _unlabelled(folder: Path, size: Size, kind: str, made: SelfLabelRecipe, seed: int) -> list[Line]:
    """Trains without labels; where a table asks for it, AlexNet learns the labels that were found, from scratch."""
    data = imbalanced(cifar10(folder, size.images, size.asked), kind)
    run = trained(made, data.train.items, size, seed=seed)
    lines = judged(run.encoder, judged_on(folder, size), seed=seed)
    for name in OTHERS if made.clusters == (128,) else ():
        lines += judged(run.encoder, other(folder, name), seed=seed)
    lines += clustered(run.encoder, data.test, data.name, seed=seed)
    lines += over_time(run, data.train.labels, size)
    again = "resnet" if not made.hidden else "alexnet" if made.heads == 10 else None
    if again and run.labels:
        found = run.labels[-1].labels.T.astype(np.int64)
        second = trained(labelled(size, made.classes), data.train.items, size, seed=seed + 100, labels=found)
        lines += judged(second.encoder, judged_on(folder, size), seed=seed, layer=AGAIN[again])
    return _sized(lines, size)


def _supervised(folder: Path, size: Size, kind: str, seed: int) -> list[Line]:
    train = imbalanced(cifar10(folder, size.images, size.asked), kind).train
    encoder = trained(labelled(size), train.items, size, seed=seed, labels=train.labels).encoder
    lines = judged(encoder, judged_on(folder, size), seed=seed)
    for name in OTHERS:
        lines += judged(encoder, other(folder, name), seed=seed)
    return _sized(lines, size)


def _random(folder: Path, size: Size, seed: int) -> list[Line]:
    data = judged_on(folder, size)
    encoder = untrained(data.train.items, size, seed=seed)
    lines = judged(encoder, data, seed=seed)
    for name in OTHERS:
        lines += judged(encoder, other(folder, name), seed=seed)
    return _sized(lines, size)


def _tried(folder: Path, size: Size, row: str, choice: Choice) -> list[Line]:
    """Half as long as what is measured with the choice."""
    short = size._replace(epochs=max(1, size.epochs // 2))
    data = held_back(folder, size.images, size.asked)
    if row == "supervised":
        made, labels = labelled(short, choice=choice), data.train.labels
    else:
        method, heads = _made_of(row)
        made, labels = unlabelled(short, method, heads=heads, choice=choice), None
    encoder = trained(made, data.train.items, short, seed=0, labels=labels).encoder
    return _sized(judged(encoder, data, seed=0, split="held back"), short)


def judged_on(folder: Path, size: Size) -> Split:
    """Balanced images: neighbours and probes learn from all of them, whatever the network was trained on."""
    return cifar10(folder, size.images, size.asked)


def imbalanced(data: Split, kind: str) -> Split:
    """The same with fewer training images of some classes: the first ones of each are kept."""
    if kind == "full":
        return data
    keep = np.zeros(len(data.train.labels), dtype=bool)
    for label in range(10):
        rows = np.flatnonzero(data.train.labels == label)
        dropped = (0.5 if label == TRUCK else 0.0) if kind == "light" else (label + 1) / 10
        keep[rows[: len(rows) - round(dropped * len(rows))]] = True
    return Split(data.name, Part(data.train.items[torch.from_numpy(keep)], data.train.labels[keep]), data.test)


def _sized(lines: list[Line], size: Size) -> list[Line]:
    return [{**line, "images": size.images, "epochs": size.epochs, "width": size.width} for line in lines]
