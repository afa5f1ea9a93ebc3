"""``unshuffle eval --suite clustering``: what pseudo-classes hold, with or without true classes beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from unshuffle.cli.arranged import Measured, part_name, tested
from unshuffle.cli.runs import Matched, matched

if TYPE_CHECKING:
    from unshuffle.cli.eval import EvalOptions
    from unshuffle.evals.embed import Features
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.labellings import Labelling
    from unshuffle.evals.results import Stamp
    from unshuffle.train.progress import Terminal
    from unshuffle.types import Figure, Result


class Held(NamedTuple):
    """Labels of some samples: (n,) ``labels``, the samples' places in ``data``, their classes where they are known."""

    data: Any
    labels: np.ndarray
    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    truth: np.ndarray | None
    features: np.ndarray | None


def clustering(encoder: Encoder, options: EvalOptions, terminal: Terminal) -> Measured:
    """Pseudo-classes that training gave and those that the network says, their history, galleries, the first filters.

    An encoder without heads has the clusters of K-means on its embedding.
    """
    from unshuffle.evals import stamp
    from unshuffle.evals.saliency import filters_figure

    part, split = tested(encoder, options, cast(Path, options.only_data()))
    part = _spread(_labelled_only(part), options.clustering.most)
    features = _embedded(encoder, part, options, terminal)
    truth = _classes(part, features)
    mark = stamp(part_name(part), split, options.run.resolve().name)
    labelled = _labelled(encoder, features, truth, options)
    results = _measured(labelled, features, truth, mark, options)
    told, figures, trained = _trained(encoder, mark, options, terminal)
    own = next((name for name in labelled if name.startswith("head")), "pretrained, K-means")
    if own in labelled:
        held = Held(part, labelled[own], features.index, truth, features.vectors["pretrained"])
        said = "as the network says" if own.startswith("head") else "by K-means of its embedding"
        figures += _galleries(held, f"{said}, {split} samples", trained, encoder, options)
    filters = filters_figure(options.run, encoder)
    return Measured([*results, *told], figures if filters is None else [*figures, filters])


def _labelled_only(part: Any) -> Any:
    """The part without files that are in no class folder, where others are: clusters are compared with classes."""
    from unshuffle.data.files import rows_with_class

    rows = rows_with_class(part)
    return part if rows is None else _rows_of(part, rows)


def _rows_of(part: Any, rows: list[int]) -> Any:
    from torch.utils.data import Subset

    if isinstance(part, Subset):
        return Subset(part.dataset, [part.indices[row] for row in rows])
    return Subset(part, rows)


def _spread(part: Any, most: int) -> Any:
    """At most so many samples, evenly spaced: files lie class after class."""
    if len(part) <= most:
        return part
    rows = np.linspace(0, len(part) - 1, most).round().astype(int).tolist()
    return _rows_of(part, rows)


def _embedded(encoder: Encoder, part: Any, options: EvalOptions, terminal: Terminal) -> Features:
    """The part as raw input, by the untrained network and the trained one, and what the heads say of it."""
    from unshuffle.evals.embed import embed_dataset
    from unshuffle.evals.judge import raw_embedder, spread_items

    reading = options.reading
    embedders: dict[str, Any] = {"pretrained": encoder.embed}
    if options.clustering.kmeans != 0:
        embedders = {"raw": raw_embedder(encoder)} | embedders
        if encoder.can_be_rebuilt:
            few = spread_items(part, 1024, workers=reading.workers)
            embedders["random"] = encoder.untrained(few, seed=options.seed).embed
    if encoder.can_label:
        embedders["labels"] = encoder.labels
    skipped = reading.skip_log(terminal)
    with terminal.stage("embedding", len(part)) as progress:
        features = embed_dataset(
            embedders, part, batch_size=reading.batch_size, workers=reading.workers, skipped=skipped, progress=progress
        )  # fmt: skip
    if skipped.reasons:
        terminal.say(skipped.summary())
    return features


def _classes(part: Any, features: Features) -> np.ndarray | None:
    """The true classes of what was read; None where there are none, or others than one class a sample."""
    names = getattr(getattr(part, "dataset", part), "classes", ())
    known = features.labels
    return known if names and known is not None and known.ndim == 1 else None


def _labelled(
    encoder: Encoder, features: Features, truth: np.ndarray | None, options: EvalOptions
) -> dict[str, np.ndarray]:
    """By layer the cluster of each sample: the heads' own, and those of K-means."""
    from unshuffle.evals.unlabelled import kmeans_labels

    chosen, found = options.clustering, {}
    clusters = chosen.kmeans
    if encoder.can_label:
        heads = features.vectors["labels"]
        if chosen.head > heads.shape[1]:
            raise ValueError(f"--head must be from 1 to {heads.shape[1]}, the heads of the run; got {chosen.head}.")
        found[f"head {chosen.head}"] = heads[:, chosen.head - 1]
        clusters = clusters if clusters is not None else len(np.unique(heads[:, chosen.head - 1]))
    elif clusters is None and truth is not None:
        clusters = len(np.unique(truth))
    if clusters is None:
        raise ValueError(
            "--kmeans: give a number of clusters; this run has no pseudo-classes, and the data no classes."
        )
    if clusters:
        clusters = min(clusters, len(features.index))
        for layer in ("raw", "random", "pretrained"):
            if layer in features.vectors:
                found[f"{layer}, K-means"] = kmeans_labels(features.vectors[layer], clusters, seed=options.seed)
    return found


