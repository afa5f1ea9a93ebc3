"""What sees one tile of a mosaic: one wide convolution, pooled, so that edges and places are kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle import _check


class TileFeatures(nn.Module):
    """A 5 × 5 convolution, ReLU and max-pooling by two, all of it as one vector a tile.

    Args:
        shape: (C, h, w) of a tile; 2 × 2 pixels at least.
        width: channels of the convolution.

    Raises:
        ValueError: the tiles are too small to be pooled.

    Source: Zhang et al. 2019 (Permutation-Optimisation), appendix F.2, after Mena et al. 2018.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        _check.positive("TileFeatures", "width", width)
        channels, height, tile_width = shape
        if min(height, tile_width) < 2:
            raise ValueError(
                f"TileFeatures: tiles must have at least 2 x 2 pixels; got {height} x {tile_width}. Use larger images, "
                "or fewer tiles."
            )
        self.conv = nn.Conv2d(channels, width, 5, padding=2)
        self.pool = nn.MaxPool2d(2)
        self.features = width * (height // 2) * (tile_width // 2)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, tiles: Float[Tensor, "batch n c h w"]) -> Float[Tensor, "batch n d"]:
        """One vector for each tile, whatever the others are."""
        # Pooled before the ReLU: the same numbers, for a quarter of the work.
        found = self.pool(self._convolved(tiles.flatten(0, 1))).relu()
        return found.reshape(*tiles.shape[:2], self.features)

    def _convolved(self, tiles: Tensor) -> Tensor:
        """The convolution with channels last in memory, where a CPU pools all channels of a pixel side by side."""
        if tiles.shape[1] > 1:
            return self.conv(tiles.contiguous(memory_format=torch.channels_last))
        # Of one channel it is a product of matrices, which on a CPU takes half of the convolution's time.
        windows = nn.functional.pad(tiles, (2, 2, 2, 2)).unfold(2, 5, 1).unfold(3, 5, 1).squeeze(1).flatten(-2)
        return nn.functional.linear(windows, self.conv.weight.flatten(1), self.conv.bias).movedim(-1, 1)
