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

from unshuffle._ranges import Count, Range, SmallSeed, ranged
from unshuffle.cli.parsing import parse
from unshuffle.cli.parts import Parts
from unshuffle.cli.parts import parts as open_parts
from unshuffle.cli.reading import Reading
from unshuffle.cli.suite_options import (
    ClusteringOptions,
    LayerOptions,
    NeighbourOptions,
    RetrievalOptions,
    TransferOptions,
)
from unshuffle.cli.tables import show
from unshuffle.cli.where import Where

if TYPE_CHECKING:
    from unshuffle.cli.arranged import Measured
    from unshuffle.evals import Probe, Stamp
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.judge import Representations
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Result

ProbeName = Literal["linear", "mlp", "knn", "ridge", "lars"]
Suite = Literal["probes", "neighbours", "retrieval", "transfer", "clustering", "layers"]
Start = Literal["fresh", "tuned"]


@ranged
@dataclass(frozen=True)
class EvalOptions:
    """Options of ``unshuffle eval``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    data: tuple[Path, ...] = ()
    """Folder, .zip, .tar or folder of .tar whose sub-folders are the classes, or a known data set; for transfer several
    of them, for retrieval the images. Runs that sort numbers need none; for mosaics any images will do."""
    suite: Suite = "probes"
    """What to measure: probes (one data set, several numbers of labels), neighbours (votes of k neighbours, pictures of
    neighbourhoods), retrieval (revisited Oxford and Paris), transfer (all labels of several data sets, one table),
    clustering (what pseudo-classes hold; the data need no labels), layers (linear probes on every convolution)."""
    test: Path | None = None
    """The same for testing; by default the data set's own part for that, or a fifth, drawn at random class by class."""
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    probes: tuple[ProbeName, ...] = ("linear", "knn")
    """What learns from the frozen features: linear (cross-validated), mlp (three layers), knn (20 weighted neighbours),
    ridge (linear, in closed form: for large data), lars (linear, as ImageNet's tables have it: for larger data)."""
    neighbours: Annotated[NeighbourOptions, tyro.conf.arg(name="")] = NeighbourOptions()
    retrieval: Annotated[RetrievalOptions, tyro.conf.arg(name="")] = RetrievalOptions()
    transfer: Annotated[TransferOptions, tyro.conf.arg(name="")] = TransferOptions()
    clustering: Annotated[ClusteringOptions, tyro.conf.arg(name="")] = ClusteringOptions()
    layers: Annotated[LayerOptions, tyro.conf.arg(name="")] = LayerOptions()
    supervised: tuple[Start, ...] = ()
    """Train the whole network on the labels too: from fresh weights, or tuned from the encoder's. Slow on a CPU."""
    labels: tuple[Count, ...] = (100, 1000)
    """Numbers of labelled samples; all of them is always added."""
    draws: Annotated[int, Range(1, 10_000)] = 5
    """How often each number of labels is drawn."""
    seed: SmallSeed = 0
    """Of the split, the draws and the untrained network."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()

    def only_data(self) -> Path | None:
        """The one place of data; None where none is given.

        Raises:
            ValueError: several are given, and the suite takes one.
        """
        if len(self.data) > 1:
            raise ValueError(f"--data: the suite {self.suite} takes one; got {len(self.data)}. See --suite transfer.")
        return self.data[0] if self.data else None


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Measures a trained encoder on labelled data, beside the raw input and the untrained network."
    options = parse(EvalOptions, command="eval", arguments=arguments, description=text)
    from unshuffle.evals import supersede
    from unshuffle.report import tables, write_report
    from unshuffle.train.folder import refuse_links
    from unshuffle.train.progress import Terminal

    refuse_links(options.run)  # before hours of measuring, not after
    encoder = options.reading.encoder(options.run)
    records = _measured(encoder, options, Terminal())
    supersede(options.run, [*records.results, *records.figures])
    show(tables(records.results))
    Console().print(f"page: {write_report(options.run)}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _measured(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """What the suite that was asked for measures, or what can be measured of such an encoder.

    Raises:
        ValueError: there are no data, or of the wrong kind.
    """
    from unshuffle.cli import suites
    from unshuffle.cli.arranged import measured
    from unshuffle.data.asking import Ask
    from unshuffle.evals.fits import purpose
    from unshuffle.methods import Arranger

    if options.suite == "probes" and isinstance(encoder.net, Arranger):
        return measured(encoder, options, terminal)
    asked = isinstance(encoder.transform, Ask)
    if isinstance(encoder.net, Arranger) or (asked and options.suite != "probes"):
        raise ValueError(
            f"--suite {options.suite}: a run of this kind embeds nothing that could be looked up. {purpose(encoder)}"
        )
    if not options.data and not encoder.reads_files:
        raise ValueError(f"there are no files that this run could be measured on. {purpose(encoder)}")
    if not options.data:
        raise ValueError(f"give --data: a folder {'of questions' if asked else 'whose sub-folders are the classes'}.")
    if asked:
        return _answers(encoder, options, terminal)
    if options.suite == "probes":
        return _probes(encoder, options, terminal)
    return suites.ALL[options.suite](encoder, options, terminal)


def _probes(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """Probes with several numbers of labels, and how the task of the training is solved."""
    from unshuffle.cli.arranged import Measured
    from unshuffle.cli.solved import solved_and_pictured
    from unshuffle.evals import stamp

    parts = labelled_parts(encoder, options)
    mark = stamp(parts.name, parts.split, options.run.resolve().name)
    both = embedded(encoder, parts, options, terminal)
    results = _probed(both, parts, mark, options, terminal)
    tasks = list(dict.fromkeys(result.task for result in results))
    results += _end_to_end(encoder, both, parts, tasks, mark, options, terminal)
    solved, figures = solved_and_pictured(encoder, parts, both, mark, options)
    return Measured([*results, *solved], figures)


def labelled_parts(encoder: Encoder, options: EvalOptions) -> Parts:
    """The data in a part to learn from and a part to be tested on.

    Raises:
        ValueError: they have no labels, or are several.
    """
    from unshuffle.data.sets import OrderedSets

    data = options.only_data()
    assert data is not None
    layout = options.where.layout(ordered=isinstance(encoder.transform, OrderedSets))
    return open_parts(encoder, data, options.test, layout, seed=options.seed)


def _answers(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """How a network that learnt to answer questions answers those of the part for testing, by their kind."""
    from unshuffle.cli.arranged import Measured
    from unshuffle.evals import stamp
    from unshuffle.evals.answers import answer, answer_results

    source = cast(Any, encoder.source)
    data = (source.tested() or source).open(options.test or options.only_data())
    reading, skipped = options.reading, options.reading.skip_log(terminal)
    with terminal.stage("answering", len(data)) as progress:
        answered = answer(
            encoder, data, batch_size=reading.batch_size, workers=reading.workers, skipped=skipped, progress=progress
        )  # fmt: skip
    mark = stamp(data.name, data.source.split, options.run.resolve().name)
    return Measured(answer_results(answered, data.asking.kind_names, mark, layer="trained", seed=options.seed), [])


def embedded(
    encoder: Encoder, parts: Parts, options: EvalOptions, terminal: Terminal, *, projection: bool = False
) -> Representations:
    """Both parts as raw input, by the untrained network and by the trained one."""
    from unshuffle.evals.judge import representations

    reading, skipped = options.reading, options.reading.skip_log(terminal)
    with terminal.stage("embedding", len(cast(list, parts.train)) + len(cast(list, parts.test))) as progress:
        both = representations(
            encoder, parts.train, parts.test, seed=options.seed, batch_size=reading.batch_size,
            workers=reading.workers, skipped=skipped, progress=progress, projection=projection,
        )  # fmt: skip
    if skipped.reasons:
        terminal.say(skipped.summary())
    return both


def _probed(both: Representations, parts: Parts, mark: Stamp, options: EvalOptions, terminal: Terminal) -> list[Result]:
    """What each probe makes of each representation."""
    from unshuffle.evals import Task, compare, label_subsets

    learners = learners_of(parts, options, terminal)
    known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    counts = [*options.labels, len(known)]
    subsets = label_subsets(len(known), counts, draws=options.draws, seed=options.seed)
    fits = count(1)
    results: list[Result] = []
    with terminal.stage("probing", len(learners) * len(both.pairs()) * len(subsets)) as progress:
        for probe, learner in learners.items():
            task = Task(f"{parts.question}, {probe} probe", parts.kind, known, asked)
            results += compare(
                both.pairs(), [task], counts, draws=options.draws, seed=options.seed, probe=learner,
                stamp=mark, progress=lambda _: progress(next(fits)),
            )  # fmt: skip
    return results


def learners_of(parts: Parts, options: EvalOptions, terminal: Terminal) -> dict[ProbeName, Probe]:
    """The probes that were asked for and can learn labels of this kind; the others are named.

    Raises:
        ValueError: none of them can.
    """
    from unshuffle.evals import knn_probe, lars_probe, linear_probe, mlp_probe, multilabel_probe, ridge_probe

    perceptron, protocol = (partial(probe, device=options.reading.device) for probe in (mlp_probe, lars_probe))
    able: dict[ProbeName, Probe] = {
        "classification": {
            "linear": linear_probe,
            "mlp": perceptron,
            "knn": knn_probe,
            "ridge": ridge_probe,
            "lars": protocol,
        },
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
        spread_items(part, len(cast(list, part)), workers=options.reading.workers).numpy()
        for part in (parts.train, parts.test)
    ]
    counts = [*options.labels, len(known)]
    subsets = label_subsets(len(known), counts, draws=options.draws, seed=options.seed)
    trained = count(1)
    results: list[Result] = []
    with terminal.stage("training whole networks", len(options.supervised) * len(subsets)) as progress:
        for start in options.supervised:
            layer = "supervised" if start == "fresh" else "fine-tuned"
            results += compare(
                {layer: (items[0], items[1])}, [Task("", parts.kind, known, asked)], counts, draws=options.draws,
                seed=options.seed, probe=Supervised(encoder, fine_tune=start == "tuned"), stamp=mark,
                progress=lambda _: progress(next(trained)),
            )  # fmt: skip
    return [result._replace(task=task) for task in tasks for result in results]
