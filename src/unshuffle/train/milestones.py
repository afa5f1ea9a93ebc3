"""Momentum at a rate that drops at fixed shares of the training, as image classifiers were trained for years."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unshuffle import _check
from unshuffle.train.optim import decay_groups
from unshuffle.values import register


@register
@dataclass(frozen=True)
class StepSGD:
    """Momentum at a rate that drops to a tenth again and again.

    Source: SeLa, appendix A.1: 0.05, divided by ten at 150, 300 and 350 of 400 epochs. Momentum and decay, of biases
    and normalisation layers too, are its code's, whose rate is 0.08 unless told otherwise.
    """

    lr: float = 0.05
    """Learning rate of the first steps."""
    drops: tuple[float, ...] = (0.375, 0.75, 0.875)
    """Shares of all steps after which the rate drops."""
    drop: float = 0.1
    """What is left of the rate after a drop."""
    momentum: float = 0.9
    """Share of the last step that goes on."""
    weight_decay: float = 1e-5
    """Share of a weight's own value that is added to its gradient."""

    def __post_init__(self) -> None:
        for name in ("lr", "drop"):
            _check.positive("StepSGD", name, getattr(self, name))
        for name in ("momentum", "weight_decay"):
            _check.not_negative("StepSGD", name, getattr(self, name))
        for share in self.drops:
            _check.share("StepSGD", "drops", share)

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
