"""Counting objects from attention: how many different boxes are looked at.

Soft attention averages what it looks at, and an average does not know how many it was made of. The counter reads the
attention itself: every pair of boxes is an edge, edges between boxes that overlap fall away, boxes that are proposed
twice share one vote, and of the weight that is left the square root is the count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unshuffle import _check

PIECES = 16
TINY = 1e-20
"""Keeps the root of an empty count differentiable; far below what single precision adds to one."""


class Counter(nn.Module):
    """Counts what an attention looks at, as a soft one-hot vector of 0 to ``most``, scaled by a confidence.

    Eight learnt functions from [0, 1] to [0, 1], none of them falling, begin as straight lines: before any training
    the count is exact where attention and overlaps are all or nothing, and for boxes proposed twice.

    Args:
        most: largest count, and number of boxes that are looked at: those with the highest logits. Fewer boxes than
            that are filled up.

    Raises:
        ValueError: ``most`` is not positive.

    Example:
        >>> far_apart = torch.tensor([[[0.0, 0.0, 0.1, 0.1], [0.5, 0.5, 0.6, 0.6], [0.8, 0.0, 0.9, 0.1]]])
        >>> with torch.no_grad():
        ...     Counter(4)(torch.tensor([[20.0, -20.0, 20.0]]), far_apart).round(decimals=3)
        tensor([[0., 0., 1., 0., 0.]])

    Source: Zhang, Hare & Prügel-Bennett, "Learning to Count Objects in Natural Images for Visual Question Answering",
    ICLR 2018, section 4 and appendix A.
    """

    def __init__(self, most: int = 10) -> None:
        super().__init__()
        _check.positive("Counter", "most", most)
        self.most = most
        self.relevant, self.apart, self.same = Rising(), Rising(), Rising()
        self.relevant_alike, self.apart_alike = Rising(), Rising()
        self.sure_relevant, self.sure_apart, self.sure = Rising(), Rising(), Rising()

    def forward(
        self,
        logits: Float[Tensor, "batch n"],
        boxes: Float[Tensor, "batch n 4"],
        mask: Bool[Tensor, "batch n"] | None = None,
    ) -> Float[Tensor, "batch counts"]:
        """Soft one-hot counts.

        Args:
            logits: (B, n) attention before its sigmoid.
            boxes: (B, n, 4) left, top, right, bottom, in any unit.
            mask: (B, n), False for padding, which is never looked at, whatever it holds.

        Returns:
            (B, most + 1).
        """
        if mask is not None:
            logits = torch.where(mask, logits, -torch.inf)
            boxes = torch.where(mask.unsqueeze(-1), boxes, 0.0)
        attention, boxes = self._highest(logits, boxes)
        pairs, apart = attention.unsqueeze(-1) * attention.unsqueeze(-2), 1 - overlap(boxes)
        alike = self._alike(attention, self.relevant_alike(pairs) * self.apart_alike(apart))
        votes = alike.sum(-1)  # how often the object of a box was proposed
        edges = self.relevant(pairs) * self.apart(apart) / (votes.unsqueeze(-1) * votes.unsqueeze(-2))
        loops = self.relevant(attention.square()) / votes
        count = (edges.sum((-1, -2)) + loops.sum(-1) + TINY).sqrt()
        return self._one_hot(count) * self._confidence(attention, apart).unsqueeze(-1)

    def _highest(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Attention and boxes of the ``most`` highest logits; of fewer boxes, with empty ones that nobody looks at."""
        missing = max(0, self.most - logits.shape[-1])
        logits = nn.functional.pad(logits, (0, missing), value=-torch.inf)
        boxes = nn.functional.pad(boxes, (0, 0, 0, missing))
        best = logits.topk(self.most, dim=-1)
        return best.values.sigmoid(), boxes.gather(-2, best.indices.unsqueeze(-1).expand(-1, -1, 4))

    def _alike(self, attention: Tensor, edges: Tensor) -> Tensor:
        """How far two boxes (B, n, n) are the same object: equal attention, and equal edges to every other box."""
        attended = self.same(1 - (attention.unsqueeze(-1) - attention.unsqueeze(-2)).abs())
        linked = self.same(1 - (edges.unsqueeze(-2) - edges.unsqueeze(-3)).abs())
        return linked.prod(-1) * attended

    def _one_hot(self, count: Tensor) -> Tensor:
        """A whole number as one entry, one between two as shares of both."""
        places = torch.arange(self.most + 1, dtype=count.dtype, device=count.device)
        return (1 - (count.clamp(0, self.most).unsqueeze(-1) - places).abs()).clamp_min(0)

    def _confidence(self, attention: Tensor, apart: Tensor) -> Tensor:
        """1 where attention and overlaps are all or nothing, 0 where all of them are halves."""
        relevance = (self.sure_relevant(attention) - 0.5).abs().mean(-1)
        distance = (self.sure_apart(apart) - 0.5).abs().mean((-1, -2))
        return self.sure(relevance + distance)


class Rising(nn.Module):
    """A learnt function from [0, 1] onto [0, 1] that never falls: straight pieces between equidistant points.

    Source: Zhang et al. 2018, section 4.1 and equation 3.
    """

    def __init__(self, pieces: int = PIECES) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.ones(pieces))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Elementwise; what lies outside [0, 1] by rounding is taken for its end."""
        steps = self.slopes.abs() / self.slopes.abs().sum()
        heights = nn.functional.pad(steps.cumsum(0), (1, 0))
        at = x.clamp(0, 1) * len(steps)
        piece = at.detach().floor().long().clamp_max(len(steps) - 1)
        return heights[piece] + (at - piece) * steps[piece]


class _Edges(NamedTuple):
    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor


def overlap(boxes: Float[Tensor, "*batch n 4"]) -> Float[Tensor, "*batch n n"]:
    """Intersection over union of every pair of boxes (left, top, right, bottom); 0 where both are empty.

    Example:
        >>> overlap(torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]]))
        tensor([[1.0000, 0.3333],
                [0.3333, 1.0000]])
    """
    one, other = _Edges(*boxes.unsqueeze(-2).unbind(-1)), _Edges(*boxes.unsqueeze(-3).unbind(-1))
    wide = torch.minimum(one.right, other.right) - torch.maximum(one.left, other.left)
    high = torch.minimum(one.bottom, other.bottom) - torch.maximum(one.top, other.top)
    shared = wide.clamp_min(0) * high.clamp_min(0)
    area = (boxes[..., 2] - boxes[..., 0]).clamp_min(0) * (boxes[..., 3] - boxes[..., 1]).clamp_min(0)
    union = area.unsqueeze(-1) + area.unsqueeze(-2) - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1), 0.0)
