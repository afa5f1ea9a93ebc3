"""Optimisers as frozen values. The learning rate is a function of the step, so there is no scheduler to save."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from unshuffle._ranges import Epochs, Fraction, FractionBelowOne, MaybeCount, NonNegative, Positive, Range
from unshuffle.values import register

RATE = "rate"
"""Key of a parameter group: its learning rate in units of the recipe's."""


@register
@dataclass(frozen=True)
class AdamW:
    """AdamW with a linear warm-up and a cosine decay to zero."""

    lr: NonNegative = 1e-3
    """Largest learning rate."""
    weight_decay: NonNegative = 0.01
    """Of weights; biases and normalisation layers have none."""
    warmup: Fraction = 0.1
    """Share of the steps in which the rate rises to its largest."""

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        return torch.optim.AdamW(decay_groups(method, self.weight_decay), lr=self.lr)

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return self.lr * (step + 1) / rising
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


@register
@dataclass(frozen=True)
class Adam:
    """Adam at a constant rate. Source: Shuffle to Learn, section 3.1 (1e-6)."""

    lr: NonNegative = 1e-6
    """Learning rate; the paper's default."""

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        return torch.optim.Adam(decay_groups(method, 0.0), lr=self.lr)

    def rate(self, step: int, total: int) -> float:
        """Always the same."""
        return self.lr


@register
@dataclass(frozen=True)
class Adamax:
    """Adamax by a timetable of epochs: a staircase up, a plateau, and steps down; gradients are clipped.

    Source: Kim et al. 2018, bilinear attention networks, as their code has it.
    """

    lr: NonNegative = 1e-3
    """Learning rate that the factors multiply."""
    epochs: Epochs = 13
    """How many the timetable is written for; it is stretched to a training of any other length."""
    rising: tuple[NonNegative, ...] = (0.5, 1.0, 1.5, 2.0)
    """Factors of the first epochs, one each; the last one stays."""
    falling: tuple[MaybeCount, ...] = (10, 12)
    """Epochs, from 0, at whose beginning the rate is cut."""
    cut: Fraction = 0.25
    """Of the rate, is left after each cut."""
    clip: NonNegative = 0.25
    """Largest norm of all gradients together; 0: any."""

    def __post_init__(self) -> None:
        if not self.rising:
            raise ValueError("Adamax: `rising` must hold a factor at least; give (1.0,) for a constant rate.")

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        return torch.optim.Adamax(decay_groups(method, 0.0), lr=self.lr)

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0."""
        epoch = step * self.epochs // total
        cuts = sum(epoch >= start for start in self.falling)
        return self.lr * self.rising[min(epoch, len(self.rising) - 1)] * self.cut**cuts


@register
@dataclass(frozen=True)
class SGD:
    """Momentum at a rate that falls by steps, as Caffe trained its networks.

    Source: DeepPermNet, section 4.3 (1e-3, to a tenth at every quarter of the steps); its code drops at three eighths
    and three quarters (``drop_every=0.375``). Momentum, decay and the rate of biases are the code's.
    """

    lr: NonNegative = 1e-3
    """Learning rate of the first steps."""
    drop_every: Positive = 0.25
    """Share of all steps after which the rate drops, again and again."""
    drop: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    """What is left of the rate after a drop."""
    momentum: FractionBelowOne = 0.9
    """Share of the last step that goes on."""
    weight_decay: NonNegative = 5e-4
    """Of weights; biases and normalisation layers have none."""
    bias_rate: NonNegative = 2.0
    """Rate of biases, in units of that of weights."""
    backbone_rate: NonNegative = 1.0
    """Rate of the backbone in units of that of the layers above it; 0.1 for a backbone that is trained already."""

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        return torch.optim.SGD(self._groups(method), lr=self.lr, momentum=self.momentum)

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr * self.drop ** int(step / (self.drop_every * total))

    def _groups(self, method: nn.Module) -> Iterable[dict]:
        if hasattr(method, "param_groups"):
            return method.param_groups()  # type: ignore[operator]
        learnt = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
        groups = []
        for below, where in ((False, 1.0), (True, self.backbone_rate)):
            own = [p for name, p in learnt if ("backbone" in name.split(".")) == below]
            for vectors, what, decay in ((False, 1.0, self.weight_decay), (True, self.bias_rate, 0.0)):
                parameters = [p for p in own if (p.ndim <= 1) == vectors]
                if parameters:
                    groups.append({"params": parameters, "weight_decay": decay, RATE: where * what})
        return groups


def schedule(recipe: Any, batch_size: int) -> Callable[[int, int], float]:
    """The learning rate of a step, counted from 0, of so many in all, as the recipe's optimiser has it."""
    if hasattr(recipe.optim, "schedule"):
        return recipe.optim.schedule(batch_size, recipe.epochs)
    return recipe.optim.rate


def decay_groups(method: nn.Module, weight_decay: float) -> Iterable[dict]:
    """The method's own ``param_groups()`` if it has them, else weights with decay and vectors without."""
    if hasattr(method, "param_groups"):
        return method.param_groups()  # type: ignore[operator]
    learnt = [p for p in method.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
