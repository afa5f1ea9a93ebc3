"""The cells of `permutation_optimisation.py`: what each trains, and what it measures.

Names are paths: numbers/MODEL/SIZE, numbers/transfer/SIZE, mosaic/DATA/GRID/MODEL/seedK, implicit/DATA/GRID/…,
ablation/TASK/UPDATE/seedK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unshuffle import recipes, values
from unshuffle.data import Images, Numbers
from unshuffle.data.loaders import ordered_loader
from unshuffle.data.named import CIFAR10, MNIST, Labelled
from unshuffle.evals.encoder import Encoder, load
from unshuffle.evals.mosaics import classified_results, mosaic_results, rebuild
from unshuffle.evals.results import stamp
from unshuffle.evals.sorting import sorting_results
from unshuffle.methods.arrangers import Arranger
from unshuffle.permutations import apply
from unshuffle.recipes import AnyRecipe, MosaicRecipe, SortRecipe
from unshuffle.recipes.implicit import trained_classifier
from unshuffle.train import folder
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.optim import AdamW
from unshuffle.train.parts import split
from unshuffle.train.progress import Silent
from unshuffle.types import Result

SIZES = (5, 10, 15, 80, 100, 120, 512, 1024)
GRIDS = (2, 3, 4, 5)
MODELS = ("lin", "po_u", "po_la")
BEYOND = ("neighbours",)
"""Models of mosaics that the paper does not have."""
UPDATES = ("alternative", "proper", "projected")
BATCHES = {
    5: (64, 64), 10: (64, 64), 15: (64, 64), 80: (16, 96), 100: (16, 96), 120: (16, 96), 512: (4, 32), 1024: (2, 32),
}  # fmt: skip
"""Sets in a step, and steps, of PO-U: a few dozen small batches teach the order."""
FALLING = AdamW(lr=0.1, weight_decay=0.0, warmup=0.02)
"""For 80 to 120 numbers: at the paper's constant rate one training in twelve lost the interval that it was trained on,
at a falling one none did (96 steps, seeds 0 to 3 of each size, sets of their own to choose by)."""
FLOWERS = "flowers128.zip"
FLOWERS_EPOCHS, FLOWERS_HELD_OUT = 20, 0.2

Values = dict[str, float]


class Options(NamedTuple):
    """How to measure, in this call."""

    data: Path
    runs: Path
    epochs: int | None
    images: int | None
    sets: int
    device: str


@dataclass(frozen=True)
class Cell:
    """One name, what it trains, and how what was trained is measured."""

    name: str
    recipe: Callable[[Options], AnyRecipe]
    measured: Callable[[Cell, Options], Values]

    def settings(self, options: Options) -> dict[str, Any]:
        """The recipe as JSON, and how it was measured."""
        recipe = cast(dict[str, Any], values.to_json(self.recipe(options)))
        if "classifier" in recipe:  # the run's name, not where it lies here
            recipe["classifier"] = Path(recipe["classifier"]).name
        return {"recipe": recipe, "images": options.images, "sets": options.sets}


def measure(cell: Cell, options: Options) -> Values:
    """Trains what the cell needs, where that is not there yet, and measures it."""
    return cell.measured(cell, options)


# ------------------------------------------------------------------------------------------------------------ numbers


def sorter(model: str, size: int, options: Options) -> SortRecipe:
    """PO-U by a few dozen small batches; LinAssign by as many steps as the paper's, smaller ones for large sets."""
    if model == "po_u":
        batch, steps = BATCHES[size]
        recipe = recipes.sort_numbers_po_u()
        recipe = replace(recipe, optim=FALLING) if 80 <= size <= 120 else recipe
    else:
        batch, steps = (256, 512) if size <= 120 else (8, 512)
        recipe = recipes.sort_numbers_lin_assign()
    return replace(recipe, source=Numbers(size, sets=batch * steps), batch_size=batch)


def sorted_exactly(cell: Cell, options: Options, *, sizes: tuple[int, ...]) -> Values:
    """``SIZE LOW..HIGH`` to the share of sets that are sorted exactly."""
    encoder = trained(cell, options, lambda recipe: recipe.source.open())  # type: ignore[union-attr]
    lines = sorting_results(
        cast(Arranger, encoder.net), stamp("numbers", "test", cell.name), sizes=sizes, sets=options.sets
    )
    return {f"{line.task.split()[2]} {line.layer}": line.value for line in lines}


# ------------------------------------------------------------------------------------------------------------ mosaics


def mosaic(data: str, grid: int, model: str, seed: int, options: Options) -> MosaicRecipe:
    """The paper's recipe; of flowers, ImageNet's network for more epochs."""
    name = "imagenet64" if data == "flowers64" else data
    recipe = cast(MosaicRecipe, recipes.ALL[f"mosaic_{name}_{model}"]())
    recipe = replace(recipe, grid=(grid, grid), seed=seed)
    if data == "flowers64":
        recipe = replace(recipe, epochs=FLOWERS_EPOCHS, holdout=FLOWERS_HELD_OUT)
    return _shorter(recipe, options)


