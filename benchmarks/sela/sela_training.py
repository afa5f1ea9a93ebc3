"""What every cell does: train a recipe at this size, ask neighbours and a linear probe, and look at its labels."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from sized import Size
from small_images import Part, Split
from unshuffle import fit
from unshuffle.data.arrays import Arrays
from unshuffle.evals import labellings, nearest_rows, ridge_scores, stamp, vote
from unshuffle.evals.clustering import (
    Contingency,
    adjusted_information,
    adjusted_rand,
    cluster_entropies,
    contingency,
    normalised_information,
    purity,
)
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.layers import LayerMaps
from unshuffle.methods import Rounds
from unshuffle.nets import AlexNetBN, Backbone, ResNet
from unshuffle.nets.alexnet_norm import NARROW, WIDE
from unshuffle.recipes.sela import (
    SelfLabelRecipe,
    SupervisedRecipe,
    kmeans_cifar10,
    sela_cifar10,
    supervised_cifar10,
)
from unshuffle.train.machine import Machine
from unshuffle.train.milestones import StepSGD
from unshuffle.train.progress import Silent
from unshuffle.types import Result

Line = dict[str, Any]
Method = Literal["sela", "k-means"]
METHODS: tuple[Method, ...] = ("sela", "k-means")
NEIGHBOURS, TEMPERATURE = 50, 0.1  # appendix A.1
LINEAR, KNN = "linear, last convolution", "k-NN, last layer"
METRICS = (KNN, LINEAR)
CLUSTERING = ("NMI", "adjusted NMI", "adjusted Rand index", "purity")
MOST = 1024  # numbers that the linear probe is given of the last convolution
BATCH = 64

LOOKS = {"one view": (1, True), "four views": (4, True), "as embedded": (0, False)}
"""What a labelling looks at: random views of each image by the network as it trains (the code's one; the paper's
expectation), or the image as it is by the network as it embeds."""


class Choice(NamedTuple):
    """What the search compares: the first learning rate, whether it falls with the training, one of ``LOOKS``."""

    rate: float
    falling: bool = True
    look: str = "four views"


TEN_HEADS = "sela, ten heads"
CHOSEN: dict[str, Choice] = {
    "sela": Choice(0.03, falling=False), TEN_HEADS: Choice(0.03, falling=False),
    "k-means": Choice(0.01, falling=False), "supervised": Choice(0.03, falling=False),
}  # fmt: skip
"""What the search chose for every kind of row: the best mean of ``METRICS`` on training images that were held out."""
FALLING = {"sela": Choice(0.01), TEN_HEADS: Choice(0.1), "k-means": Choice(0.03)}
"""The best of those that fall."""

USUAL = Size(images=8_000, asked=2_000, epochs=60, width=16)


# -------------------------------------------------------------------------------------------------------- the recipes


def backbone(size: Size, kind: str = "alexnet") -> Backbone:
    """AlexNet's wide or narrow variant, all its layers thinner alike; or a ResNet-18."""
    if kind == "resnet":
        return ResNet(18, stem="small", width=size.width)
    full = NARROW if kind == "narrow" else WIDE
    thin = tuple(max(8, round(size.width * channels / WIDE[0] / 8) * 8) for channels in full)
    return AlexNetBN(cast("tuple[int, int, int, int, int]", thin), stem="small")


