"""Learning to order: a score for every item, from sets of which only the order was told."""

from __future__ import annotations

from torch import Tensor, nn

from unshuffle.losses import Objective
from unshuffle.methods.base import ranking_step
from unshuffle.types import Sets, Step


class LearnToOrder(nn.Module):
    """Scores each item alone so that the scores of a set rank as they should; ties are learnt as ties.

    Args:
        scorer: a module from sets (B, n, ...) to scores (B, n), with ``embed`` for single items.
        objective: a ranking loss.

    Source: the benchmark of Grover et al. 2019 (NeuralSort), with the losses of Shuffle to Learn.
    """

    def __init__(self, scorer: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.scorer, self.objective = scorer, objective

    def step(self, batch: Sets) -> Step:
        """The loss of one batch; right places as shares of the items, whole sets as shares of the sets."""
        return ranking_step(self.scorer(batch.items), batch.ranks, self.objective)

    def score(self, items: Tensor) -> Tensor:
        """One score for each of (B, ...) single items: (B,)."""
        return self.scorer(items.unsqueeze(1)).squeeze(1)

    def embed(self, items: Tensor) -> Tensor:
        """(B, ...) single items to (B, d), the layer before the score."""
        return self.scorer.embed(items)  # type: ignore[operator]
