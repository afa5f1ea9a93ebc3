"""All cells, the most telling ones first. A setting that several tables of the paper share is trained once.

``table4/groco/2 views/0`` is also GroCo's own row of tables 5, 6 and 7; a cell of an ablation changes one thing of it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from groco_training import (
    BATCH,
    GLOBAL,
    METHODS,
    PIXELS,
    PROJECTION,
    RATES,
    USUAL,
    VIEWS,
    Line,
    Method,
    augmented,
    judged,
    pixels_judged,
    pretrain,
    recipe,
    sharpened,
    views,
)

from cells import Cell
from sized import Size
from small_images import OTHERS, cifar10, held_back, other
from unshuffle.evals import stamp
from unshuffle.losses import GroupOrder, Negatives, Triplet
from unshuffle.nets import Projector
from unshuffle.recipes import ViewsRecipe
from unshuffle.train.cosine import REFERENCE, CosineSGD
from unshuffle.types import Raw

SEARCH: dict[Method, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "simclr": ((0.03, 0.06, 0.2), (0.1, 0.2, 0.5)),
    "groco": ((0.5, 2.0, 8.0), (1.0, 4.0, 16.0)),
}
"""Rates of a batch of 256, and temperatures or inverse temperatures."""
SEEDS = (0, 1)
MARGINS = (0.8, 1.6, math.inf)
GRID = (
    (0.25, 5), (0.5, 5), (1.0, 5), (0.5, 10), (1.0, 10), (2.0, 10), (1.0, 20), (2.0, 20), (4.0, 20), (8.0, 20)
)  # fmt: skip
"""The inverse temperatures and numbers of negatives of table 6c."""
BATCHES, DIMENSIONS = (64, 128), (128, 2048)
STEPS, STEP_BATCH = 12, 128


def cells(folder: Path, size: Size) -> list[Cell]:
    """One for each training; the names of those of another size than the usual one say so."""
    made = [
        *_search(folder, size), *_table4(folder, size, SEEDS[:1]), *_ablations(folder, size),
        Cell("cost", partial(_cost, size)), *_table4(folder, size, SEEDS[1:]),
    ]  # fmt: skip
    return [cell._replace(name=cell.name + size.mark(USUAL)) for cell in made]


def _search(folder: Path, size: Size) -> Iterator[Cell]:
    for method in METHODS:
        for rate, sharpness in product(*SEARCH[method]):
            yield Cell(
                f"search/{method}/{rate:g}x{sharpness:g}", partial(_tried, folder, size, method, rate, sharpness)
            )


def _tried(folder: Path, size: Size, method: Method, rate: float, sharpness: float) -> list[Line]:
    """A third as long as what is measured with the choice."""
    short = size._replace(epochs=max(1, size.epochs // 3))
    data = held_back(folder, size.images, size.asked)
    made = replace(recipe(method, short, rate=rate), loss=sharpened(method, sharpness))
    return _sized(judged(pretrain(made, data.train.items, size, seed=0), data, seed=0, split="held back"), short)


def _table4(folder: Path, size: Size, seeds: tuple[int, ...]) -> Iterator[Cell]:
    if 0 in seeds:
        yield Cell("table4/raw/0", partial(_raw, folder, size))
    for seed in seeds:
        yield Cell(f"table4/random/{seed}", partial(_untrained, folder, size, seed))
        for kind, method in product(VIEWS, METHODS):
            transfers = kind == GLOBAL
            made = recipe(method, size, kind=kind)
            yield Cell(f"table4/{method}/{kind}/{seed}", partial(_cell, folder, size, made, seed, transfers))


def _ablations(folder: Path, size: Size) -> Iterator[Cell]:
    groco, simclr = (recipe(method, size) for method in ("groco", "simclr"))
    loss = groco.loss
    assert isinstance(loss, GroupOrder)
    varied: dict[str, ViewsRecipe] = {
        "table7c/10 random negatives": replace(groco, loss=replace(loss, negatives=Negatives(choice="random"))),
        "table7a/simclr as in dino": replace(simclr, views=augmented("dino")),
        "table7a/groco as in simclr": replace(groco, views=augmented("simclr")),
        "gradient/groco through both": replace(groco, loss=replace(loss, stop_gradient=False)),
        "table6b/in any order": replace(groco, loss=replace(loss, preorder=False)),
    }
    # Triplets move as InfoNCE does: their distances are not flattened by an arctangent.
    triplets = replace(groco, optim=CosineSGD(lr=RATES["simclr"] * REFERENCE / BATCH, reference_epochs=None))
    varied |= {f"table6a/margin {margin:g}": replace(triplets, loss=Triplet(margin)) for margin in MARGINS}
    varied |= {f"table7b/{length}": replace(groco, projector=Projector(512, length)) for length in DIMENSIONS}
    varied |= {f"table6d/{batch}": replace(groco, batch_size=batch) for batch in BATCHES}
    varied |= {
        f"table6c/{beta:g}x{count}": replace(groco, loss=GroupOrder(beta, Negatives(count)))
        for beta, count in GRID if GroupOrder(beta, Negatives(count)) != loss
    }  # fmt: skip
    for name, made in varied.items():
        yield Cell(f"{name}/0", partial(_cell, folder, size, made, 0, False))


def _cell(folder: Path, size: Size, made: ViewsRecipe, seed: int, transfers: bool) -> list[Line]:
    data = cifar10(folder, size.images, size.asked)
    encoder = pretrain(made, data.train.items, size, seed=seed)
    lines = judged(encoder, data, seed=seed, spaces=(PROJECTION,))
    for name in OTHERS if transfers else ():
        lines += judged(encoder, other(folder, name), seed=seed)
    return _sized(lines, size)


def _raw(folder: Path, size: Size) -> list[Line]:
    """The pixels themselves."""
    sets = [cifar10(folder, size.images, size.asked), *(other(folder, name) for name in OTHERS)]
    return _sized([line for data in sets for line in pixels_judged(data)], size)


def _untrained(folder: Path, size: Size, seed: int) -> list[Line]:
    """The same network with fresh weights, its batch-norm statistics those of unlabelled training images."""
    data = cifar10(folder, size.images, size.asked)
    first = pretrain(replace(recipe("groco", size), epochs=1), data.train.items[:BATCH], size, seed=seed)
    encoder = first.untrained(data.train.items[:1024], seed=seed)
    lines = judged(encoder, data, seed=seed)
    for name in OTHERS:
        lines += judged(encoder, other(folder, name), seed=seed)
    return _sized(lines, size)


def _sized(lines: list[Line], size: Size) -> list[Line]:
    return [{**line, "images": size.images, "epochs": size.epochs, "width": size.width} for line in lines]


def _cost(size: Size) -> list[Line]:
    """One training step of either method on one batch, by turns: forward, backward and the weights' move."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (STEP_BATCH, 3, PIXELS, PIXELS), generator=generator).byte()
    batch = views("groco", GLOBAL)(Raw(pixels, torch.arange(STEP_BATCH)), generator)
    plans = {method: recipe(method, size).build((3, PIXELS, PIXELS)) for method in METHODS}
    optimizers = {method: recipe(method, size).optim.build(plan.method) for method, plan in plans.items()}
    seconds: dict[Method, list[float]] = {method: [] for method in METHODS}
    for _ in range(STEPS):
        for method in METHODS:
            began = time.perf_counter()
            plans[method].method.step(batch).loss.backward()  # type: ignore[operator]
            optimizers[method].step()
            optimizers[method].zero_grad()
            seconds[method].append(time.perf_counter() - began)
    mark = stamp("random images", "train", "groco")._asdict()
    times = {method: round(statistics.median(found[2:]), 4) for method, found in seconds.items()}
    return [{"record": "time", "seconds": times, "batch": STEP_BATCH, "width": size.width, **mark}]
