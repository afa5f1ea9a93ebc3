"""What is measured of relative attributes: one training a cell, and everything that its encoder can be asked.

Scenes of eight categories, which six attributes order with ties. Sequences to test on are drawn as the authors of
DeepPermNet draw theirs: different categories, all choices of them alike likely, an image of each at random.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from itertools import permutations as all_permutations
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from cells import Cell, Line
from unshuffle import fit, permutations
from unshuffle.data import Arrays, Drawing, Grid, Images, Jitter
from unshuffle.evals import Stamp, stamp
from unshuffle.evals.embed import raw_features
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.ordering import (
    Answers,
    matrix_similarity,
    normalization_error,
    pairwise_accuracy,
    resolve_ties,
)
from unshuffle.evals.ranking import put_in_order
from unshuffle.evals.ranking_baselines import rank_net, rank_svm
from unshuffle.evals.sets import item_scores
from unshuffle.losses import (
    AuthorsSinkhorn,
    FastSoftRanking,
    MatrixObjective,
    NaiveSigmoid,
    PairwiseLogistic,
    PerturbedFenchelYoung,
    SinkhornCrossEntropy,
)
from unshuffle.nets import ItemScorer, Siamese, SmallConv
from unshuffle.ops import assign
from unshuffle.recipes.deepperm import DeepPermRecipe, deepperm
from unshuffle.recipes.order import OrderRecipe, order
from unshuffle.recipes.sequences import SequenceRecipe, deepperm_order
from unshuffle.train.machine import Machine
from unshuffle.train.optim import AdamW
from unshuffle.train.progress import Silent
from unshuffle.types import Result

ARCHIVE = "osr_scenes_gray128.zip"
ATTRIBUTES = ("natural", "open", "perspective", "large_objects", "diagonal_plane", "close_depth")
STABLE_ATTRIBUTES = ("natural", "open")
SEEDS = (0,)

SEQUENCES, STABLE_SEQUENCES, LARGE, LARGE_DRAWS = 2000, 100, 100, 10
MACHINE = Machine(device="cpu", save_every=1e9)

NAIVE, AUTHORS, SINKHORN = "naive sigmoids", "the authors' layer", "Sinkhorn, converged"
SOFT, PERTURBED, LOGISTIC = "score: soft ranks", "score: perturbed ranks", "score: pairwise logistic"
SVM, NET = "RankSVM", "RankNet, linear"
BROKEN, SELF = ", ties broken", ", self-supervised start"
LAYERS = {NAIVE: NaiveSigmoid(), AUTHORS: AuthorsSinkhorn(), SINKHORN: SinkhornCrossEntropy()}
LOSSES = {SOFT: FastSoftRanking(), PERTURBED: PerturbedFenchelYoung(sigma=1.0), LOGISTIC: PairwiseLogistic()}
FEATURES = ("pixels", "self-supervised")
BASELINES = {SVM: rank_svm, NET: rank_net}


class Size(NamedTuple):
    """Pixels a side of an image, how many of them are cut, channels of the first layer, passes over the data."""

    side: int
    crop: int
    width: int
    epochs: int


WHOLE, SMALL = Size(64, 8, 16, 30), Size(40, 4, 8, 12)
CHOICE_SEEDS, CHOICE_ATTRIBUTES = (0, 1), ("natural", "open", "perspective")


class Scenes(NamedTuple):
    """Grey images (N, 1, side, side) of both parts, their categories (N,), and the strength of each attribute in each
    category."""

    train: Tensor
    test: Tensor
    known: np.ndarray
    asked: np.ndarray
    strength: dict[str, np.ndarray]


@lru_cache
def scenes(folder: Path, side: int = WHOLE.side) -> Scenes:
    """2,688 images: 800 to learn from, 100 of each category."""
    with zipfile.ZipFile(folder / ARCHIVE) as file:
        rows = {row["file"]: row for row in csv.DictReader(io.TextIOWrapper(file.open("metadata.csv")))}
        told = json.loads(file.read("relative_attributes.json"))["rank"]
    pictures = Images(size=side).open(folder / ARCHIVE)
    rows = [rows[name] for name in pictures.names]
    names = sorted({row["category"] for row in rows})
    category = np.array([names.index(row["category"]) for row in rows])
    known = np.array([row["split"] == "train" for row in rows])
    items = torch.stack([pictures[k][0][:1] for k in range(len(rows))])
    strength = {attribute: np.array([float(told[attribute][name]) for name in names]) for attribute in ATTRIBUTES}
    return Scenes(items[known], items[~known], category[known], category[~known], strength)


def _held_back(data: Scenes) -> Scenes:
    """The training part alone, every fourth image to test on: for choices, so that the test part stays unseen."""
    new = np.arange(len(data.known)) % 4 == 0
    items = torch.from_numpy(new)
    return data._replace(
        train=data.train[~items], test=data.train[items], known=data.known[~new], asked=data.known[new]
    )


# ---------------------------------------------------------------------------------------------------------------- cells


def cells(folder: Path | None, effort: float) -> list[Cell]:
    """All measurements, the shortest way to a whole table first."""
    where = Path() if folder is None else folder
    made: list[Cell] = []
    for seed, attribute, method in product(CHOICE_SEEDS, CHOICE_ATTRIBUTES, (SINKHORN, *LOSSES)):
        measured = partial(_trained, where, attribute, method, 8, seed=seed, effort=effort, size=SMALL)
        made.append(Cell(f"choice/{_word(method)}-8/{attribute}/{seed}", measured))
    for seed, attribute in product(SEEDS, ATTRIBUTES):
        measure = partial(_trained, where, attribute, seed=seed, effort=effort)
        end = f"{attribute}/{seed}"
        made += [
            Cell(f"matrix/{_word(layer)}-{n}/{end}", partial(measure, layer, n)) for layer in LAYERS for n in (4, 8)
        ]
        if attribute in STABLE_ATTRIBUTES:
            made += [Cell(f"matrix/{_word(layer)}-6/{end}", partial(measure, layer, 6)) for layer in LAYERS]
        made += [Cell(f"score/{_word(loss)}-8/{end}", partial(measure, loss, 8)) for loss in LOSSES]
        made += [Cell(f"pairs/{_word(name)}-2/{end}", partial(measure, name, 2)) for name in (SINKHORN, SOFT)]
        made += [Cell(f"ties/{_word(name)}-8/{end}", partial(measure, name + BROKEN, 8)) for name in (SINKHORN, SOFT)]
        made += [Cell(f"start/{_word(name)}-8/{end}", partial(measure, name + SELF, 8)) for name in (SINKHORN, SOFT)]
        for name, features in product(BASELINES, FEATURES):
            measured = partial(_baseline, where, attribute, name, features, seed=seed, effort=effort)
            made.append(Cell(f"baseline/{_word(name)}-{features}/{end}", measured))
    return made


def _word(name: str) -> str:
    return "-".join(name.replace(":", "").replace(",", "").replace("'", "").split())


def recipe(method: str, length: int, size: Size = WHOLE) -> OrderRecipe | SequenceRecipe:
    """The user's recipe with a smaller network on smaller images."""
    name = method.removesuffix(SELF).removesuffix(BROKEN)
    common = {
        "length": length, "backbone": SmallConv(size.width), "jitter": Jitter(size.crop, mirror=True), "batch_size": 64,
        "drawing": Drawing(stratified=True, break_ties=BROKEN in method), "epochs": size.epochs, "holdout": 0.0,
        "optim": AdamW(lr=1e-3),
    }  # fmt: skip
    if name in LOSSES:
        return replace(order(), loss=LOSSES[name], **common)
    return replace(deepperm_order(), loss=LAYERS[name], hidden=256, dropout=0.2, **common)


