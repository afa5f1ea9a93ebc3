"""A small convolutional backbone for patches of a few hundred pixels: five layers, trained on a CPU in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from unshuffle._ranges import Few
from unshuffle.values import register


@register
@dataclass(frozen=True)
class SmallConv:
    """Five 3 × 3 convolutions with batch norm and ReLU; pooled where the patch is still large enough."""

    width: Few = 32
    """Channels of the first layer; the others have two or three times as many."""

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, features, h', w')."""
        w = self.width
        widths = (channels, w, 2 * w, 2 * w, 2 * w, 3 * w)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            if i in (0, 1, 3):
                layers.append(HalvingPool())
        return nn.Sequential(*layers)


class HalvingPool(nn.Module):
    """Max-pooling by two along each axis that has at least four entries, so that thin patches survive."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h or h // 2, w or w // 2)."""
        factor = tuple(2 if size >= 4 else 1 for size in x.shape[-2:])
        return nn.functional.max_pool2d(x, factor)
