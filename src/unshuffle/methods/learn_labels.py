"""Learning labels with a network of several heads, and, beside them, by how much an image was turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle import _dist
from unshuffle.nets.headed import TURNS, Headed
from unshuffle.types import Step, Views


class LearnLabels(nn.Module):
    """Learns labels that are given: self-labels of another network, or any others, for one head or several.

    Args:
        net: trunk and heads; where it has a layer for turns, images are also turned by a quarter, a half and three
            quarters, and the network says by how much (RotNet), beside the labels of those that were not turned.
        mean_of_heads: average over the heads; else their losses are added up.

    Source: SeLa, section 4.3 and table 9 (+Rot); Gidaris et al., "Unsupervised Representation Learning by Predicting
    Image Rotations", ICLR 2018.
    """

    def __init__(self, net: Headed, *, mean_of_heads: bool = False) -> None:
        super().__init__()
        self.net, self.mean_of_heads = net, mean_of_heads

    def step(self, batch: Views) -> Step:
        """The cross-entropy of one batch; a label of -1 counts nothing.

        Raises:
            ValueError: samples carry no labels, or not one a head, or ones that their head does not have.
        """
        labels = self._checked(batch.label)
        return labelled_step(self.net, batch.views[0], lambda scores: labels, mean_of_heads=self.mean_of_heads)

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """What all heads see."""
        return self.net.embed(images)

    def _checked(self, label: Tensor | None) -> Tensor:
        if label is None:
            raise ValueError("LearnLabels: the samples carry no labels; give (item, label) pairs, or a table.")
        labels, classes = label.long().reshape(len(label), -1).T, self.net.classes
        if len(labels) != len(classes):
            raise ValueError(f"LearnLabels: samples must carry one label a head, {len(classes)}; got {len(labels)}.")
        most = torch.tensor(classes, device=labels.device)[:, None]
        if bool((labels >= most).any()) or bool((labels < -1).any()):
            raise ValueError(
                f"LearnLabels: labels must be from 0 to below the classes of their head, {classes}, or -1; got "
                f"{int(labels.min())} to {int(labels.max())}. Give the network as many classes as there are."
            )
        return labels


class _Rotated(NamedTuple):
    """What turning adds to a step."""

    loss: Tensor | float
    logs: dict[str, Tensor]


def labelled_step(net: Headed, images: Tensor, labels_of: Callable[[Any], Tensor], *, mean_of_heads: bool) -> Step:
    """The loss of all heads on a batch of images, whose labels (heads, B) may depend on the scores."""
    count = len(images)
    features = net.embed(images if net.turn is None else turned(images))
    scores = tuple(at_least_single(score) for score in net.scores(features[:count]))
    labels = labels_of(scores)
    each = _losses(scores, labels)
    turns = _rotated(net, features, count)
    loss = (each.mean() if mean_of_heads else each.sum()) + turns.loss
    with torch.no_grad():
        right = torch.stack([s.argmax(-1) == y for s, y in zip(scores, labels)])
        accuracy = right.sum() / (labels >= 0).sum().clamp(min=1)
    return Step(loss, {"loss": loss.detach(), "label_accuracy": accuracy, **turns.logs})


def _losses(scores: Sequence[Tensor], labels: Tensor) -> Float[Tensor, "heads"]:
    """The mean cross-entropy of each head, over the samples of all processes that have a label."""
    sums = torch.stack(
        [nn.functional.cross_entropy(s, y, ignore_index=-1, reduction="sum") for s, y in zip(scores, labels)]
    )
    counts = _dist.group_total((labels >= 0).sum(1).double(), _dist.everyone()).clamp(min=1)
    return sums * (_dist.world_size() / counts).to(sums)  # engines average over the processes


def _rotated(net: Headed, features: Tensor, count: int) -> _Rotated:
    if net.turn is None:
        return _Rotated(0.0, {})
    scores = at_least_single(net.turn(features))
    truth = torch.arange(TURNS, device=features.device).repeat_interleave(count)
    loss = _dist.global_mean(nn.functional.cross_entropy(scores, truth, reduction="none"))
    return _Rotated(loss, {"rotation_accuracy": (scores.detach().argmax(-1) == truth).float().mean()})


def turned(images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "four_batches c h w"]:
    """All images as they are, then by a quarter, a half and three quarters of a turn."""
    return torch.cat([images.rot90(turn, (2, 3)) for turn in range(TURNS)])


def at_least_single(values: Tensor) -> Tensor:
    """In single precision or better, as losses and logarithms need it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
