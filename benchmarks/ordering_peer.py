"""The plain form of Permutation-Optimisation, for `ordering.py`: pairs concatenated, convolved, everything unrolled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ITERATIONS = 4


class PlainOptimizer(nn.Module):
    """A set of n items as (B, d, n); all pairs as (B, 2 d, n, n) through 1 × 1 convolutions; Sinkhorn by divisions.

    Its weights have the names of :class:`unshuffle.PermutationOptimizer`'s.
    """

    def __init__(self, features: int, hidden: int, steps: int) -> None:
        super().__init__()
        pair, cost = nn.Conv2d(2 * features, hidden, 1), nn.Conv2d(hidden, 1, 1)
        self.compare = nn.ModuleDict({"pair": pair, "cost": cost})
        self.step_size = nn.Parameter(torch.ones(()))
        self.steps = steps

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """The sequence and the permutation."""
        costs = self._costs(items)
        logits = torch.zeros_like(costs)
        for _ in range(self.steps):
            plan = _sinkhorn(logits)
            up_to = plan.cumsum(-1)
            later = plan.sum(-1, keepdim=True) - up_to
            imbalance = later - (up_to - plan)
            logits = logits - self.step_size.abs() * (2 * costs @ imbalance)
        plan = _sinkhorn(logits)
        return plan.mT @ items, plan

    def _costs(self, items: Tensor) -> Tensor:
        turned, n = items.mT, items.shape[1]
        first = turned.unsqueeze(3).expand(-1, -1, -1, n)
        second = turned.unsqueeze(2).expand(-1, -1, n, -1)
        hidden = self.compare["pair"](torch.cat([first, second], 1)).relu()
        found = self.compare["cost"](hidden).squeeze(1)
        costs = found - found.mT
        return costs / costs.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-10)


def _sinkhorn(logits: Tensor) -> Tensor:
    plan = logits.softmax(-1)
    for _ in range(ITERATIONS):
        plan = plan / plan.sum(-1, keepdim=True).clamp(min=1e-12)
        plan = plan / plan.sum(-2, keepdim=True).clamp(min=1e-12)
    return plan
