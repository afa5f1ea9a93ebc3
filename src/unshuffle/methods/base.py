"""What a method is, and the step that all ranking methods share."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from unshuffle import _dist, permutations
from unshuffle.losses import Objective
from unshuffle.types import Step


class Method(Protocol):
    """A plain module with these two; ``param_groups()`` and ``after_step()`` are optional hooks of the engine."""

    def step(self, batch: Any) -> Step:
        """Loss and logs of one batch."""
        ...

    def embed(self, items: Tensor) -> Tensor:
        """Features (B, d) of prepared items."""
        ...


def ranking_step(scores: Tensor, ranks: Tensor, objective: Objective) -> Step:
    """The loss of scores against true ranks (in float32, whatever the network computes in), and two shares.

    ``partial_ranks``: items in their right position; ``exact_order``: samples right as a whole.
    """
    scores, ranks = scores.float(), ranks.float()
    loss = _dist.global_mean(objective.loss(scores, ranks, None))
    placed = permutations.partial_ranks(objective.predict(scores.detach(), ranks.shape[-1]), ranks)
    logs = {"loss": loss.detach(), "partial_ranks": placed.mean(), "exact_order": (placed == 1).float().mean()}
    return Step(loss, logs)
