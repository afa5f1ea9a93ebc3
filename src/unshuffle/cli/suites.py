"""Suites of ``unshuffle eval`` beyond its probes: neighbours, retrieval, transfer, layers; and a list of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from unshuffle.cli.arranged import Measured
from unshuffle.cli.clustered import clustering
from unshuffle.cli.eval import EvalOptions, embedded, labelled_parts, learners_of
from unshuffle.cli.parts import Parts
from unshuffle.cli.parts import parts as open_parts

if TYPE_CHECKING:
    from unshuffle.evals.encoder import Encoder
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Figure, Result


def neighbours(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """How often k neighbours of held-out samples name their class; neighbourhoods and a map of the embedding."""
    from unshuffle.evals import stamp
    from unshuffle.evals.maps import map_figure
    from unshuffle.evals.neighbourhoods import knn_results, neighbourhood_figure
    from unshuffle.evals.unlabelled import onto_leading_axes

    if options.neighbours.pca is not None and options.neighbours.pca < 1:
        raise ValueError(f"--pca must be 1 or more; got {options.neighbours.pca}.")
    parts = labelled_parts(encoder, options)
    _only_classes(parts, options)
    both = embedded(encoder, parts, options, terminal, projection=True)
    known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
    mark = stamp(parts.name, parts.split, options.run.resolve().name)
    pairs, question, width = both.pairs(), parts.question, options.neighbours.pca
    if width is not None:
        pairs = {name: onto_leading_axes(*rows, width) for name, rows in pairs.items()}
        question = f"{question}, {width} axes"
    results = knn_results(
        pairs, known, asked, mark, question=question, ks=options.neighbours.k,
        temperature=options.neighbours.temperature, seed=options.seed,
    )  # fmt: skip
    figures: list[Figure] = []
    if options.neighbours.shown and len(encoder.item_shape) == 3 and encoder.item_shape[0] in (1, 3):
        figures.append(
            neighbourhood_figure(
                options.run, parts.train, parts.test, both, classes=parts.classes,
                queries=options.neighbours.shown, seed=options.seed,
            )
        )  # fmt: skip
    title = "Map of the pretrained embedding"
    vectors = both.test.vectors["pretrained"]
    figures.append(map_figure(options.run, vectors, asked, name="map", title=title, names=parts.classes))
    return Measured(results, figures)


def retrieval(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """Landmarks found again: mean average precision on revisited Oxford or Paris."""
    from unshuffle.data.image import Images
    from unshuffle.data.retrieval import Pictures, read_ground_truth
    from unshuffle.evals import stamp
    from unshuffle.evals.fits import purpose
    from unshuffle.evals.judge import spread_items
    from unshuffle.evals.retrieval import rank, retrieval_results, revisited
    from unshuffle.evals.whole import embed_pictures, whole_embedder

    chosen, folder = options.retrieval, options.only_data()
    if not isinstance(encoder.source, Images):
        raise ValueError(f"--suite retrieval: this run was not trained on image files. {purpose(encoder)}")
    if chosen.ground_truth is None:
        raise ValueError("--suite retrieval: give --ground-truth, gnd_roxford5k.json.gz or gnd_rparis6k.json.gz.")
    assert folder is not None
    truth = read_ground_truth(chosen.ground_truth)
    boxes = None if chosen.whole_queries else truth.boxes
    bank = Pictures(folder, truth.images, encoder.source, longest=chosen.longest)
    asked = Pictures(folder, truth.queries, encoder.source, boxes=boxes, longest=chosen.longest)
    layers = {"pretrained": encoder}
    if encoder.can_be_rebuilt:
        few = spread_items(Pictures(folder, truth.images, encoder.source), 256, workers=options.reading.workers)
        layers = {"random": encoder.untrained(few, seed=options.seed)} | layers
    name = chosen.ground_truth.name.removeprefix("gnd_").partition(".")[0]
    mark = stamp(name, "test", options.run.resolve().name)
    results: list[Result] = []
    for layer, model in layers.items():
        embed = whole_embedder(model, whole=chosen.longest is not None, scales=chosen.scales)
        vectors = []
        for part, what in ((bank, "images"), (asked, "queries")):
            with terminal.stage(f"embedding {what}, {layer}", len(part)) as progress:
                vectors.append(
                    embed_pictures(
                        embed, part, one_by_one=chosen.longest is not None, batch_size=options.reading.batch_size,
                        workers=options.reading.workers, progress=progress,
                    )
                )  # fmt: skip
        judged = revisited(rank(*vectors), truth)
        results += retrieval_results(judged, mark, layer=layer, count=len(bank), seed=options.seed)
    return Measured(results, [])


def transfer(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """Probes on all labels of several data sets, for one table; and other runs beside."""
    runs = (options.run, *options.transfer.beside)
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"--beside: runs must have different names, to tell them apart; got {', '.join(names)}.")
    results: list[Result] = []
    for run, name in zip(runs, names):
        trained = encoder if run == options.run else options.reading.encoder(run)
        lines = _transferred(trained, options, terminal)
        if len(runs) > 1:
            lines = [x._replace(layer=name if x.layer == "pretrained" else x.layer) for x in lines]
        results += lines if run == options.run else [x for x in lines if x.layer == name]
    return Measured(results, [])


def _transferred(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> list[Result]:
    """One encoder on every data set."""
    from unshuffle.evals import Task, compare, stamp

    results: list[Result] = []
    kinds = options.transfer.kinds or ("folder",) * len(options.data)
    if len(kinds) != len(options.data):
        raise ValueError(f"--kinds must name one layout for each --data, {len(options.data)}; got {len(kinds)}.")
    for data, kind in zip(options.data, kinds):
        parts = open_parts(encoder, data, None, None if kind == "folder" else _layout(kind), seed=options.seed)
        if any(parts.name == result.data for result in results):
            raise ValueError(f"--data: two data sets are named {parts.name}; rename a folder to tell them apart.")
        both = embedded(encoder, parts, options, terminal)
        known, asked = cast(np.ndarray, both.train.labels), cast(np.ndarray, both.test.labels)
        mark = stamp(parts.name, parts.split, options.run.resolve().name)
        for probe, learner in learners_of(parts, options, terminal).items():
            task = Task(f"transfer, {probe} probe", parts.kind, known, asked)
            results += compare(
                both.pairs(), [task], [len(known)], draws=1, seed=options.seed, probe=learner, stamp=mark
            )
    return [x for x in results if not x.metric.startswith("spread")]


def _layout(kind: str) -> Any:
    from unshuffle.data.named import ALL

    return ALL[kind]()


def layers(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """Linear probes on every convolution of the trained network and of the same one untrained; its first filters."""
    from unshuffle.evals import Stamp, stamp
    from unshuffle.evals.judge import spread_items
    from unshuffle.evals.layers import Schedule, layer_results, probe_layers
    from unshuffle.evals.saliency import filters_figure

    parts = labelled_parts(encoder, options)
    _only_classes(parts, options)
    models = {"pretrained": encoder}
    if encoder.can_be_rebuilt:
        few = spread_items(parts.train, 1024, workers=options.reading.workers)
        models = {"random": encoder.untrained(few, seed=options.seed)} | models
    mark: Stamp = stamp(parts.name, parts.split, options.run.resolve().name)
    skipped = options.reading.skip_log(terminal)
    results: list[Result] = []
    for layer, model in models.items():
        schedule = Schedule(epochs=options.layers.probe_epochs, rate=options.layers.probe_rate)
        with terminal.stage(f"probing layers, {layer}", schedule.steps(len(cast(list, parts.train)))) as progress:
            found = probe_layers(
                model, parts.train, parts.test, num_classes=len(parts.classes), schedule=schedule,
                crops=options.layers.crops, seed=options.seed, workers=options.reading.workers, skipped=skipped,
                progress=progress,
            )  # fmt: skip
        results += layer_results(found, mark, layer=layer, question=parts.question, seed=options.seed)
    if skipped.reasons:
        terminal.say(skipped.summary())
    filters = filters_figure(options.run, encoder)
    return Measured(results, [] if filters is None else [filters])


def _only_classes(parts: Parts, options: EvalOptions) -> None:
    if parts.kind != "classification":
        raise ValueError(f"--suite {options.suite}: it needs classes, one a sample; these labels are others.")


ALL = {
    "neighbours": neighbours,
    "retrieval": retrieval,
    "transfer": transfer,
    "clustering": clustering,
    "layers": layers,
}