def _trained(
    folder: Path, attribute: str, method: str, length: int, *, seed: int, effort: float, size: Size = WHOLE
) -> list[Line]:
    data, split = (scenes(folder), "test") if size is WHOLE else (_held_back(scenes(folder, size.side)), "held back")
    values = data.strength[attribute]
    backbone = _pretrained(folder, seed, effort) if method.endswith(SELF) else None
    labelled = Arrays(data.train, torch.from_numpy(values[data.known]))
    encoder = _fit(recipe(method, length, size), labelled, seed, effort, backbone)
    ask = partial(_line, stamp("osr scenes", split, "relative attributes"), attribute, method, seed)
    lines = _asked(encoder, data, values, ask, length if length > 2 else 8)
    if length > 2 and size is WHOLE and not isinstance(encoder.net, ItemScorer):
        lines += _stability(encoder, data, values, ask, length)
    return lines


def _fit(
    made: OrderRecipe | SequenceRecipe | DeepPermRecipe,
    data: Arrays,
    seed: int,
    effort: float,
    backbone: nn.Module | None,
) -> Encoder:
    """Trains in a folder that is thrown away."""
    made = replace(made, seed=seed, epochs=max(1, round(effort * made.epochs)))
    net = copy.deepcopy(backbone)
    with tempfile.TemporaryDirectory() as place:
        return fit(made, data, out=Path(place) / "run", machine=MACHINE, net=net, progress=Silent(), title="benchmark")


