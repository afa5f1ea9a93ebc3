"""Small changes of whole pictures that leave their order alone: another crop, and left for right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle._ranges import Margin
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Jitter:
    """Cuts a few pixels off, here and there in training and evenly all round otherwise; mirrors by chance."""

    crop: Margin = 0
    """Pixels that are cut off the height and off the width; DeepPermNet cuts 29 of 256."""
    mirror: bool = False
    """Turn every other picture left for right in training; not where left and right matter."""

    def shape(self, item_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what is left of an item.

        Raises:
            ValueError: nothing is.

        Example:
            >>> Jitter(crop=8).shape((3, 96, 96))
            (3, 88, 88)
        """
        height, width = (size - self.crop for size in item_shape[-2:])
        if self.crop and min(height, width) < 1:
            raise ValueError(
                f"Jitter: `crop` must leave something of {item_shape[-2]} x {item_shape[-1]} pixels; got {self.crop}."
            )
        return *item_shape[:-2], height, width

    def middle(self, items: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch height width"]:
        """The deterministic form: the middle of each item."""
        height, width = self.shape(tuple(items.shape))[-2:]
        top = left = self.crop // 2
        return items[..., top : top + height, left : left + width]

    def __call__(
        self, items: Float[Tensor, "batch c h w"], generator: torch.Generator
    ) -> Float[Tensor, "batch c height width"]:
        """Each item anew: a crop drawn uniformly, and perhaps its mirror image."""
        count, (height, width) = len(items), self.shape(tuple(items.shape))[-2:]
        if self.crop:
            top, left = torch.randint(self.crop + 1, (2, count, 1), generator=generator).to(items.device)
            rows = (top + torch.arange(height, device=items.device))[:, None, :, None]
            columns = (left + torch.arange(width, device=items.device))[:, None, None, :]
            channels = torch.arange(items.shape[1], device=items.device)[None, :, None, None]
            items = items[torch.arange(count, device=items.device)[:, None, None, None], channels, rows, columns]
        if self.mirror:
            turned = torch.rand(count, 1, 1, 1, generator=generator).to(items.device) < 0.5
            items = torch.where(turned, items.flip(-1), items)
        return items