def grey(grid: int, options: Options) -> MosaicRecipe:
    """CIFAR-10's brightness alone.

    Where its images are JPEG files, colour is stored at half the resolution and drawn out over the borders of tiles,
    which tells neighbours by more than what continues. Of brightness each tile of 8 × 8 pixels has a block of its own.
    """
    recipe = mosaic("cifar10", grid, "neighbours", 0, options)
    source = replace(cast(Labelled, recipe.source), items=Images(size=32, grey=True))
    return replace(recipe, source=source, mean=(0.48,), deviation=(0.2,))


def _shorter(recipe: Any, options: Options) -> Any:
    return recipe if options.epochs is None else replace(recipe, epochs=options.epochs)


def put_together(cell: Cell, options: Options) -> Values:
    """The metrics of mosaics of the test part."""
    encoder = trained(cell, options, partial(training_part, options=options))
    items, _ = test_part(cell.recipe(options), options)
    rebuilt = rebuild(encoder, items, seed=0, double=True)
    lines = mosaic_results(rebuilt, stamp("", "test", cell.name), layer="arranged", seed=0)
    return _named(lines)


def _named(lines: list[Result]) -> Values:
    return {f"{line.task}: {line.layer}": line.value for line in lines} | {"images": float(lines[0].n)}


# ----------------------------------------------------------------------------------------------- through a classifier


def classifier(data: str, grid: int, seed: int, options: Options) -> Any:
    """The recipe of whole images."""
    recipe = replace(cast(Any, recipes.ALL[f"classify_{data}"]()), grid=(grid, grid), seed=seed)
    return _shorter(recipe, options)


def implicit(data: str, grid: int, model: str, seed: int, options: Options) -> Any:
    """The recipe that learns through it."""
    recipe = replace(cast(Any, recipes.ALL[f"mosaic_classify_{data}_{model}"]()), grid=(grid, grid), seed=seed)
    place = place_of(f"implicit/{data}/{grid}x{grid}/classifier/seed{seed}", options)
    return replace(_shorter(recipe, options), classifier=str(place))


def classified(cell: Cell, options: Options) -> Values:
    """Of a classifier of whole images, its accuracy on them."""
    encoder = trained(cell, options, partial(training_part, options=options))
    items, labels = test_part(cell.recipe(options), options)
    with torch.no_grad():
        scores = torch.cat([encoder.net(encoder.prepare(part)) for part in items.split(256)])
    return {"accuracy": (scores.argmax(-1).numpy() == labels).mean().item(), "images": float(len(items))}


