"""Sets of random numbers, drawn afresh in every epoch: data that need no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle import permutations
from unshuffle._ranges import Count, Finite, Range
from unshuffle.types import Raw, Shuffled
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Numbers:
    """Sets of numbers, uniform between two bounds.

    Source: Zhang et al. 2019 (Permutation-Optimisation), section 4.1 and appendix F.1.
    """

    size: Annotated[int, Range(2, 65_536)] = 10
    """Numbers in a set."""
    low: Finite = 0.0
    """Lower bound."""
    high: Finite = 1.0
    """Upper bound."""
    sets: Count = 4096
    """Sets in an epoch; those of the next epoch are others."""

    noun: ClassVar[str] = "set of numbers"
    any_size: ClassVar[str] = "Sets of another size are sorted by the network itself."

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Numbers: `low` must be below `high`; got {self.low} and {self.high}.")

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """(1, 1, size)."""
        return 1, 1, self.size

    def open(self) -> NumberSets:
        """The sets."""
        return NumberSets(self)

    def as_item(self, sample: Any) -> Tensor:
        """A set of numbers in any sequence, (1, 1, size)."""
        return torch.as_tensor(sample, dtype=torch.float32).reshape(1, 1, -1)

    def draw(
        self, count: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Float[Tensor, "{count} 1 1 n"]:
        """``count`` sets as items (count, 1, 1, size)."""
        unit = torch.rand(count, 1, 1, self.size, generator=generator, dtype=dtype)
        return unit * (self.high - self.low) + self.low


class NumberSets(Dataset):
    """The sets of :class:`Numbers`: each read draws, and the loaders seed every draw by (seed, epoch, index).

    Args:
        source: which sets.
    """

    def __init__(self, source: Numbers) -> None:
        self.source, self.name, self.labels = source, "numbers", None

    def __len__(self) -> int:
        return self.source.sets

    def __getitem__(self, index: int) -> Tensor:
        return self.source.draw(1, dtype=torch.float32)[0]


@register
@dataclass(frozen=True)
class Sorting:
    """The transform of number sorting: the sets as they were drawn, and the rank of every number."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Shuffled:
        """(B, 1, 1, n) numbers to sets (B, n, 1) with their ranks; nothing is drawn."""
        sets = self.prepare(raw.items)
        return Shuffled(sets, permutations.to_ranks(sets.squeeze(-1)), raw.index)

    def prepare(self, items: Num[Tensor, "batch 1 1 n"]) -> Float[Tensor, "batch n 1"]:
        """The same without ranks."""
        sets = items.flatten(1).unsqueeze(-1)
        return sets if sets.is_floating_point() else sets.float()
