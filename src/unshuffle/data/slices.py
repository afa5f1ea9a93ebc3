"""Cutting any array into slices along one axis: frames of a clip, stretches of a series, channels of sensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import MaybeCount, Range
from unshuffle.data.patching import as_float, offsets
from unshuffle.data.precision import channel_axis, near_zero, refuse_rounding
from unshuffle.values import register

MOST = 20  # slices that are chosen without being asked for: the frames of Shuffle to Learn, section 3.2
SMALLEST = 1e-18  # deviation below which values count as constant


@register
@dataclass(frozen=True)
class Slices:
    """Contiguous slices along one axis of items of any shape, in their order along it.

    An item is a series (channels, time), a picture or a series as the loaders give it (channels, height, time), or a
    clip (frames, channels, height, width); a slice has the item's shape, shorter along the one axis.

    Source: Shuffle to Learn, section 2.3 (vertical slices of spectrograms) and 3.2 (20 frames of a video).
    """

    axis: str = "time"
    """Where to cut: time (the frames of a clip, else the last axis), channels, or a number of an axis from 0."""
    number: Annotated[int, Range(2, 65_536)] | None = None
    """How many; by default chosen from the size: each frame of a clip or each channel up to 20, else about 10 that
    divide it evenly."""
    remainder: Literal["crop", "pad"] = "crop"
    """What becomes of entries that do not divide evenly, at both ends: crop them, or pad by repeating the outermost."""
    gap: MaybeCount = 0
    """Entries by which a slice is shorter than its cell."""
    jitter: bool = True
    """Place every slice at random inside its cell while training; else in the middle."""
    normalize: bool = True
    """Scale each channel of an item, then give each slice mean 0 and deviation 1: its level must not tell the place."""

    def __post_init__(self) -> None:
        if self.axis not in ("time", "channels") and not self.axis.removeprefix("-").isdecimal():
            raise ValueError(f"Slices: `axis` must be time, channels or the number of an axis; got {self.axis!r}.")
        _check.one_of("Slices", "remainder", self.remainder, ("crop", "pad"))

    @property
    def count(self) -> int:
        """Number of slices.

        Raises:
            ValueError: it is yet to be chosen.
        """
        if self.number is None:
            raise ValueError("Slices: `number` is yet to be chosen; call `settle` with the shape of an item.")
        return self.number

    def settle(self, item_shape: tuple[int, ...]) -> Slices:
        """The same with ``number`` chosen for items of this shape, where it was left open.

        A clip is cut into its frames and an array into its channels, where there are at most 20 of them. Any other
        axis is cut into the number from 5 to 20 nearest to 10 that divides it evenly, with two entries a slice at
        least; into 10 where none does, and into slices of two where it has fewer than 20 entries.

        Raises:
            ValueError: the axis is too short to be cut.

        Example:
            >>> Slices().settle((3, 1, 128)).number, Slices().settle((20, 3, 64, 64)).number
            (8, 20)
        """
        if self.number is not None:
            return self
        axis = self._axis(len(item_shape))
        frames = axis == 0 and len(item_shape) == 4
        channels = axis == channel_axis(len(item_shape)) and len(item_shape) > 1
        number = _chosen(item_shape[axis], single=frames or channels)
        if number < 2:
            raise ValueError(
                f"Slices: axis {axis} of items {tuple(item_shape)} is too short to be cut; name another `axis`."
            )
        return replace(self, number=number)

    def patch_shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one slice: the item's, shorter along the axis.

        Raises:
            ValueError: the axis is too short for so many slices, or a normalised slice would hold nothing.
        """
        axis = self._axis(len(item_shape))
        size, cell = item_shape[axis], self._cell(item_shape[axis])
        if size < self.count or cell <= self.gap:
            raise ValueError(
                f"Slices: axis {axis} of items {tuple(item_shape)} has {size} entries, too few for {self.count} slices "
                f"with a gap of {self.gap}; it must have at least {self.count * (self.gap + 1)}. Use fewer slices, a "
                "smaller gap, or another axis."
            )
        shape = (*item_shape[:axis], cell - self.gap, *item_shape[axis + 1 :])
        if self.normalize and torch.Size(shape).numel() == 1:
            raise ValueError(
                f"Slices: {self.count} slices of items {tuple(item_shape)} hold one value each, and nothing once they "
                "are normalised. Use fewer slices, or set `normalize` to False."
            )
        return shape

    def cut(
        self, items: Num[Tensor, "batch *shape"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *patch"]:
        """Cuts every item; without a generator every slice is in the middle of its cell.

        Raises:
            ValueError: the items are float64 or integers, too far from 0 for float32, and not normalised.
        """
        shape = tuple(items.shape[1:])
        axis, length = self._axis(len(shape)), self.patch_shape(shape)[self._axis(len(shape))]
        if self.normalize:
            values = scale_channels(as_float(near_zero(items)))
        else:
            refuse_rounding("Slices", items)
            values = as_float(items)
        moving = generator if self.jitter else None
        start = self._starts(shape[axis], items) + offsets((len(items), self.count), self.gap, moving, items)
        place = start[..., None] + torch.arange(length, device=items.device)
        place = place.clamp(0, shape[axis] - 1)  # the padding: outermost entries, again
        batch = torch.arange(len(items), device=items.device)[:, None, None]
        slices = values.movedim(axis + 1, 1)[batch, place].movedim(2, axis + 2)
        return _level(slices) if self.normalize else slices

    def join(self, patches: Num[Tensor, "batch n *patch"]) -> Num[Tensor, "batch *shape"]:
        """Slices in their order as one item again; gaps are left out, padding stays."""
        axis = self._axis(patches.ndim - 2)
        return patches.movedim(1, axis + 1).flatten(axis + 1, axis + 2)

    def _axis(self, ndim: int) -> int:
        """The axis of an item of so many, counted from 0."""
        if self.axis == "time":
            return 0 if ndim == 4 else ndim - 1
        axis = channel_axis(ndim) if self.axis == "channels" else int(self.axis)
        if not -ndim <= axis < ndim:
            raise ValueError(f"Slices: `axis` must be an axis of items with {ndim}, from 0 to {ndim - 1}; got {axis}.")
        return axis % ndim

    def _cell(self, size: int) -> int:
        return size // self.count if self.remainder == "crop" else -(-size // self.count)

    def _starts(self, size: int, like: Tensor) -> Tensor:
        """Where each cell begins; before the first entry where half of the padding lies there."""
        cell = self._cell(size)
        return torch.arange(self.count, device=like.device) * cell + (size - cell * self.count) // 2


def scale_channels(items: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
    """Gives each channel of each item mean 0 and deviation 1, whatever its unit; constant ones become 0.

    Channels are the axis before the last two, the first of series (channels, time).
    """
    channel = channel_axis(items.ndim - 1) + 1
    others = [axis for axis in range(1, items.ndim) if axis != channel or items.ndim == 2]
    mean = items.mean(others, keepdim=True)
    deviation = items.std(others, keepdim=True, correction=0)
    # Rounding errors beside a large offset are no signal.
    return (items - mean) / (deviation + 1e-6 * mean.abs() + SMALLEST)


def _level(slices: Tensor, *, floor: float = 0.1) -> Tensor:
    """Gives each slice mean 0 and a deviation below 1; one that hardly varies beside the others stays faint."""
    flat = slices.flatten(2)
    mean, deviation = flat.mean(-1), flat.std(-1, correction=0)
    one = (..., *[None] * (slices.ndim - 2))
    return (slices - mean[one]) / (deviation + floor)[one]


def _chosen(size: int, *, single: bool) -> int:
    """See :meth:`Slices.settle`."""
    if single and size <= MOST:
        return size
    most = min(MOST, size // 2)
    even = [number for number in range(5, most + 1) if size % number == 0]
    return min(even, key=lambda number: (abs(number - 10), number)) if even else min(10, most)