@lru_cache
def _pretrained(folder: Path, seed: int, effort: float) -> nn.Module:
    """A backbone that has put 3 x 3 patches of the training images back, and has seen no order of images."""
    made = replace(
        deepperm(), backbone=SmallConv(WHOLE.width), patches=Grid(3, 3, gap=3), hidden=256, dropout=0.2,
        epochs=WHOLE.epochs, batch_size=64, optim=AdamW(lr=1e-3), holdout=0.0,
    )  # fmt: skip
    return _fit(made, Arrays(scenes(folder).train), seed, effort, None).net.backbone  # type: ignore[return-value]


def _baseline(folder: Path, attribute: str, name: str, features: str, *, seed: int, effort: float) -> list[Line]:
    """A linear function of frozen features, learnt from pairs."""
    data = scenes(folder)
    values = data.strength[attribute]
    embed = _embedder(folder, features, seed, effort)
    known, asked = (embed(part).numpy() for part in (data.train, data.test))
    scores = BASELINES[name](known, values[data.known], asked, seed=seed)
    ask = partial(_line, stamp("osr scenes", "test", "relative attributes"), attribute, f"{name}, {features}", seed)
    rows, true = _sequences(data, values, 8)
    predicted = permutations.to_ranks(torch.from_numpy(scores)[rows])
    return [*_metrics(Answers(predicted, None), true, ask, 8), *_large(lambda rows: scores[rows], data, values, ask)]


def _embedder(folder: Path, features: str, seed: int, effort: float) -> Callable[[Tensor], Tensor]:
    if features == "pixels":
        return partial(raw_features, side=16, most=256)
    backbone = copy.deepcopy(_pretrained(folder, seed, effort)).eval()

    @torch.no_grad()
    def embed(items: Tensor) -> Tensor:
        """The last layer, averaged over a grid of four places."""
        parts = [backbone(part.float() / 255) for part in items.split(128)]
        return nn.functional.adaptive_avg_pool2d(torch.cat(parts), 2).flatten(1)

    return embed


# ------------------------------------------------------------------------------------------------------------ questions

Ask = Callable[[str, int, float], Line]


def _line(mark: Stamp, attribute: str, method: str, seed: int, metric: str, n: int, value: float) -> Line:
    made = Result(attribute, metric, round(float(value), 6), n, seed, layer=method, **mark._asdict())
    return {"record": "result", **made._asdict()}


def _sequences(data: Scenes, values: np.ndarray, length: int, count: int = SEQUENCES) -> tuple[Tensor, Tensor]:
    """Rows of the test part (count, length) in random order, and their true ranks."""
    rng = np.random.default_rng(length)
    rows_of = [np.flatnonzero(data.asked == category) for category in range(len(values))]
    categories = np.argsort(rng.random((count, len(values))), axis=1)[:, :length]
    rows = np.array([[rng.choice(rows_of[category]) for category in row] for row in categories])
    return torch.from_numpy(rows), permutations.to_ranks(torch.from_numpy(values[categories]))


