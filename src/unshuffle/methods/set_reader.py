"""A set as one vector: put in a learnt order, then read by an LSTM, once for every glimpse of an attention model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from unshuffle._ranges import Few, MaybeFew, Size
from unshuffle.methods.permopt import PermutationOptimizer
from unshuffle.values import register


@register
@dataclass(frozen=True)
class SetReading:
    """Describes a :class:`SetReader`: enough to build it again. The defaults are the paper's."""

    permute: bool = True
    """Read the objects in a learnt order (PO-U); off, in the order in which they come."""
    features: Size = 8
    """To which those of an object are projected."""
    compared: Size = 128
    """Hidden units of what compares two objects."""
    steps: MaybeFew = 3
    """Of the descent that finds the order."""
    iterations: Few = 3
    """Of each Sinkhorn normalisation in it."""
    units: Size = 128
    """Of the LSTM: the length of what it gives."""

    def build(self, features: int) -> SetReader:
        """The module for objects of so many features, with fresh weights."""
        return SetReader(features, self)


class SetReader(nn.Module):
    """Reads the objects that an attention looks at as a sequence, and drops into any attention model.

    An element is a box, its attention logit and its features, projected to a few. The order is found by comparing
    elements, so it may differ from glimpse to glimpse; what is read is each element times the sigmoid of its logit.
    The last state of the LSTM's cell is the answer. The objects' own order changes nothing, and padding neither.

    Args:
        features: of an object.
        reading: sizes, and whether to permute.

    Example:
        >>> reader = SetReader(2048, SetReading())
        >>> reader(torch.rand(5, 36, 2048), torch.rand(5, 36, 4), torch.randn(5, 8, 36)).shape  # 8 glimpses
        torch.Size([5, 8, 128])

    Source: Zhang, Prügel-Bennett & Hare, "Learning Representations of Sets through Optimized Permutations", ICLR 2019,
    section 4.4 and appendix F.4.
    """

    def __init__(self, features: int, reading: SetReading) -> None:
        super().__init__()
        width = 4 + 1 + reading.features
        self.project = nn.Linear(features, reading.features)
        self.order = None
        if reading.permute:
            self.order = PermutationOptimizer(
                width, hidden=reading.compared, steps=reading.steps, iterations=reading.iterations
            )
        self.read = nn.LSTM(width, reading.units, batch_first=True)

    def forward(
        self,
        features: Float[Tensor, "batch n d"],
        boxes: Float[Tensor, "batch n 4"],
        logits: Float[Tensor, "batch g n"],
        mask: Bool[Tensor, "batch n"] | None = None,
    ) -> Float[Tensor, "batch g units"]:
        """One vector for each glimpse; all glimpses are computed at once.

        Args:
            features: (B, n, d) of the objects.
            boxes: (B, n, 4), in any unit: they are divided by the largest number of their sample.
            logits: (B, g, n) attention before its sigmoid, of g glimpses.
            mask: (B, n), True where an object is present; what lies in the padding does not matter.

        Returns:
            (B, g, units); 0 for a sample without objects.
        """
        if mask is not None and bool(mask.all()):
            mask = None  # same numbers, and no sequence has to be packed
        if mask is not None:
            features, boxes = (torch.where(mask.unsqueeze(-1), part, 0.0) for part in (features, boxes))
            logits = torch.where(mask.unsqueeze(1), logits, 0.0)
        glimpses = logits.shape[1]
        elements = self._elements(features, boxes, logits)
        present = None if mask is None else mask.repeat_interleave(glimpses, 0)
        weighted = elements * elements[..., 4:5].sigmoid()
        if self.order is not None:
            sequence = self.order(elements, present, weighted).sequence
        else:
            sequence = weighted if present is None else _present_first(weighted, present)
        return self._last_cell(sequence, present).unflatten(0, (-1, glimpses))

    def _elements(self, features: Tensor, boxes: Tensor, logits: Tensor) -> Tensor:
        """(B * g, n, 4 + 1 + features): box, logit, projected features."""
        scale = boxes.flatten(1).amax(1).clamp_min(torch.finfo(boxes.dtype).tiny).reshape(-1, 1, 1)
        shared = (boxes / scale).unsqueeze(1), self.project(features).unsqueeze(1)
        box, feature = (part.expand(-1, logits.shape[1], -1, -1) for part in shared)
        return torch.cat([box, logits.unsqueeze(-1), feature], -1).flatten(0, 1)

    def _last_cell(self, sequence: Tensor, present: Tensor | None) -> Tensor:
        """The state of the cell after each sequence's own last element."""
        if present is None:
            return self.read(sequence)[1][1][0]
        lengths = present.sum(1)
        packed = pack_padded_sequence(
            sequence, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )  # fmt: skip
        return torch.where((lengths > 0).unsqueeze(1), self.read(packed)[1][1][0], 0.0)


def _present_first(elements: Tensor, present: Tensor) -> Tensor:
    """The elements that are present in front, in the order in which they came."""
    order = present.logical_not().long().argsort(dim=1, stable=True)
    return elements.gather(1, order.unsqueeze(-1).expand_as(elements))
