"""Cutting a sample into equal patches.

One idea for every modality: along the axes that matter a sample is divided into equal cells, and a patch is a crop of
its cell. A :class:`Grid` divides both axes of a picture, :class:`Bands` the frequency axis of a spectrogram,
:class:`~unshuffle.data.slices.Slices` any one axis of any array. The crop may be smaller than its cell and be placed at
random, so that the edges of neighbours never match by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unshuffle import permutations
from unshuffle._ranges import Few, Finite, Margin, MaybeMany
from unshuffle.data.precision import near_zero
from unshuffle.values import register


class Patches(Protocol):
    """A way of cutting samples (B, C, H, W), or arrays of any shape, into n patches of one shape."""

    @property
    def count(self) -> int:
        """n, the number of patches."""
        ...

    def patch_shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one patch, (C, h, w) of items (C, H, W); raises ValueError where they are too small."""
        ...

    def cut(self, items: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) to (B, n, C, h, w); without a generator every crop is in the middle of its cell."""
        ...

    def join(self, patches: Tensor) -> Tensor:
        """(B, n, C, h, w) to one picture (B, C, H', W'), patch i at place i: to look at, gaps are left out."""
        ...


@register
@dataclass(frozen=True)
class Grid:
    """Rows × columns patches of an image, left to right and top to bottom.

    Source: Noroozi & Favaro 2016 (3 × 3, gap 11 of 75 pixels); Shuffle to Learn, section 2.3.
    """

    rows: Few = 3
    """Patches from top to bottom."""
    columns: Few = 3
    """Patches from left to right."""
    gap: Margin = 4
    """Pixels by which a patch is smaller than its cell, on either axis."""
    jitter: bool = True
    """Place every patch at random inside its cell while training; else in the middle."""
    normalize: bool = True
    """Give each patch and channel mean 0 and deviation 1, after the crop: brightness must not tell the place."""
    means: tuple[Finite, ...] = ()
    """Where patches are not normalised: what to subtract from pixels of 0 to 255, one number a channel, red first, as
    Caffe's networks took them (123 117 104). None given: pixels from 0 to 1."""

    def __post_init__(self) -> None:
        if self.means and self.normalize:
            raise ValueError(
                "Grid: normalised patches have no use for `means`; give `normalize=False` too, or neither."
            )

    @property
    def count(self) -> int:
        """Number of patches."""
        return self.rows * self.columns

    def patch_shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, h, w) of one patch.

        Raises:
            ValueError: the image is too small for the grid.
        """
        channels, height, width = image_shape("Grid", item_shape)
        if len(self.means) not in (0, channels):
            raise ValueError(f"Grid: `means` must have one number for each of {channels} channels; got {self.means}.")
        h, w = height // self.rows - self.gap, width // self.columns - self.gap
        if h < 1 or w < 1:
            raise ValueError(
                f"Grid: images of {height} x {width} pixels are too small for {self.rows} x {self.columns} patches "
                f"with a gap of {self.gap}; they must have at least {self.rows * (self.gap + 1)} x "
                f"{self.columns * (self.gap + 1)}. Use larger images, fewer patches or a smaller gap."
            )
        return channels, h, w

    def cut(
        self, items: Num[Tensor, "batch c height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n c h w"]:
        """Cuts every image; see :class:`Patches`."""
        _, h, w = self.patch_shape(tuple(items.shape[1:]))
        batch, height, width = len(items), items.shape[-2], items.shape[-1]
        row, column = torch.meshgrid(
            _cell_starts(height, self.rows, items), _cell_starts(width, self.columns, items), indexing="ij"
        )
        shape = (batch, self.count)
        moving = generator if self.jitter else None
        top = row.flatten() + offsets(shape, self.gap, moving, items)
        left = column.flatten() + offsets(shape, self.gap, moving, items)
        patches = _crop(as_float(near_zero(items) if self.normalize else items), top, left, h, w)
        if self.means:
            return 255 * patches - torch.tensor(self.means, device=items.device)[:, None, None]
        return standardize(patches) if self.normalize else patches

    def join(self, patches: Num[Tensor, "batch n c h w"]) -> Num[Tensor, "batch c height width"]:
        """Lays the patches out on the grid again; see :class:`Patches`."""
        return permutations.lay_out(patches, self.rows, self.columns)


@register
@dataclass(frozen=True)
class Bands:
    """Bands of a spectrogram (B, 1, frequencies, frames), low to high as they lie in the array.

    Source: Shuffle to Learn, section 3.1 (10 frequency bands).
    """

    number: Few = 10
    """How many bands."""
    shift: MaybeMany = 2
    """Largest shift in time, in frames either way, drawn once a sample while training; frames at both ends are cut."""
    normalize: bool = True
    """Give each band mean 0 and deviation 1: loudness must not tell the place."""

    @property
    def count(self) -> int:
        """Number of patches."""
        return self.number

    def patch_shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, h, w) of one band.

        Raises:
            ValueError: the spectrogram is too small.
        """
        channels, height, width = image_shape("Bands", item_shape)
        h, w = height // self.number, width - 2 * self.shift
        if h < 1 or w < 1:
            raise ValueError(
                f"Bands: spectrograms of {height} frequencies x {width} frames are too small for {self.number} bands "
                f"and shifts of {self.shift} frames; use fewer bands or smaller shifts."
            )
        return channels, h, w

    def cut(
        self, items: Num[Tensor, "batch c height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n c h w"]:
        """Cuts every spectrogram; see :class:`Patches`."""
        _, h, w = self.patch_shape(tuple(items.shape[1:]))
        top = _cell_starts(items.shape[-2], self.number, items).expand(len(items), -1)
        left = offsets((len(items), 1), 2 * self.shift, generator, items).expand(-1, self.number)
        patches = _crop(as_float(near_zero(items) if self.normalize else items), top, left, h, w)
        return standardize(patches) if self.normalize else patches

    def join(self, patches: Num[Tensor, "batch n c h w"]) -> Num[Tensor, "batch c height width"]:
        """Stacks the bands again; see :class:`Patches`."""
        return permutations.lay_out(patches, self.number, 1)


def standardize(patches: Float[Tensor, "batch n c h w"], *, floor: float = 0.1) -> Float[Tensor, "batch n c h w"]:
    """Gives each patch and channel mean 0 and a deviation below 1, nearer to it the more the patch varies.

    ``floor`` is added to the deviation (values lie in [0, 1]): a flat patch stays flat instead of becoming amplified
    noise.
    """
    mean = patches.mean((-2, -1), keepdim=True)
    return (patches - mean) / (patches.std((-2, -1), keepdim=True, correction=0) + floor)


def image_shape(function: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Reads (C, H, W), or says what is expected."""
    if len(shape) != 3:
        raise ValueError(f"{function}: samples must be (channels, height, width); got {tuple(shape)}.")
    channels, height, width = shape
    return channels, height, width


def as_float(items: Tensor) -> Tensor:
    """Bytes as floats from 0 to 1, other numbers as floats."""
    return items.float() / 255 if items.dtype == torch.uint8 else items.float()


def _cell_starts(size: int, count: int, like: Tensor) -> Tensor:
    """Where each cell begins; what does not divide evenly is left out at both ends."""
    cell = size // count
    return torch.arange(count, device=like.device) * cell + (size - cell * count) // 2


def offsets(shape: tuple[int, int], gap: int, generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Where a crop begins inside its cell: in the middle, or anywhere. Drawn on the CPU: the same on every device."""
    if generator is None:
        return torch.full(shape, gap // 2, device=like.device)
    return torch.randint(gap + 1, shape, generator=generator).to(like.device)


def _crop(items: Tensor, top: Tensor, left: Tensor, h: int, w: int) -> Tensor:
    """Crops (B, n, C, h, w) out of (B, C, H, W), each at its own place."""
    batch = torch.arange(len(items), device=items.device)[:, None, None, None]
    rows = (top[..., None] + torch.arange(h, device=items.device))[..., :, None]
    columns = (left[..., None] + torch.arange(w, device=items.device))[..., None, :]
    return items[batch, :, rows, columns].movedim(-1, 2)