def _asked(encoder: Encoder, data: Scenes, values: np.ndarray, ask: Ask, length: int) -> list[Line]:
    """Sequences of one length, and a hundred images at once."""
    rows, true = _sequences(data, values, length)
    if isinstance(encoder.net, ItemScorer):
        scores = item_scores(encoder, data.test)
        said = Answers(permutations.to_ranks(torch.from_numpy(scores)[rows]).double(), None)
        return [*_metrics(said, true, ask, length), *_large(lambda rows: scores[rows], data, values, ask)]
    own = encoder.transform.size  # type: ignore[attr-defined]
    lines = [] if own != length else _metrics(_said(encoder, encoder.embed(data.test), rows), true, ask, length)
    if own != length:  # learnt from pairs: sequences are put in order by all their pairs
        ranks = torch.stack([_ranks(_merged(encoder, data.test[row])) for row in rows[:200]])
        lines = _metrics(Answers(ranks, None), true[:200], ask, length)
    return [*lines, *_large(lambda rows: _merged(encoder, data.test[rows]), data, values, ask)]


@torch.no_grad()
def _said(encoder: Encoder, features: Tensor, rows: Tensor) -> Answers:
    """What the encoder says of sequences of embedded images: what it says of the images, each embedded once."""
    net, objective = cast(Siamese, encoder.net), cast(MatrixObjective, encoder.objective)
    soft = torch.cat([objective.matrix(net.judge(features[part])) for part in rows.split(512)])
    return Answers((assign(soft) + 1).to(soft.dtype), soft)


def _merged(encoder: Encoder, items: Tensor) -> np.ndarray:
    """The place of each image, by windows."""
    return put_in_order(encoder, Arrays(items)).index.argsort().astype(np.float64)


def _ranks(scores: np.ndarray) -> Tensor:
    return permutations.to_ranks(torch.from_numpy(scores))


def _metrics(said: Answers, true: Tensor, ask: Ask, length: int) -> list[Line]:
    """The paper's three of a matrix and its pairs; with ties, tied items count as right in either order."""
    true = true.double()
    hard = permutations.to_ranks(said.ranks.double() + 1e-9 * torch.arange(length))  # equal scores: in their places
    settled = resolve_ties(true, hard)
    matrix, wanted = permutations.rank_matrix(hard), permutations.rank_matrix(settled)
    lines = [
        ask("Kendall tau", length, permutations.kendall_tau(hard, true).nanmean()),  # where all tie there is none
        ask("matrix", length, matrix_similarity(matrix, wanted).mean()),
        ask("pairs", length, pairwise_accuracy(hard, true).mean()),
    ]
    if said.soft is not None:
        lines.append(ask("row and column sums", length, normalization_error(said.soft).mean()))
    return lines


def _large(score: Callable[[np.ndarray], np.ndarray], data: Scenes, values: np.ndarray, ask: Ask) -> list[Line]:
    """Kendall's tau of a hundred test images, put in order at once; a few draws of them."""
    taus = []
    for draw in range(LARGE_DRAWS):
        rows = np.random.default_rng(draw).choice(len(data.test), LARGE, replace=False)
        said, true = torch.from_numpy(score(rows)).double(), torch.from_numpy(values[data.asked[rows]])
        taus.append(float(permutations.kendall_tau(said, true)))
    return [ask("Kendall tau of a hundred", LARGE, float(np.mean(taus)))]


def _stability(encoder: Encoder, data: Scenes, values: np.ndarray, ask: Ask, length: int) -> list[Line]:
    """Figure 3: the same sequences in many orders; mean and deviation of Kendall's tau over the orders."""
    rows, true = _sequences(data, values, length, STABLE_SEQUENCES)
    every = torch.tensor(list(all_permutations(range(length)))) if length == 4 else None
    orders = permutations.sample(50, length, generator=torch.Generator().manual_seed(0)) if every is None else every
    features = encoder.embed(data.test)
    said = [_said(encoder, features, rows[:, perm]).ranks[:, perm.argsort()] for perm in orders]
    taus = torch.stack([permutations.kendall_tau(ranks.float(), true.float()) for ranks in said])
    taus = taus[:, ~taus.isnan().any(0)]
    return [ask("Kendall tau over orders", length, taus.mean()), ask("its deviation", length, taus.std(0).mean())]
