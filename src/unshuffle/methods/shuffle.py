"""Shuffle to Learn: put the patches of a sample back in order, and keep what that taught."""

from __future__ import annotations

from torch import Tensor, nn

from unshuffle.losses import Objective
from unshuffle.methods.base import ranking_step
from unshuffle.types import Shuffled, Step


class ShuffleToLearn(nn.Module):
    """Ranks all patches of a sample together; the network sees every patch alone first.

    Args:
        scorer: a module from patches (B, n, ...) to scores, with ``embed`` beside ``forward``.
        objective: what the scores mean and cost.

    Source: Shuffle to Learn, sections 2.1 to 2.3.
    """

    def __init__(self, scorer: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.scorer, self.objective = scorer, objective

    def step(self, batch: Shuffled) -> Step:
        """The loss of one batch, and how well its patches were put in order."""
        return ranking_step(self.scorer(batch.patches), batch.ranks, self.objective)

    def order(self, patches: Tensor) -> Tensor:
        """The predicted ranks (B, n) of shuffled patches (B, n, ...)."""
        return self.objective.predict(self.scorer(patches).float(), patches.shape[1])

    def embed(self, patches: Tensor) -> Tensor:
        """(B, n, ...) patches in their order to (B, d), at the first aggregate layer."""
        return self.scorer.embed(patches)  # type: ignore[operator]