def _measured(
    labelled: dict[str, np.ndarray], features: Features, truth: np.ndarray | None, mark: Stamp, options: EvalOptions
) -> list[Result]:
    """What each clustering is worth; whether neighbours agree is always asked in the space that was clustered."""
    from unshuffle.evals.clustering_results import against_classes, without_classes

    results: list[Result] = []
    for layer, labels in labelled.items():
        space = features.vectors[layer.partition(",")[0] if "K-means" in layer else "pretrained"]
        results += without_classes(space, labels, mark, layer=layer, seed=options.seed)
        if truth is not None:
            results += against_classes(labels, truth, mark, layer=layer, seed=options.seed)
    return results


def _trained(
    encoder: Encoder, mark: Stamp, options: EvalOptions, terminal: Terminal
) -> tuple[list[Result], list[Figure], Held | None]:
    """What became of the labels that training gave, and the last ones; nothing of a run that gave none."""
    from unshuffle.evals import labellings
    from unshuffle.evals.clustering_results import against_classes, history

    last, head = labellings.last(options.run), options.clustering.head - 1
    if last is None:
        return [], [], None
    known = _trained_on(encoder, options, last.labels.shape[1], terminal)
    every = labellings.read(options.run)
    if known is None:
        mark = mark._replace(split="training")
        results, figures = history(options.run, every, mark, truth=None, head=head, seed=options.seed)
        return results, figures, None
    there, classes = known.rows >= 0, _all_classes(known.data)
    truth = None if classes is None else classes[known.rows]  # of what is gone a wrong one, which is not looked at
    every = (_of_known(labelling, there) for labelling in every)
    mark = mark._replace(split="training", data=known.data.name)
    results, figures = history(options.run, every, mark, truth=truth, head=head, seed=options.seed)
    held = _held(known, _of_known(last, there), truth, head)
    if held.truth is not None:
        results += against_classes(held.labels, held.truth, mark, layer=f"head {head + 1}", seed=options.seed)
    return results, figures, held


def _of_known(labelling: Labelling, there: np.ndarray) -> Labelling:
    """The labels of the samples that are still there; -1 for the others."""
    return labelling._replace(labels=np.where(there, labelling.labels, -1))


def _trained_on(encoder: Encoder, options: EvalOptions, count: int, terminal: Terminal) -> Matched | None:
    """The data set that the run was trained on, where --data names it, its samples matched by name; None otherwise.

    Raises:
        ValueError: the run labelled another number of samples.
    """
    data = cast(Path, options.only_data())
    known = matched(options.run, encoder.open(data, options.where.layout()), data)
    if known is None:
        terminal.say(f"{data} holds other samples than the run was trained on: what training labelled is not shown.")
        return None
    if len(known.rows) != count:
        raise ValueError(
            f"{data} has changed: it holds {len(known.data)} samples, and the run labelled {count}. Give the same "
            "data, or a copy of them under another name to measure these."
        )
    if known.change is not None:
        terminal.say(
            f"{data} has changed since the run began: {known.change}. What training labelled is matched by name; "
            "samples that are gone or have changed are left out."
        )
    return known


def _all_classes(known: Any) -> np.ndarray | None:
    if known is None or known.labels is None or not known.classes or np.ndim(known.labels) != 1:
        return None
    return np.asarray(known.labels)


def _held(known: Matched, last: Labelling, truth: np.ndarray | None, head: int) -> Held:
    """The samples that the last labelling labels."""
    there = last.labels[head] >= 0
    index = np.flatnonzero(there if truth is None else there & (truth >= 0))
    labels = last.labels[head][index].astype(np.int64)
    return Held(known.data, labels, known.rows[index], None if truth is None else truth[index], None)


def _galleries(
    held: Held, said: str, trained: Held | None, encoder: Encoder, options: EvalOptions
) -> list[Figure]:  # fmt: skip
    """The purest pseudo-classes and some at random: as training gave them, and as they are said to be now."""
    from unshuffle.evals.galleries import gallery_figure, pseudo_classes

    count = options.clustering.galleries
    if not count or len(encoder.item_shape) != 3 or encoder.item_shape[0] not in (1, 3):
        return []
    about = pseudo_classes(held.labels, truth=held.truth, features=held.features)
    first = about
    if trained is not None:
        first = pseudo_classes(trained.labels, truth=trained.truth)
        if trained.truth is None:  # how alike they are is known of the embedded samples alone
            first = first.as_alike_as(about)
    best = "lowest entropy" if held.truth is not None else "most alike samples"
    chosen = {
        ("purest", f"Pseudo-classes: {best}"): first.purest(count),
        ("random", "Pseudo-classes: at random"): first.drawn(count, seed=options.seed),
    }
    figures = []
    for (name, title), numbers in chosen.items():
        for part, described, which, told in (
            (trained, first, "training", "as training gave them"),
            (held, about, "measured", said),
        ):
            shown = [] if part is None else [int(k) for k in numbers if k in part.labels and k in described.number]
            if part is not None and shown:
                figures.append(
                    gallery_figure(
                        options.run, part.data, part.labels, shown, index=part.index, about=described,
                        name=f"gallery-{name}-{which}", title=f"{title}, {told}", truth=part.truth,
                        classes=getattr(getattr(part.data, "dataset", part.data), "classes", ()), seed=options.seed,
                    )
                )  # fmt: skip
    return figures
