"""What every cell does: train a recipe without labels, then ask neighbours and a linear probe in both spaces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from sized import Size
from small_images import Part, Split
from unshuffle import fit
from unshuffle.data.arrays import Arrays
from unshuffle.data.views import MultiView, dino_multi_crop, dino_views, simclr_views
from unshuffle.evals import nearest_rows, ridge_scores, stamp, top_accuracy, vote
from unshuffle.evals.encoder import Encoder
from unshuffle.losses import GroupOrder, InfoNCE
from unshuffle.nets import Projector, ResNet
from unshuffle.recipes import ViewsRecipe, groco_cifar10
from unshuffle.recipes.groco import sharp
from unshuffle.train.cosine import REFERENCE, CosineSGD
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Silent
from unshuffle.types import Result

Line = dict[str, Any]
Method = Literal["simclr", "groco"]
METHODS: tuple[Method, ...] = ("simclr", "groco")
NEIGHBOURS, WITHIN = (1, 10, 20), (1, 5)
REPRESENTATION, PROJECTION = "representation", "projection"
PIXELS, BATCH = 32, 256
GLOBAL, CROPS = "2 views", "2 + 4 crops"
VIEWS = (GLOBAL, "3 views", "4 views", CROPS)

# What the search chose, on training images that were held out: the rate of a batch of 256, and what sharpens the loss.
RATES: dict[Method, float] = {"simclr": 0.06, "groco": 8.0}
SHARPNESS: dict[Method, float] = {"simclr": 0.1, "groco": 16.0}


USUAL = Size(images=10_000, asked=2_000, epochs=6, width=16)


def sharpened(method: Method, sharpness: float) -> GroupOrder | InfoNCE:
    """The loss with an inverse temperature (GroCo) or a temperature (SimCLR)."""
    return GroupOrder(inverse_temperature=sharpness) if method == "groco" else InfoNCE(temperature=sharpness)


def views(method: Method, kind: str) -> MultiView:
    """The method's own augmentation, as the paper's tables have it; crops are DINO's for both."""
    if kind == CROPS:
        return sharp(dino_multi_crop(PIXELS, PIXELS // 2, crops=4))
    count = int(kind.split()[0])
    return augmented("dino" if method == "groco" else "simclr", count)


def augmented(augmentation: str, count: int = 2) -> MultiView:
    """Views as in DINO or as in SimCLR, never blurred at this size."""
    if augmentation == "dino":
        return sharp(dino_views(PIXELS, count))
    return simclr_views(PIXELS, count, strength=0.5, blur=0.0)


def recipe(method: Method, size: Size, *, kind: str = GLOBAL, rate: float | None = None) -> ViewsRecipe:
    """The usual setting of a method: what a cell of an ablation changes one thing of."""
    at_reference = (RATES[method] if rate is None else rate) * REFERENCE / BATCH
    return replace(
        groco_cifar10(), views=views(method, kind), backbone=ResNet(18, stem="small", width=size.width),
        projector=Projector(512, 512), loss=sharpened(method, SHARPNESS[method]), batch_size=BATCH, epochs=size.epochs,
        optim=CosineSGD(lr=at_reference, reference_epochs=None), holdout=0.0, knn_every=0,
    )  # fmt: skip


def pretrain(recipe: ViewsRecipe, items: Tensor, size: Size, *, seed: int) -> Encoder:
    """Trains without labels, in a folder that is thrown away."""
    machine = Machine(device=size.device, precision=size.precision, save_every=1e9)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        return fit(
            replace(recipe, seed=seed), Arrays(items), out=Path(folder) / "run", machine=machine, progress=Silent(),
            title="benchmark",
        ).to(size.device)  # fmt: skip


def judged(
    encoder: Encoder, data: Split, *, seed: int, split: str = "test", spaces: tuple[str, ...] = ()
) -> list[Line]:
    """Neighbours and a linear probe of the frozen features, in the representation and where else it is asked."""
    lines = []
    for space in (REPRESENTATION, *spaces):
        embed = encoder.project if space == PROJECTION else encoder.embed
        known, asked = (embed(part.items).numpy() for part in (data.train, data.test))
        lines += _scores(known, asked, data, seed=seed, split=split, space=space)
    return lines


def pixels_judged(data: Split) -> list[Line]:
    """The same of the pixels."""
    known, asked = (part.items.flatten(1).float().numpy() for part in (data.train, data.test))
    return _scores(known, asked, data, seed=0, split="test", space=REPRESENTATION)


def _scores(known: np.ndarray, asked: np.ndarray, data: Split, *, seed: int, split: str, space: str) -> list[Line]:
    mark, lines = stamp(data.name, split, "groco"), []
    for metric, value in scored(known, data.train, asked, data.test):
        result = Result(data.name, metric, value, len(known), seed, layer=space, **mark._asdict())
        lines.append({"record": "result", **result._asdict(), "value": round(value, 6)})
    return lines


def scored(known: np.ndarray, train: Part, asked: np.ndarray, test: Part) -> Iterator[tuple[str, float]]:
    """The paper's five columns, as shares: weighted neighbours, and a linear probe on standardised features."""
    found = nearest_rows(known, asked, k=max(NEIGHBOURS))
    for k in NEIGHBOURS:
        yield f"k-NN {k}", float((vote(found, train.labels, k=k) == test.labels).mean())
    scores = ridge_scores(known, train.labels, asked)
    for within in WITHIN:
        yield f"linear {within}", top_accuracy(scores, test.labels, within=within)
