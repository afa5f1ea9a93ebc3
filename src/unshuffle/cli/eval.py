"""``unshuffle eval RUN --data FOLDER_WITH_LABELS``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, cast

import numpy as np
import tyro
from rich.console import Console

from unshuffle.cli.parsing import parse, usable_device

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from unshuffle.evals import Stamp
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.judge import Representations
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Figure, Result

ProbeName = Literal["linear", "mlp", "knn"]


@dataclass(frozen=True)
class EvalOptions:
    """Options of ``unshuffle eval``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
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


class Parts(NamedTuple):
    """Training and test data with labels, and what they are called."""

    train: Dataset
    test: Dataset
    classes: Sequence[str]
    name: str


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Measures a trained encoder on labelled images, beside the raw pixels and the untrained network."
    options = parse(EvalOptions, command="eval", arguments=arguments, description=text)
    from unshuffle.cli.tables import show
    from unshuffle.evals import stamp, supersede
    from unshuffle.evals.encoder import load
    from unshuffle.report import tables, write_report
    from unshuffle.train.progress import Terminal

    terminal = Terminal()
    encoder = load(options.run, device=usable_device(options.device))
    parts = _parts(encoder, options)
    mark = stamp(parts.name, "test", options.run.resolve().name)
    both = _embedded(encoder, parts, options, terminal)
    results = _probed(both, mark, options, terminal)
    solved, figures = _pictured(encoder, parts, both, mark, options)
    supersede(options.run, [*results, *solved, *figures])
    show(tables([*results, *solved]))
    Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False)
    return 0


def _parts(encoder: Encoder, options: EvalOptions) -> Parts:
    from torch.utils.data import Subset

    from unshuffle.evals.judge import split_rows

    data = encoder.open(options.data)
    if not data.classes:
        raise ValueError(f"{options.data} has no labels: put the images of each class into a sub-folder of its name.")
    if options.test is None:
        rows, held_out = split_rows(data.labels, test_fraction=0.2, seed=options.seed)
        return Parts(Subset(data, rows), Subset(data, held_out), data.classes, data.name)
    test = encoder.open(options.test)
    if test.classes != data.classes:
        given = " and ".join(", ".join(classes) or "none" for classes in (data.classes, test.classes))
        raise ValueError(f"--data and --test must have the same sub-folders; got {given}.")
    return Parts(data, test, data.classes, data.name)


def _embedded(encoder: Encoder, parts: Parts, options: EvalOptions, terminal: Terminal) -> Representations:
    """Both parts as raw pixels, by the untrained network and by the trained one."""
    from unshuffle.data.loaders import SkipLog
    from unshuffle.evals.judge import representations

    skipped = SkipLog(options.max_unreadable, terminal.say)
    terminal.start("embedding", len(cast(list, parts.train)) + len(cast(list, parts.test)))
    try:
        both = representations(
            encoder, parts.train, parts.test, seed=options.seed, batch_size=options.batch_size,
            workers=options.workers, skipped=skipped, progress=lambda done, total: terminal.advance(done, {}),
        )  # fmt: skip
    finally:
        terminal.stop()
    if skipped.reasons:
        terminal.say(skipped.summary())
    return both


def _probed(both: Representations, mark: Stamp, options: EvalOptions, terminal: Terminal) -> list[Result]:
    """What each probe makes of each representation."""
    from unshuffle.evals import Task, compare, knn_probe, label_subsets, linear_probe, mlp_probe

    learners = {"linear": linear_probe, "mlp": mlp_probe, "knn": knn_probe}
    known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    counts = [*options.labels, len(known)]
    subsets = label_subsets(len(known), counts, draws=options.draws, seed=options.seed)
    fits = count(1)
    results: list[Result] = []
    terminal.start("probing", len(options.probes) * len(both.pairs()) * len(subsets))
    try:
        for probe in options.probes:
            task = Task(f"class, {probe} probe", "classification", known, asked)
            results += compare(
                both.pairs(), [task], counts, draws=options.draws, seed=options.seed, probe=learners[probe],
                stamp=mark, progress=lambda _: terminal.advance(next(fits), {}),
            )  # fmt: skip
    finally:
        terminal.stop()
    return results


def _pictured(
    encoder: Encoder, parts: Parts, both: Representations, mark: Stamp, options: EvalOptions
) -> tuple[list[Result], list[Figure]]:
    """A map of the embedding and, where the encoder was trained on puzzles, how it solves some."""
    from unshuffle.data.shuffle import Shuffle
    from unshuffle.evals.judge import spread_items
    from unshuffle.evals.maps import map_figure
    from unshuffle.evals.puzzles import pretext_results, puzzle_figure, solve

    vectors, labels = both.test.vectors["pretrained"], cast(np.ndarray, both.test.labels)
    title = "Map of the pretrained embedding"
    figures = [map_figure(options.run, vectors, labels, name="map", title=title, names=parts.classes)]
    if not isinstance(encoder.transform, Shuffle) or encoder.objective is None:
        return [], figures
    items = spread_items(parts.test, 1024, workers=options.workers)
    solved = solve(encoder, items, seed=options.seed)
    figures.append(puzzle_figure(options.run, encoder, items, solved))
    return pretext_results(solved, mark, layer="pretrained", seed=options.seed), figures