def hidden(size: Size, kind: str = "alexnet") -> tuple[int, ...]:
    """AlexNet's fully connected layers, thinner alike: one in place of two, which few epochs do not train."""
    return () if kind == "resnet" else (4096 * size.width // WIDE[0],)


def unlabelled(
    size: Size,
    method: Method = "sela",
    *,
    clusters: int = 128,
    heads: int = 1,
    rounds: int | None = None,
    kind: str = "alexnet",
    warm_start: bool = True,
    choice: Choice | None = None,
) -> SelfLabelRecipe:
    """The method's experiment on CIFAR-10 at this size; all heads are labelled in each round, as on ImageNet.

    Args:
        rounds: how often samples are labelled; every second epoch by default, as is best in the paper.
        choice: in place of what the search chose.
    """
    full = sela_cifar10() if method == "sela" else kmeans_cifar10()
    choice = choice or CHOSEN[method if heads == 1 else TEN_HEADS]
    views, as_trained = LOOKS[choice.look]
    count = max(1, size.epochs // 2) if rounds is None else rounds
    labelling = full.labelling if warm_start else replace(full.labelling, warm_start=False)
    return replace(
        full, backbone=backbone(size, kind), hidden=hidden(size, kind), dropout=0.0, clusters=(clusters,), heads=heads,
        labelling=labelling, rounds=Rounds(count, "quadratic", views=views, as_trained=as_trained), mean_of_heads=True,
        optim=_optim(choice), batch_size=BATCH, epochs=size.epochs,
    )  # fmt: skip


def labelled(size: Size, classes: tuple[int, ...] = (10,), *, choice: Choice | None = None) -> SupervisedRecipe:
    """The same network on labels that are given."""
    full = supervised_cifar10()
    return replace(
        full, backbone=backbone(size), hidden=hidden(size), dropout=0.0, classes=classes, mean_of_heads=True,
        optim=_optim(choice or CHOSEN["supervised"]), batch_size=BATCH, epochs=size.epochs,
    )  # fmt: skip


def _optim(choice: Choice) -> StepSGD:
    optim = cast(StepSGD, sela_cifar10().optim)
    return replace(optim, lr=choice.rate, drops=optim.drops if choice.falling else ())


# ------------------------------------------------------------------------------------------------------------ training


class Trained(NamedTuple):
    """An encoder, the labels of each sample (heads, N) in the order of time, and the journal of the run."""

    encoder: Encoder
    labels: list[labellings.Labelling]
    journal: list[dict[str, str]]


def trained(
    recipe: SelfLabelRecipe | SupervisedRecipe,
    items: Tensor,
    size: Size,
    *,
    seed: int,
    labels: np.ndarray | None = None,
) -> Trained:
    """Trains in a folder that is thrown away."""
    machine = Machine(device=size.device, precision=size.precision, save_every=1e9)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        encoder = fit(
            replace(recipe, seed=seed), Arrays(items, labels), out=run, machine=machine, progress=Silent(),
            title="benchmark",
        ).to(size.device)  # fmt: skip
        with (run / "metrics.csv").open(newline="") as file:
            journal = list(csv.DictReader(file))
        return Trained(encoder, list(labellings.read(run)), journal)


def untrained(items: Tensor, size: Size, *, seed: int) -> Encoder:
    """The network with fresh weights, its batch-norm statistics those of training images."""
    short = unlabelled(size._replace(epochs=1), rounds=1)
    first = trained(short, items[: short.clusters[0]], size, seed=seed)
    return first.encoder.untrained(items[:1024], seed=seed)


# ---------------------------------------------------------------------------------------------- what features are worth


def judged(encoder: Encoder, data: Split, *, seed: int, layer: str = "trained", split: str = "test") -> list[Line]:
    """Neighbours on what the heads see, and a linear probe on the last convolution."""
    mark = stamp(data.name, split, "sela")
    seen = [(encoder.embed(part.items).numpy(), last_maps(encoder, part.items)) for part in (data.train, data.test)]
    (known, known_maps), (asked, asked_maps) = seen
    neighbours = vote(
        nearest_rows(known, asked, k=NEIGHBOURS), data.train.labels, k=NEIGHBOURS, temperature=TEMPERATURE
    )
    linear = ridge_scores(known_maps, data.train.labels, asked_maps).argmax(1)
    return [
        as_line(Result(data.name, metric, float((said == data.test.labels).mean()), len(known), seed, layer=layer,
                       **mark._asdict()))
        for metric, said in ((KNN, neighbours), (LINEAR, linear))
    ]  # fmt: skip


def as_line(result: Result) -> Line:
    """A result with as many digits as mean something."""
    return {"record": "result", **result._asdict(), "value": round(result.value, 6)}


def last_maps(encoder: Encoder, items: Tensor) -> np.ndarray:
    """The last convolution after its ReLU, pooled to few places: (N, d)."""
    encoder.eval()
    maps = LayerMaps(encoder, most=MOST)
    parts = [list(maps(part).values())[-1].flatten(1).cpu() for part in items.split(256)]
    return torch.cat(parts).numpy()


# ------------------------------------------------------------------------------------------------ what labels are like


def clustered(encoder: Encoder, test: Part, name: str, *, seed: int) -> list[Line]:
    """How well what the first head says of new images agrees with their classes: the columns of table A.1."""
    mark, table = stamp(name, "test", "sela"), contingency(said(encoder, test.items), test.labels)
    return [
        as_line(Result(name, metric, value, len(test.labels), seed, layer="labels of new images", **mark._asdict()))
        for metric, value in zip(CLUSTERING, figures(table))
    ]


def figures(table: Contingency) -> tuple[float, float, float, float]:
    """The columns of table A.1, and purity."""
    return normalised_information(table), adjusted_information(table), adjusted_rand(table), purity(table)


@torch.no_grad()
def said(encoder: Encoder, items: Tensor) -> np.ndarray:
    """The first head's cluster of each image."""
    encoder.eval()
    net = cast(Any, encoder.net)
    return torch.cat([net.logits(encoder.prepare(part))[0].argmax(-1).cpu() for part in items.split(256)]).numpy()


def over_time(run: Trained, classes: np.ndarray, size: Size) -> list[Line]:
    """The curves of figures A.1, A.2 and A.4: of the first head's labels, points of epoch and value."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for curve, epoch, value in _points(run, classes, size):
        curves.setdefault(curve, []).append((round(epoch, 3), round(value, 5)))
    return [{"record": "curve", "curve": curve, "points": points} for curve, points in curves.items()]


def _points(run: Trained, classes: np.ndarray, size: Size) -> Iterator[tuple[str, float, float]]:
    """One of each curve a labelling or epoch."""
    steps = max(1, len(classes) // BATCH)
    before = None
    for labelling in run.labels:
        labels, epoch = labelling.labels[0], labelling.step / steps
        known = labels >= 0
        table = contingency(labels[known], classes[known])
        entropies = cluster_entropies(table)
        yield "NMI with classes", epoch, normalised_information(table)
        yield "entropy of a cluster, mean", epoch, float(entropies.mean())
        yield "entropy of a cluster, least", epoch, float(entropies.min())
        if before is not None:
            yield "NMI with the labels before", epoch, normalised_information(contingency(before, labels))
        before = labels
    for row in run.journal:
        if row["split"] == "labels":
            yield "iterations of a labelling", int(row["step"]) / steps, float(row["iterations"])
    for epoch in range(size.epochs):
        told = [
            float(row["label_accuracy"]) for row in run.journal
            if row["split"] == "train" and row.get("label_accuracy") and int(row["epoch"]) == epoch
        ]  # fmt: skip
        if told:
            yield "pseudo-label accuracy", epoch + 1, float(np.mean(told))
