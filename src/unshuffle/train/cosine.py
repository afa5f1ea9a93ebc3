"""Optimisers of large batches: a rate that follows the batch, rises linearly and falls along a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from unshuffle import _check, lars
from unshuffle._ranges import Epochs, FractionBelowOne, NonNegative, Positive
from unshuffle.train.optim import decay_groups
from unshuffle.values import register

REFERENCE = 1024
"""Samples in the batch that rates are stated for."""
LONGEST_WARMUP = 0.1
"""Of all steps: the paper's, of its shortest training."""
Scaling = Literal["linear", "root", "none"]


@dataclass(frozen=True)
class _Cosine:
    """What both optimisers say alike."""

    lr: Positive = 24.0
    """Largest learning rate: of batches of 1,024 samples and of ``reference_epochs``, where it is scaled at all."""
    scaling: Scaling = "linear"
    """How the rate grows with the batch: by batch / 1024 (linear), by the root of that, or none: as it stands."""
    reference_epochs: Epochs | None = 100
    """Epochs that the rate is stated for; it is halved where there are twice as many. None: it is the same for all."""
    warmup: NonNegative = 10.0
    """Epochs in which the rate rises from zero; a tenth of all at the most."""
    momentum: FractionBelowOne = 0.9
    """Share of the last step that goes on."""
    weight_decay: NonNegative = 1e-6
    """Share of a weight's own value that is added to its gradient."""
    vectors_alike: bool = True
    """Treat biases and normalisation layers as all other weights; else they neither decay nor are adapted."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        _check.one_of(name, "scaling", self.scaling, ("linear", "root", "none"))

    def peak(self, batch_size: int, epochs: int) -> float:
        """The largest rate of a training with so many samples in a step and so many epochs.

        Example:
            >>> CosineSGD(lr=24.0).peak(1024, 100), CosineSGD(lr=24.0).peak(512, 200)
            (24.0, 6.0)
        """
        share = batch_size / REFERENCE
        factor = {"linear": share, "root": math.sqrt(share), "none": 1.0}[self.scaling]
        return self.lr * factor * (1.0 if self.reference_epochs is None else self.reference_epochs / epochs)

    def schedule(self, batch_size: int, epochs: int) -> Callable[[int, int], float]:
        """The rate of a step, counted from 0, of so many in all."""
        peak, rising = self.peak(batch_size, epochs), min(self.warmup / epochs, LONGEST_WARMUP)

        def rate(step: int, total: int) -> float:
            start = round(rising * total)
            if step < start:
                return peak * step / start
            return peak * 0.5 * (1 + math.cos(math.pi * (step - start) / max(1, total - start)))

        return rate

    def _groups(self, method: nn.Module) -> Iterable[dict]:
        if self.vectors_alike and not hasattr(method, "param_groups"):
            learnt = [p for p in method.parameters() if p.requires_grad]
            return [{"params": learnt, "weight_decay": self.weight_decay}]
        return decay_groups(method, self.weight_decay)


@register
@dataclass(frozen=True)
class CosineSGD(_Cosine):
    """Momentum, as GroCo is trained: the rate is 24 × batch / 1024 × 100 / epochs.

    Source: GroCo, section 4.1, which does not exempt biases from the decay, and no more does its code. The code's rate
    is twice the rule's at 400 and 800 epochs: ``--optim.lr 48``.
    """

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        return torch.optim.SGD(self._groups(method), lr=self.lr, momentum=self.momentum)


@register
@dataclass(frozen=True)
class CosineLARS(_Cosine):
    """Layer-wise adaptive rates, as GroCo's baselines are trained: the rate is 2.4 × √(batch / 1024).

    Source: the configuration files of GroCo's code (0.075 × √batch, nothing exempt); You et al. 2017.
    """

    lr: Positive = 2.4
    """Largest learning rate: of batches of 1,024 samples and of ``reference_epochs``, where it is scaled at all."""
    scaling: Scaling = "root"
    """How the rate grows with the batch: by batch / 1024 (linear), by the root of that, or none: as it stands."""
    reference_epochs: Epochs | None = None
    """Epochs that the rate is stated for; it is halved where there are twice as many. None: it is the same for all."""
    trust: Positive = 1e-3
    """Of a weight's length, that it moves at rate 1."""

    def build(self, method: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``method``."""
        groups = [
            {"adapt": self.vectors_alike or any(p.ndim > 1 for p in group["params"]), **group}
            for group in self._groups(method)
        ]
        return lars.LARS(groups, self.lr, momentum=self.momentum, trust=self.trust)
