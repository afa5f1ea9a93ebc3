"""Sets of items of which only the order is told: the weak supervision of learning to rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unshuffle import _check, permutations
from unshuffle.types import Raw, Sets
from unshuffle.values import register


@register
@dataclass(frozen=True)
class OrderedSets:
    """Deals the samples of a batch into sets and tells each set's order, never a label itself.

    A batch of B samples gives B // size sets; the few left over sit out this batch. Samples of equal label are tied.
    """

    size: int = 5
    """Items in a set."""

    def __post_init__(self) -> None:
        _check.positive("OrderedSets", "size", self.size)

    def __call__(self, raw: Raw, generator: torch.Generator) -> Sets:
        """Deals one batch.

        Raises:
            ValueError: the samples carry no label to be ordered by, or are fewer than one set.
        """
        if raw.label is None:
            raise ValueError("OrderedSets: the samples carry no label to be ordered by; give (item, value) pairs.")
        sets = len(raw.items) // self.size
        if sets == 0:
            raise ValueError(
                f"OrderedSets: a batch of {len(raw.items)} makes no set of {self.size}; use a larger batch."
            )
        dealt = torch.randperm(len(raw.items), generator=generator)[: sets * self.size].reshape(sets, self.size)
        dealt = dealt.to(raw.items.device)
        # Ranked in their own type: single precision would tie large integers, dates in seconds for example.
        label = raw.label.long() if raw.label.dtype == torch.bool else raw.label
        ranks = permutations.to_ranks(label[dealt]).float()
        return Sets(self.prepare(raw.items)[dealt], ranks, raw.index[dealt])

    def prepare(self, items: Num[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The deterministic form: single items, as floats."""
        return items.float() / 255 if items.dtype == torch.uint8 else items.float()
