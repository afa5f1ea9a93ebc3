"""Momentum at a rate that drops at fixed shares of the training, as image classifiers were trained for years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from unshuffle._ranges import Fraction, FractionBelowOne, NonNegative, Positive, Range
from unshuffle.train.optim import decay_groups
from unshuffle.values import register


@register
@dataclass(frozen=True)
class StepSGD:
    """Momentum at a rate that drops to a tenth again and again.

    Source: SeLa, appendix A.1: 0.05, divided by ten at 150, 300 and 350 of 400 epochs. Momentum and decay, of biases
    and normalisation layers too, are its code's, whose rate is 0.08 unless told otherwise.
    """

    lr: Positive = 0.05
    """Learning rate of the first steps."""
    drops: tuple[Fraction, ...] = (0.375, 0.75, 0.875)
    """Shares of all steps after which the rate drops."""
    drop: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    """What is left of the rate after a drop."""
    momentum: FractionBelowOne = 0.9
    """Share of the last step that goes on."""
    weight_decay: NonNegative = 1e-5
    """Share of a weight's own value that is added to its gradient."""

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        own = hasattr(method, "param_groups")
        groups = decay_groups(method, self.weight_decay) if own else [p for p in method.parameters() if p.requires_grad]
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0.

        Example:
            >>> [round(StepSGD().rate(epoch, 400), 6) for epoch in (149, 150, 300, 350)]
            [0.05, 0.005, 0.0005, 5e-05]
        """
        return self.lr * self.drop ** sum(step >= share * total for share in self.drops)
