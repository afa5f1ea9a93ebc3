"""Whole images cut into tiles without a gap: what a mosaic is put together from.

Unlike the patches of a :class:`~unshuffle.data.patching.Grid`, tiles join to the whole image again, and their edges
match: here the arranged image is what is wanted, not the representation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unshuffle import permutations
from unshuffle._ranges import Few, Finite, Positive
from unshuffle.data.patching import as_float, image_shape
from unshuffle.types import Raw
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Tiles:
    """Rows × columns tiles that cover an image, left to right and top to bottom.

    An image whose sides do not divide evenly is scaled up first, to the nearest size that does: 28 × 28 pixels become
    30 × 30 in a grid of 3 × 3. Pixels are normalised by constants of the data set, the same for every tile.

    Example:
        >>> Tiles(3, 3).patch_shape((1, 28, 28))
        (1, 10, 10)

    Source: Zhang et al. 2019 (Permutation-Optimisation), appendix F.2.
    """

    rows: Few = 3
    """Tiles from top to bottom."""
    columns: Few = 3
    """Tiles from left to right."""
    mean: tuple[Finite, ...] = (0.5,)
    """Of pixels in [0, 1], subtracted: one for each channel, or one for all."""
    deviation: tuple[Positive, ...] = (0.25,)
    """Of pixels in [0, 1], divided by: one for each channel, or one for all."""

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    def patch_shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, h, w) of one tile.

        Raises:
            ValueError: the image has fewer pixels than tiles, or other channels than there are constants.
        """
        channels, height, width = image_shape("Tiles", item_shape)
        if height < self.rows or width < self.columns:
            raise ValueError(
                f"Tiles: images of {height} x {width} pixels are too small for {self.rows} x {self.columns} tiles. "
                "Use larger images, or fewer tiles."
            )
        for name, constants in (("mean", self.mean), ("deviation", self.deviation)):
            if len(constants) not in (1, channels):
                raise ValueError(
                    f"Tiles: `{name}` must hold 1 number or {channels}, one for each channel; got {len(constants)}."
                )
        return channels, -(-height // self.rows), -(-width // self.columns)

    def cut(
        self, items: Num[Tensor, "batch c height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n c h w"]:
        """Scales, normalises and cuts every image; the same with a generator and without."""
        channels, h, w = self.patch_shape(tuple(items.shape[1:]))
        whole = (self.rows * h, self.columns * w)
        pixels = as_float(items)
        if tuple(items.shape[-2:]) != whole:
            pixels = torch.nn.functional.interpolate(pixels, whole, mode="bilinear", antialias=True)
        pixels = (pixels - self._constants(self.mean, pixels)) / self._constants(self.deviation, pixels)
        grid = pixels.reshape(len(items), channels, self.rows, h, self.columns, w).permute(0, 2, 4, 1, 3, 5)
        return grid.reshape(len(items), self.count, channels, h, w)

    def join(self, patches: Num[Tensor, "batch n c h w"]) -> Num[Tensor, "batch c height width"]:
        """Lays tiles out as one image again; pixels stay normalised."""
        return permutations.lay_out(patches, self.rows, self.columns)

    def pictures(self, patches: Float[Tensor, "batch n c h w"]) -> Float[Tensor, "batch c height width"]:
        """Tiles as one image with pixels in [0, 1], to look at."""
        joined = self.join(patches)
        return joined * self._constants(self.deviation, joined) + self._constants(self.mean, joined)

    def _constants(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


def pixel_constants(items: Num[Tensor, "batch c height width"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels in [0, 1], to four decimals.

    Example:
        >>> pixel_constants(torch.tensor([[[[0, 255]]], [[[255, 0]]]], dtype=torch.uint8))
        ((0.5,), (0.5,))
    """
    pixels = as_float(items)
    mean = pixels.mean((0, 2, 3))
    # A channel of one value has no deviation to divide by.
    deviation = pixels.std((0, 2, 3), correction=0).clamp_min(1e-2)
    return tuple(round(v, 4) for v in mean.tolist()), tuple(round(v, 4) for v in deviation.tolist())


@register
@dataclass(frozen=True)
class Whole:
    """The transform of a classifier: images scaled and normalised as for their tiles, and left whole."""

    tiles: Tiles = Tiles()
    """The tiles that they would be cut into."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Raw:
        """Nothing is drawn."""
        return raw._replace(items=self.prepare(raw.items))

    def prepare(self, items: Num[Tensor, "batch c height width"]) -> Float[Tensor, "batch c h w"]:
        """The images as the network takes them."""
        return self.tiles.join(self.tiles.cut(items))
