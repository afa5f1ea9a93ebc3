"""``unshuffle eval`` of runs that learnt to arrange: sorted numbers, mosaics, mosaics learnt through a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from unshuffle.cli.runs import matched, stored
from unshuffle.cli.where import opened

if TYPE_CHECKING:
    from torch import Tensor

    from unshuffle.cli.eval import EvalOptions
    from unshuffle.evals.encoder import Encoder
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Figure, Result

MOST_IMAGES = 10_000
"""Images of a data set that are measured on, at the most, evenly spaced over all."""


class Measured(NamedTuple):
    """Results, and the pictures beside them."""

    results: list[Result]
    figures: list[Figure]


def measured(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """What an encoder that arranges is worth.

    Raises:
        ValueError: mosaics need data, and none are given.
    """
    from unshuffle.data.numbers import Sorting

    if isinstance(encoder.transform, Sorting):
        return _sorted(encoder, options, terminal)
    data = options.only_data()
    if data is None:
        raise ValueError("mosaics are measured on images: give --data.")
    return _rebuilt(encoder, options, data, terminal)


def _sorted(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    from unshuffle.evals import stamp
    from unshuffle.evals.arrangement_figures import comparison_figure
    from unshuffle.evals.sorting import SIZES, sorting_results
    from unshuffle.methods.arrangers import Arranger
    from unshuffle.methods.permopt import LinearAssigner

    net = cast(Arranger, encoder.net)
    mark = stamp("numbers", "fresh", options.run.resolve().name)
    sizes = sorted({*SIZES, encoder.item_shape[-1]})
    results = sorting_results(net, mark, sizes=sizes, seed=options.seed, progress=terminal.say)
    if isinstance(net.place, LinearAssigner):
        return Measured(results, [])
    return Measured(results, [comparison_figure(options.run, net)])


def _rebuilt(encoder: Encoder, options: EvalOptions, data: Path, terminal: Terminal) -> Measured:
    from unshuffle.evals import stamp
    from unshuffle.evals.arrangement_figures import mosaic_figures
    from unshuffle.evals.mosaics import mosaic_results, rebuild

    part, split = tested(encoder, options, data)
    rows = np.linspace(0, len(part) - 1, min(MOST_IMAGES, len(part))).round().astype(int).tolist()
    items, labels = _read(part, rows, options)
    mark = stamp(part_name(part), split, options.run.resolve().name)
    with terminal.stage("putting mosaics together", len(items)) as progress:
        rebuilt = rebuild(
            encoder, items, seed=options.seed, batch_size=options.reading.batch_size, progress=progress
        )  # fmt: skip
    results = mosaic_results(rebuilt, mark, layer="pretrained", seed=options.seed)
    results += _classified(encoder, items, labels, mark, options)
    return Measured(results, mosaic_figures(options.run, encoder, items, rebuilt))


def tested(encoder: Encoder, options: EvalOptions, data: Path) -> tuple[Any, str]:
    """What to measure on: --test, the data set's own part, what training held out of the same data, or all of them."""
    from torch.utils.data import Subset

    from unshuffle.train.parts import split

    layout = options.where.layout()
    tested = None if layout is None else layout.tested()
    if options.test is not None or tested is not None:
        return opened(encoder, options.test or data, tested or layout), getattr(tested, "split", "test")
    known = opened(encoder, data, layout)
    own = matched(options.run, known, data)
    if own is None:
        return known, "all"
    recipe = stored(options.run).recipe
    _, held_out = split(cast(Any, own.rows), recipe.holdout, seed=recipe.seed)  # of the samples as the run numbers them
    if held_out is None:
        return known, "all"
    rows = own.rows[cast(Any, held_out).indices]
    if not (rows >= 0).any():
        raise ValueError(f"{data} holds none of the samples that {options.run} kept out of training: {own.change}.")
    return Subset(known, rows[rows >= 0].tolist()), "held out"


def part_name(part: Any) -> str:
    """What tables call a data set, or the whole of which it is a part."""
    return getattr(part, "dataset", part).name


def _read(part: Any, rows: list[int], options: EvalOptions) -> tuple[Tensor, np.ndarray | None]:
    """Items and, where there are any, labels of some samples; unreadable ones are left out."""
    import torch
    from torch.utils.data import Subset

    from unshuffle.data.loaders import SkipLog, ordered_loader

    skipped = SkipLog(options.reading.max_unreadable)
    items, labels = [], []
    for loaded in ordered_loader(Subset(part, rows), batch_size=256, workers=options.reading.workers):
        skipped.add(loaded.skipped)
        if loaded.raw is not None:
            items.append(loaded.raw.items)
            labels += [] if loaded.raw.label is None else [loaded.raw.label]
    if not items:
        raise ValueError(f"not one of {len(rows)} images could be read. {skipped.summary()}")
    return torch.cat(items), torch.cat(labels).numpy() if labels else None


def _classified(
    encoder: Encoder, items: Tensor, labels: np.ndarray | None, mark: Any, options: EvalOptions
) -> list[Result]:
    """What the classifier that taught the mosaics makes of them; nothing where none did."""
    from unshuffle.evals.mosaics import classified_results
    from unshuffle.recipes.implicit import ImplicitRecipe, trained_classifier

    recipe = stored(options.run).recipe
    if not isinstance(recipe, ImplicitRecipe) or labels is None:
        return []
    rows = np.flatnonzero(labels >= 0)  # -1: a file in no class folder
    items, labels = (items, labels) if len(rows) == len(labels) else (items[rows], labels[rows])
    classifier = trained_classifier(recipe.classifier, recipe.tiles())
    return classified_results(
        encoder, classifier, items, labels, mark, layer="pretrained", seed=options.seed,
        batch_size=options.reading.batch_size,
    )  # fmt: skip
