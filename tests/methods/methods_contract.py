"""What every method of ``methods.ALL`` promises, written down once: the suite beside this file runs over ``CASES``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unshuffle import methods
from unshuffle.losses import (
    AuthorsSinkhorn,
    FastSoftRanking,
    FixedPermutations,
    GroupOrder,
    InfoNCE,
    NaiveSigmoid,
    PerturbedFenchelYoung,
    RankMSE,
    SinkhornCrossEntropy,
    Triplet,
)
from unshuffle.methods import (
    AnswerNet,
    ArrangeToClassify,
    Balanced,
    Clustered,
    DeepPermNet,
    LearnFromViews,
    LearnLabels,
    LearnNeighbours,
    LearnToAnswer,
    LearnToArrange,
    LearnToClassify,
    LearnToOrder,
    MosaicNet,
    Rounds,
    SelfLabel,
    SetReading,
    ShuffleToLearn,
)
from unshuffle.methods.arrangers import MODELS, Model
from unshuffle.nets import (
    ClassifierNet,
    ContextFreeNet,
    HeadsNet,
    ItemNet,
    ProjectedNet,
    Projector,
    SiameseNet,
    SmallConv,
)
from unshuffle.permutations import SpreadOut, sample, to_ranks
from unshuffle.types import Asked, Questions, Raw, Sets, Shuffled, Views

OBJECTIVES = {
    "perturbed": PerturbedFenchelYoung(sigma=0.5),
    "sampled": PerturbedFenchelYoung(sigma=0.5, num_samples=10),
    "soft": FastSoftRanking(),
    "mse": RankMSE(),
    "fixed": FixedPermutations(SpreadOut(6)),
}
VIEWS = {"groups": GroupOrder(4.0), "softmax": InfoNCE(), "triplets": Triplet()}
MATRICES = {"sinkhorn": SinkhornCrossEntropy(), "authors": AuthorsSinkhorn(), "naive": NaiveSigmoid()}


@dataclass(frozen=True)
class Case:
    """One method with one objective, and what the suite cannot know by itself."""

    name: str
    build: Callable[[], nn.Module]
    """A small one, with fresh weights."""
    batch: Callable[[int], Any]
    """A batch of so many samples, at random."""
    single: Callable[[int], Any]
    """So many prepared inputs of ``embed``."""
    width: int
    """Length of an embedding."""
    shift_free: bool | None
    """Whether a number added to all scores changes nothing, so that a last bias common to all of them rests; None where
    the last layer has no bias, gives no scores to be ranked, or is not learnt."""
    logs: tuple[str, ...] = ("loss", "partial_ranks", "exact_order")
    """What a step tells: its loss, and shares of what was right."""


def _shuffle_to_learn(name: str) -> Case:
    objective = OBJECTIVES[name]
    net = ContextFreeNet(SmallConv(4), 4, (1, 6, 6), objective.outputs(4), patch_features=8, hidden=12)

    def batch(size: int) -> Shuffled:
        drawn = sample(size, 4)
        if isinstance(objective, FixedPermutations):
            drawn = objective.choices.build(4)[torch.randint(6, (size,))]
        return Shuffled(torch.randn(size, 4, 1, 6, 6), drawn.float() + 1, torch.arange(size))

    return Case(
        f"ShuffleToLearn-{name}", lambda: ShuffleToLearn(net.build(), objective), batch,
        lambda size: torch.randn(size, 4, 1, 6, 6), 12, False,
    )  # fmt: skip


def _learn_to_order(name: str) -> Case:
    objective = OBJECTIVES[name]
    net = ItemNet(SmallConv(4), (1, 6, 6), hidden=12)

    def batch(size: int) -> Sets:
        ranks = to_ranks(torch.randint(4, (size, 5)))  # with ties
        return Sets(torch.randn(size, 5, 1, 6, 6), ranks, torch.arange(5 * size).reshape(size, 5))

    return Case(
        f"LearnToOrder-{name}", lambda: LearnToOrder(net.build(), objective), batch,
        lambda size: torch.randn(size, 1, 6, 6), 12, name != "mse",
    )  # fmt: skip


def _arrange(model: Model) -> Case:
    net = MosaicNet(model, 2, 2, (1, 6, 6), width=3, hidden=8)
    return Case(
        f"LearnToArrange-{model}", lambda: LearnToArrange(net.build()), _tiles,
        lambda size: torch.randn(size, 4, 1, 6, 6), 27, None,
    )  # fmt: skip


def _learn_neighbours() -> Case:
    net = MosaicNet("neighbours", 2, 2, (1, 6, 6), width=3, hidden=8)
    return Case(
        "LearnNeighbours", lambda: LearnNeighbours(net.build()), _tiles,
        lambda size: torch.randn(size, 4, 1, 6, 6), 4 * (3 * 6 + 64), None,
    )  # fmt: skip


def _arrange_to_classify(model: Model) -> Case:
    net = MosaicNet(model, 2, 2, (1, 6, 6), width=3, hidden=8)

    def known() -> nn.Module:
        """Classes that depend on where every tile lies."""
        layer = nn.Linear(144, 3)
        nn.init.normal_(layer.weight, std=0.3)
        return nn.Sequential(nn.Flatten(), layer)

    return Case(
        f"ArrangeToClassify-{model}", lambda: ArrangeToClassify(net.build(), known(), 2, 2), _tiles,
        lambda size: torch.randn(size, 4, 1, 6, 6), 27, None,
        ("loss", "accuracy", "partial_ranks", "exact_order"),
    )  # fmt: skip


def _tiles(size: int) -> Shuffled:
    labels = torch.randint(3, (size,))
    return Shuffled(torch.randn(size, 4, 1, 6, 6), sample(size, 4).float() + 1, torch.arange(size), labels)


def _classify() -> Case:
    net = ClassifierNet(SmallConv(4), (1, 12, 12), 3)

    def batch(size: int) -> Raw:
        return Raw(torch.randn(size, 1, 12, 12), torch.arange(size), torch.randint(3, (size,)))

    return Case(
        "LearnToClassify", lambda: LearnToClassify(net.build()), batch, lambda size: torch.randn(size, 1, 12, 12), 108,
        None, ("loss", "accuracy"),
    )  # fmt: skip


def _learn_to_answer(name: str, reading: SetReading | None) -> Case:
    net = AnswerNet(
        5,
        7,
        4,
        hidden=12,
        glimpses=2,
        rank=2,
        word_features=3,
        counted=3,
        reading=reading,
        dropout=0.0,
        last_dropout=0.0,
    )

    def questions(size: int) -> Questions:
        corner = torch.rand(size, 6, 2)
        boxes = torch.cat([corner, corner + torch.rand(size, 6, 2)], -1)
        present = torch.arange(6) < torch.randint(1, 7, (size, 1))
        return Questions(torch.randint(7, (size, 4)), torch.randn(size, 6, 7), boxes, present)

    def batch(size: int) -> Asked:
        return Asked(questions(size), torch.randint(2, (size, 4)).float(), torch.arange(size))

    return Case(
        f"LearnToAnswer-{name}", lambda: LearnToAnswer(net.build()), batch, questions, 12, None, ("loss", "accuracy")
    )  # fmt: skip


def first_of(inputs: Any, count: int) -> Any:
    """The first inputs of several, tensors or tuples of them."""
    return inputs[:count] if isinstance(inputs, Tensor) else type(inputs)(*(part[:count] for part in inputs))


def _deepperm_of_patches(name: str) -> Case:
    objective = MATRICES[name]
    net = ContextFreeNet(SmallConv(4), 4, (1, 6, 6), objective.outputs(4), patch_features=8, hidden=12)

    def batch(size: int) -> Shuffled:
        return Shuffled(torch.randn(size, 4, 1, 6, 6), sample(size, 4).float() + 1, torch.arange(size))

    return Case(
        f"DeepPermNet-patches-{name}", lambda: DeepPermNet(net.build(), objective), batch,
        lambda size: torch.randn(size, 4, 1, 6, 6), 12, False,
    )  # fmt: skip


def _deepperm_of_sets(name: str) -> Case:
    objective = MATRICES[name]
    net = SiameseNet(SmallConv(4), 5, (1, 6, 6), objective.outputs(5), patch_features=8, hidden=12)

    def batch(size: int) -> Sets:
        ranks = to_ranks(torch.randint(4, (size, 5)))  # with ties
        return Sets(torch.randn(size, 5, 1, 6, 6), ranks, torch.arange(5 * size).reshape(size, 5))

    return Case(
        f"DeepPermNet-sets-{name}", lambda: DeepPermNet(net.build(), objective), batch,
        lambda size: torch.randn(size, 1, 6, 6), 8, False,
    )  # fmt: skip


def _learn_from_views(name: str, parts: int) -> Case:
    net = ProjectedNet(SmallConv(4), (1, 8, 8), Projector(16, 8))

    def batch(size: int) -> Views:
        images = torch.randn(size, 1, 8, 8)
        near = [images + 0.3 * torch.randn_like(images) for _ in range(2)]
        return Views((*near, near[0][..., :5, :5]), torch.arange(size))  # and a small one

    return Case(
        f"LearnFromViews-{name}-{parts}", lambda: LearnFromViews(net.build(), VIEWS[name], positives=2, parts=parts),
        batch, lambda size: torch.randn(size, 1, 8, 8), 12, None, ("loss", "matched"),
    )  # fmt: skip


def _self_label(name: str) -> Case:
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3, 4))
    labelling = {"balanced": Balanced(power=10.0), "k-means": Clustered(components=4)}[name]

    def build() -> SelfLabel:
        method = SelfLabel(net.build(), labelling, Rounds())
        method.begin(torch.arange(10), 10, 0)
        return method

    return Case(
        f"SelfLabel-{name}", build, _images, lambda size: torch.randn(size, 1, 8, 8), 12, None,
        ("loss", "label_accuracy"),
    )  # fmt: skip


def _learn_labels(*, rotations: bool) -> Case:
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3, 4), (9,), 0.0, rotations)
    logs = ("loss", "label_accuracy", *(("rotation_accuracy",) if rotations else ()))
    return Case(
        f"LearnLabels-{'turns' if rotations else 'plain'}", lambda: LearnLabels(net.build()), _images,
        lambda size: torch.randn(size, 1, 8, 8), 9, None, logs,
    )  # fmt: skip


def _images(size: int) -> Views:
    return Views((torch.randn(size, 1, 8, 8),), torch.arange(size), torch.randint(3, (size, 2)))


_CONTRACTS = {
    SelfLabel: [_self_label(name) for name in ("balanced", "k-means")],
    LearnLabels: [_learn_labels(rotations=rotations) for rotations in (False, True)],
    LearnToArrange: [_arrange(model) for model in MODELS],
    LearnNeighbours: [_learn_neighbours()],
    ArrangeToClassify: [_arrange_to_classify(model) for model in ("po-u", "lin-assign")],
    LearnToClassify: [_classify()],
    ShuffleToLearn: [_shuffle_to_learn(name) for name in OBJECTIVES],
    DeepPermNet: [make(name) for make in (_deepperm_of_patches, _deepperm_of_sets) for name in MATRICES],
    LearnToOrder: [_learn_to_order(name) for name in OBJECTIVES if name != "fixed"],
    LearnFromViews: [*(_learn_from_views(name, 1) for name in VIEWS), _learn_from_views("groups", 2)],
    LearnToAnswer: [
        _learn_to_answer("alone", None),
        _learn_to_answer("LSTM", SetReading(False, 3, 6, units=5)),
        _learn_to_answer("PO-U", SetReading(True, 3, 6, units=5)),
    ],
}

# A method that joins `methods.ALL` without a contract fails here, at collection.
CASES = [case for method in methods.ALL for case in _CONTRACTS[method]]