def classified_through(cell: Cell, options: Options) -> Values:
    """Accuracy and squared error of softly arranged images, of the images themselves and of shuffled ones."""
    recipe = cast(Any, cell.recipe(options))
    needed = cell.name.rpartition("/")[0].rpartition("/")[0] + f"/classifier/seed{recipe.seed}"
    trained(CELLS[needed], options, partial(training_part, options=options))
    encoder = trained(cell, options, partial(training_part, options=options))
    items, labels = test_part(recipe, options)
    known = trained_classifier(recipe.classifier, recipe.tiles())
    return _named(
        classified_results(encoder, known, items, labels, stamp("", "test", cell.name), layer="arranged")
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- ablation


def ablated(task: str, update: str, seed: int, options: Options) -> Any:
    """Ten numbers, or MNIST 3 × 3 for one epoch, with another inner update."""
    if task == "numbers":
        return replace(sorter("po_u", 10, options), update=update, seed=seed)
    return replace(mosaic("mnist", 3, "po_u", seed, options), update=update, epochs=options.epochs or 1)


def sharpness(cell: Cell, options: Options) -> Values:
    """The mean entropy of a row of the soft permutation (nats), its squared error, and that of the hard one."""
    recipe = cast(Any, cell.recipe(options))
    numbers = isinstance(recipe, SortRecipe)
    open_data = (lambda r: r.source.open()) if numbers else partial(training_part, options=options)
    encoder = trained(cell, options, cast(Any, open_data))
    net = cast(Arranger, encoder.net).double()
    if numbers:
        sets = recipe.source.draw(max(options.sets, 64), generator=torch.Generator().manual_seed(1))
        truth = sets.flatten(1).sort(-1).values.unsqueeze(-1)
    else:
        items, _ = test_part(recipe, options)
        truth = encoder.prepare(items[:1024]).double()
    generator = torch.Generator().manual_seed(0)
    perm = torch.rand(truth.shape[:2], generator=generator).argsort(-1)
    shuffled = apply(truth, perm)
    with torch.no_grad():
        soft = net(shuffled)
        hard = apply(shuffled, net.places(shuffled).argsort(-1))
    entropy = torch.special.entr(soft.permutation).sum(-1).mean().item()
    return {
        "entropy": entropy, "soft error": (soft.sequence - truth).square().mean().item(),
        "hard error": (hard - truth).square().mean().item(), "step size": float(cast(Tensor, net.step_size)),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- data, trainings


def place_of(name: str, options: Options) -> Path:
    """The folder of a cell's training; other epochs or images are another one."""
    marks = [f"-{kind}{number}" for kind, number in (("e", options.epochs), ("i", options.images)) if number]
    return options.runs / (name.replace("/", "-") + "".join(marks))


def trained(cell: Cell, options: Options, data: Callable[[Any], Dataset]) -> Encoder:
    """The cell's encoder: loaded where its training is finished, else trained or gone on with."""
    place = place_of(cell.name, options)
    recipe = cell.recipe(options)
    begun = (place / folder.RECIPE).exists()
    if begun and folder.read(place).recipe != recipe:
        raise SystemExit(f"{place} was trained by another recipe; remove it, or give another --runs.")
    if begun and (place / "encoder.json").exists():
        return load(place)
    machine = Machine(device=options.device, log_every=50)
    run = train(recipe, data(recipe), out=place, machine=machine, resume=begun, title=cell.name, progress=Silent())
    return run.encoder


@lru_cache(maxsize=4)
def opened(source: Any, root: Path) -> Any:
    """A data set, decoded once for all cells."""
    return source.open(root)


def _root(recipe: Any, options: Options) -> Path:
    """MNIST and CIFAR-10 lie below --data; photographs are the flowers there, where there are any, or ImageNet."""
    if isinstance(recipe.source, Labelled):
        return options.data
    return options.data / FLOWERS if recipe.holdout else options.data / "imagenet"


def training_part(recipe: Any, *, options: Options) -> Dataset:
    """What is trained on; of flowers all, of which the recipe holds out a part."""
    source, root = recipe.source, _root(recipe, options)
    if not isinstance(source, Labelled) and not recipe.holdout:
        root = root / "train"
    return _few(opened(source, root), options.images)


def test_part(recipe: Any, options: Options) -> tuple[Tensor, np.ndarray]:
    """Items and labels that were not trained on."""
    source, root = recipe.source, _root(recipe, options)
    if isinstance(source, Labelled):
        tested = cast(MNIST | CIFAR10, source.layout).tested()
        data = opened(replace(source, layout=tested), root)
        if source.items.grey:  # kept in colour, turned as it is read
            return _read(_few(data, options.images))
        return data.items[: options.images], data.labels[: options.images]
    if recipe.holdout:
        _, held_out = split(_few(opened(source, root), options.images), recipe.holdout, seed=recipe.seed)
    else:
        held_out = opened(source, root / "val")
    return _read(_few(held_out, options.images))


def _read(data: Dataset) -> tuple[Tensor, np.ndarray]:
    """All items that can be read, and their labels: sub-folders are classes."""
    found = [loaded.raw for loaded in ordered_loader(data, batch_size=256) if loaded.raw is not None]
    labels = [cast(Tensor, raw.label) for raw in found]
    return torch.cat([raw.items for raw in found]), torch.cat(labels).numpy()


def _few(data: Any, count: int | None) -> Dataset:
    if count is None or count >= len(data):
        return data
    # From all over: folders lie class after class.
    return Subset(data, np.linspace(0, len(data) - 1, count).round().astype(int).tolist())


# -------------------------------------------------------------------------------------------------------- all of them


def _cells() -> dict[str, Cell]:
    found = [
        Cell(f"numbers/{model}/{size}", partial(sorter, model, size), partial(sorted_exactly, sizes=(size,)))
        for model in ("po_u", "lin_assign")
        for size in SIZES
    ]
    found.append(Cell("numbers/transfer/10", partial(sorter, "po_u", 10), partial(sorted_exactly, sizes=SIZES)))
    for data, seeds in (("mnist", 3), ("cifar10", 3), ("flowers64", 1), ("imagenet64", 1)):
        for seed in range(seeds):
            found += [
                Cell(f"mosaic/{data}/{g}x{g}/{model}/seed{seed}", partial(mosaic, data, g, model, seed), put_together)
                for g in GRIDS
                for model in (*MODELS, *BEYOND)
            ]
    found += [Cell(f"mosaic/cifar10grey/{g}x{g}/neighbours/seed0", partial(grey, g), put_together) for g in GRIDS]
    for data in ("mnist", "cifar10", "imagenet64"):
        for grid in GRIDS:
            base = f"implicit/{data}/{grid}x{grid}"
            found.append(Cell(f"{base}/classifier/seed0", partial(classifier, data, grid, 0), classified))
            found += [
                Cell(f"{base}/{model}/seed0", partial(implicit, data, grid, model, 0), classified_through)
                for model in MODELS
            ]
    found += [
        Cell(f"ablation/{task}/{update}/seed{seed}", partial(ablated, task, update, seed), sharpness)
        for task in ("numbers", "mnist3x3")
        for update in UPDATES
        for seed in range(3)
    ]
    return {cell.name: cell for cell in found}


CELLS = _cells()
