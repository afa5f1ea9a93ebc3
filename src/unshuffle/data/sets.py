"""Sets of items of which only the order is told: the weak supervision of learning to rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num, Real
from torch import Tensor

from unshuffle import permutations
from unshuffle._ranges import Size
from unshuffle.data.jitter import Jitter
from unshuffle.types import Raw, Sets
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Drawing:
    """Which samples of a batch form a set, and what is told of those that tie.

    DeepPermNet's sequences are drawn level by level and again and again, as here where ``stratified``; theirs hold no
    class twice, which a batch of values alone cannot tell.
    """

    stratified: bool = False
    """Draw each place's value first, all alike likely, then a sample of it; by default every sample is dealt once."""
    strict: bool = False
    """Only sets without ties: as many values as items, each alike likely."""
    break_ties: bool = False
    """Tell an order of tied items too, drawn by chance, as permutation matrices must; by default they share a rank."""

    def draw(self, labels: Real[Tensor, " batch"], size: int, generator: torch.Generator) -> Int[Tensor, "sets {size}"]:
        """As many sets as the batch would fill: places in the batch, no sample twice in a set.

        Raises:
            ValueError: ``strict``, and the batch has fewer values than a set has items.
        """
        count = len(labels) // size
        if not (self.stratified or self.strict):
            return torch.randperm(len(labels), generator=generator)[: count * size].reshape(count, size)
        _, level, sizes = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
        if not self.strict:
            return torch.multinomial((1 / sizes[level]).expand(count, -1), size, generator=generator)
        if len(sizes) < size:
            raise ValueError(
                f"Drawing: sets of {size} without ties need as many values; a batch has {len(sizes)}. Use shorter "
                "sets, larger batches, or allow ties."
            )
        chosen = torch.rand(count, len(sizes), generator=generator).argsort(-1)[:, :size]
        within = (torch.rand(count, size, generator=generator) * sizes[chosen]).long()  # which sample of each value
        return level.argsort(stable=True)[sizes.cumsum(0)[chosen] - sizes[chosen] + within]

    def ranks(self, labels: Real[Tensor, "sets size"], generator: torch.Generator) -> Float[Tensor, "sets size"]:
        """What is told of sets: ranks from 1, ascending."""
        # Ranked in their own type: single precision would tie large integers, dates in seconds for example.
        ranks = permutations.to_ranks(labels).float()
        if not self.break_ties:
            return ranks
        return permutations.to_ranks(ranks + torch.rand(ranks.shape, generator=generator).to(ranks.device) / 4)


@register
@dataclass(frozen=True)
class OrderedSets:
    """Makes sets of the samples of a batch and tells each set's order, never a label itself.

    A batch of B samples gives B // size sets. Samples of equal label are tied.
    """

    size: Size = 5
    """Items in a set."""
    drawing: Drawing = Drawing()
    """Which samples form a set."""
    jitter: Jitter = Jitter()
    """How pictures are changed in training."""

    @property
    def least(self) -> int:
        """Samples that a batch must have."""
        return self.size

    def __call__(self, raw: Raw, generator: torch.Generator) -> Sets:
        """Makes the sets of one batch.

        Raises:
            ValueError: the samples carry no label to be ordered by, or are fewer than one set.
        """
        if raw.label is None:
            raise ValueError("OrderedSets: the samples carry no label to be ordered by; give (item, value) pairs.")
        if len(raw.items) < self.size:
            raise ValueError(
                f"OrderedSets: a batch of {len(raw.items)} makes no set of {self.size}; use a larger batch, more "
                "samples, or shorter sets."
            )
        label = raw.label.long() if raw.label.dtype == torch.bool else raw.label
        drawn = self.drawing.draw(label, self.size, generator).to(raw.items.device)
        ranks = self.drawing.ranks(label[drawn], generator)
        items = self.jitter(_as_floats(raw.items[drawn.flatten()]), generator)
        return Sets(items.unflatten(0, drawn.shape), ranks, raw.index[drawn])

    def prepare(self, items: Num[Tensor, "batch *shape"]) -> Float[Tensor, "batch *rest"]:
        """The deterministic form: single items, as floats."""
        return self.jitter.middle(_as_floats(items))


def _as_floats(items: Tensor) -> Tensor:
    """Bytes as numbers from 0 to 1; anything else as it is."""
    return items.float() / 255 if items.dtype == torch.uint8 else items.float()
