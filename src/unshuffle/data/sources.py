"""What every source is: the frozen value that knows how files become samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

S = TypeVar("S", bound="Source")


class Source(Protocol):
    """A registered frozen value. Fields that are None are chosen from the data, by :meth:`settle`."""

    noun: ClassVar[str]
    """One sample in a word, for messages: image, sound."""
    any_size: ClassVar[str]
    """What to give an encoder for samples of any size, in a sentence."""

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of a sample; raises ValueError while it is still to be chosen."""
        ...

    def settle(self: S, root: str | Path) -> tuple[S, list[str]]:
        """The same with nothing left open, and a line that tells each choice."""
        ...

    def open(self, root: str | Path) -> Dataset:
        """The samples below ``root``, or in the file ``root``."""
        ...

    def as_item(self, sample: Any) -> Tensor:
        """A sample that lies in memory, as a user holds it, as an item like those of the data set."""
        ...
