"""``unshuffle eval RUN --data FOLDER_WITH_LABELS``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import tyro
from rich.console import Console

from unshuffle.cli.parsing import parse, usable_device
from unshuffle.cli.parts import Parts
from unshuffle.cli.parts import parts as open_parts
from unshuffle.cli.where import Where

if TYPE_CHECKING:
    from unshuffle.evals import Probe, Stamp
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.judge import Representations
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Result

ProbeName = Literal["linear", "mlp", "knn"]
Start = Literal["fresh", "tuned"]


@dataclass(frozen=True)
class EvalOptions:
    """Options of ``unshuffle eval``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    data: Path | None = None
    """Folder, .zip, .tar or folder of .tar whose sub-folders are the classes, or a known data set. Runs that sort
    numbers need none; for mosaics any images will do."""
    test: Path | None = None
    """The same for testing; by default the data set's own part for that, or a fifth, drawn at random class by class."""
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    probes: tuple[ProbeName, ...] = ("linear", "knn")
    """What learns from the frozen features: linear (cross-validated), mlp (three layers), knn (weighted neighbours)."""
    supervised: tuple[Start, ...] = ()
    """Train the whole network on the labels too: from fresh weights, or tuned from the encoder's. Slow on a CPU."""
    labels: tuple[int, ...] = (100, 1000)
    """Numbers of labelled samples; all of them is always added."""
    draws: int = 5
    """How often each number of labels is drawn."""
    seed: int = 0
    """Of the split, the draws and the untrained network."""
    batch_size: int = 256
    """Samples at a time."""
    workers: int = 0
    """Processes that read samples."""
    device: str = "cpu"
    """Where to compute features, perceptrons and whole networks."""
    max_unreadable: int = 100
    """Samples that may be unreadable and are skipped; one more stops the command."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Measures a trained encoder on labelled data, beside the raw input and the untrained network."
    options = parse(EvalOptions, command="eval", arguments=arguments, description=text)
    from unshuffle.cli.arranged import measured
    from unshuffle.cli.solved import solved_and_pictured
    from unshuffle.cli.tables import show
    from unshuffle.data.asking import Ask
    from unshuffle.data.sets import OrderedSets
    from unshuffle.evals import stamp, supersede
    from unshuffle.evals.encoder import load
    from unshuffle.methods import Arranger
    from unshuffle.report import tables, write_report
    from unshuffle.train.progress import Terminal

    terminal = Terminal()
    encoder = load(options.run, device=usable_device(options.device))
    if isinstance(encoder.net, Arranger):
        records = measured(encoder, options, terminal)
        supersede(options.run, [*records.results, *records.figures])
        show(tables(records.results))
        Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False)
        return 0
    asked = isinstance(encoder.transform, Ask)
    if options.data is None:
        raise ValueError(f"give --data: a folder {'of questions' if asked else 'whose sub-folders are the classes'}.")
    if asked:
        return _answers(encoder, options, terminal)
    layout = options.where.layout(ordered=isinstance(encoder.transform, OrderedSets))
    parts = open_parts(encoder, options.data, options.test, layout, seed=options.seed)
    mark = stamp(parts.name, parts.split, options.run.resolve().name)
    both = _embedded(encoder, parts, options, terminal)
    results = _probed(both, parts, mark, options, terminal)
    tasks = list(dict.fromkeys(result.task for result in results))
    results += _end_to_end(encoder, both, parts, tasks, mark, options, terminal)
    solved, figures = solved_and_pictured(encoder, parts, both, mark, options)
    supersede(options.run, [*results, *solved, *figures])
    show(tables([*results, *solved]))
    Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False)
    return 0


def _answers(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> int:
    """How a network that learnt to answer questions answers those of the part for testing, by their kind."""
    from unshuffle.cli.tables import show
    from unshuffle.data.loaders import SkipLog
    from unshuffle.evals import stamp, supersede
    from unshuffle.evals.answers import answer, answer_results
    from unshuffle.report import tables, write_report

    source = cast(Any, encoder.source)
    data = (source.tested() or source).open(options.test or options.data)
    skipped = SkipLog(options.max_unreadable, terminal.say)
    terminal.start("answering", len(data))
    try:
        answered = answer(
            encoder, data, batch_size=options.batch_size, workers=options.workers, skipped=skipped,
            progress=lambda done, total: terminal.advance(done, {}),
        )  # fmt: skip
    finally:
        terminal.stop()
    mark = stamp(data.name, data.source.split, options.run.resolve().name)
    results = answer_results(answered, data.asking.kind_names, mark, layer="trained", seed=options.seed)
    supersede(options.run, results)
    show(tables(results))
    Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False)
    return 0


def _embedded(encoder: Encoder, parts: Parts, options: EvalOptions, terminal: Terminal) -> Representations:
    """Both parts as raw input, by the untrained network and by the trained one."""
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


def _probed(both: Representations, parts: Parts, mark: Stamp, options: EvalOptions, terminal: Terminal) -> list[Result]:
    """What each probe makes of each representation."""
    from unshuffle.evals import Task, compare, label_subsets

    learners = _learners(parts, options, terminal)
    known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    counts = [*options.labels, len(known)]
    subsets = label_subsets(len(known), counts, draws=options.draws, seed=options.seed)
    fits = count(1)
    results: list[Result] = []
    terminal.start("probing", len(learners) * len(both.pairs()) * len(subsets))
    try:
        for probe, learner in learners.items():
            task = Task(f"{parts.question}, {probe} probe", parts.kind, known, asked)
            results += compare(
                both.pairs(), [task], counts, draws=options.draws, seed=options.seed, probe=learner,
                stamp=mark, progress=lambda _: terminal.advance(next(fits), {}),
            )  # fmt: skip
    finally:
        terminal.stop()
    return results


def _learners(parts: Parts, options: EvalOptions, terminal: Terminal) -> dict[ProbeName, Probe]:
    """The probes that were asked for and can learn labels of this kind; the others are named.

    Raises:
        ValueError: none of them can.
    """
    from unshuffle.evals import knn_probe, linear_probe, mlp_probe, multilabel_probe

    perceptron = partial(mlp_probe, device=options.device)
    able: dict[ProbeName, Probe] = {
        "classification": {"linear": linear_probe, "mlp": perceptron, "knn": knn_probe},
        "regression": {"linear": linear_probe, "mlp": perceptron},
        "multilabel": {"linear": multilabel_probe},
    }[parts.kind]  # type: ignore[assignment]
    what = {"regression": "numbers", "multilabel": "several classes a sample"}.get(parts.kind, "classes")
    left_out = [name for name in options.probes if name not in able]
    if len(left_out) == len(options.probes):
        raise ValueError(f"--probes {' '.join(left_out)}: the labels are {what}, which {' and '.join(able)} can learn.")
    if left_out:
        terminal.say(f"left out: {' and '.join(left_out)}, as the labels are {what}")
    return {name: able[name] for name in options.probes if name in able}


def _end_to_end(
    encoder: Encoder,
    both: Representations,
    parts: Parts,
    tasks: list[str],
    mark: Stamp,
    options: EvalOptions,
    terminal: Terminal,
) -> list[Result]:
    """What the same network makes of the same labels, trained as a whole: a row in the table of every task."""
    if not options.supervised:
        return []
    if parts.kind == "multilabel":
        terminal.say("left out: --supervised, as the labels are several classes a sample")
        return []
    from unshuffle.evals import Task, compare, label_subsets
    from unshuffle.evals.judge import spread_items
    from unshuffle.evals.supervised import Supervised

    known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    items = [
        spread_items(part, len(cast(list, part)), workers=options.workers).numpy() for part in (parts.train, parts.test)
    ]
    counts = [*options.labels, len(known)]
    subsets = label_subsets(len(known), counts, draws=options.draws, seed=options.seed)
    trained = count(1)
    results: list[Result] = []
    terminal.start("training whole networks", len(options.supervised) * len(subsets))
    try:
        for start in options.supervised:
            layer = "supervised" if start == "fresh" else "fine-tuned"
            results += compare(
                {layer: (items[0], items[1])}, [Task("", parts.kind, known, asked)], counts, draws=options.draws,
                seed=options.seed, probe=Supervised(encoder, fine_tune=start == "tuned"), stamp=mark,
                progress=lambda _: terminal.advance(next(trained), {}),
            )  # fmt: skip
    finally:
        terminal.stop()
    return [result._replace(task=task) for task in tasks for result in results]
