"""``unshuffle eval RUN --data FOLDER_WITH_LABELS``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import tyro
from rich.console import Console

from unshuffle.cli.parsing import parse, usable_device

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from unshuffle.evals.encoder import Encoder

ProbeName = Literal["linear", "mlp", "knn"]


@dataclass(frozen=True)
class EvalOptions:
    """Options of ``unshuffle eval``."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a trained run."""
    data: Path
    """Folder whose sub-folders are the classes."""
    test: Path | None = None
    """Such a folder for testing; by default a fifth of --data, drawn at random class by class."""
    probes: tuple[ProbeName, ...] = ("linear", "knn")
    """What learns from the frozen features: linear (cross-validated), mlp (three layers), knn (weighted neighbours)."""
    labels: tuple[int, ...] = (100, 1000)
    """Numbers of labelled samples; all of them is always added."""
    draws: int = 5
    """How often each number of labels is drawn."""
    seed: int = 0
    """Of the split, the draws and the untrained network."""
    batch_size: int = 256
    """Images at a time."""
    workers: int = 0
    """Processes that read images."""
    device: str = "cpu"
    """Where to compute the features."""
    max_unreadable: int = 100
    """Images that may be unreadable and are skipped; one more stops the command."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Measures a trained encoder on labelled images, beside the raw pixels and the untrained network."
    options = parse(EvalOptions, command="eval", arguments=arguments, description=text)
    from unshuffle.cli.tables import show
    from unshuffle.evals.encoder import load
    from unshuffle.evals.results import supersede
    from unshuffle.report import tables, write_report

    encoder = load(options.run, device=usable_device(options.device))
    train, test, classes = _parts(encoder, options)
    results, figures = _measure(encoder, train, test, classes, options)
    supersede(options.run, [*results, *figures])
    show(tables(results))
    Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False)
    return 0


def _parts(encoder: Encoder, options: EvalOptions) -> tuple[Dataset, Dataset, Sequence[str]]:
    """Training and test data with labels, and the classes' names."""
    from torch.utils.data import Subset

    from unshuffle.evals.judge import split_rows

    data = encoder.open(options.data)
    if not data.classes:
        raise ValueError(f"{options.data} has no labels: put the images of each class into a sub-folder of its name.")
    if options.test is None:
        rows, held_out = split_rows(data.labels, test_fraction=0.2, seed=options.seed)
        return Subset(data, rows), Subset(data, held_out), data.classes
    test = encoder.open(options.test)
    if test.classes != data.classes:
        raise ValueError(f"--data and --test must have the same sub-folders; got {data.classes} and {test.classes}.")
    return data, test, data.classes


def _measure(encoder: Encoder, train: Dataset, test: Dataset, classes: Sequence[str], options: EvalOptions):
    """All results and figures."""
    from unshuffle.data.loaders import SkipLog
    from unshuffle.data.patching import Shuffle
    from unshuffle.evals import Task, compare, knn_probe, linear_probe, mlp_probe
    from unshuffle.evals.judge import first_items, representations
    from unshuffle.evals.maps import map_figure
    from unshuffle.evals.puzzles import pretext_results, puzzle_figure, solve
    from unshuffle.evals.results import stamp
    from unshuffle.train.progress import Terminal

    terminal = Terminal()
    skipped = SkipLog(options.max_unreadable, terminal.say)
    terminal.start("embedding", len(cast(list, train)) + len(cast(list, test)))
    try:
        both = representations(
            encoder, train, test, seed=options.seed, batch_size=options.batch_size, workers=options.workers,
            skipped=skipped, progress=lambda done, total: terminal.advance(done, {}),
        )  # fmt: skip
    finally:
        terminal.stop()
    known = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    mark = stamp(options.data.name, "test", options.run.name)
    learners = {"linear": linear_probe, "mlp": mlp_probe, "knn": knn_probe}
    results = []
    for probe in options.probes:
        task = Task(f"class, {probe} probe", "classification", *known)
        results += compare(
            both.pairs(), [task], [*options.labels, len(known[0])], draws=options.draws, seed=options.seed,
            probe=learners[probe], stamp=mark, progress=terminal.say,
        )  # fmt: skip
    title = "Map of the pretrained embedding"
    pictures = [
        map_figure(options.run, both.test.vectors["pretrained"], known[1], name="map", title=title, names=classes)
    ]
    if isinstance(encoder.transform, Shuffle) and encoder.objective is not None:
        items = first_items(test, 1024, workers=options.workers)
        solved = solve(encoder, items, seed=options.seed)
        results += pretext_results(solved, mark, layer="pretrained", seed=options.seed)
        pictures.append(puzzle_figure(options.run, encoder, items, solved))
    if skipped.reasons:
        terminal.say(skipped.summary())
    return results, pictures
