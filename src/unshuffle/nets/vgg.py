"""VGG16's convolutions, as the backbone that sees one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from unshuffle._ranges import Few
from unshuffle.values import register

# Convolutions in each of the five stages, and the width of a stage in units of the first one's.
STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


@register
@dataclass(frozen=True)
class VGG16:
    """The thirteen convolutions of VGG16, under torchvision's state-dict keys (``features.0.weight``).

    Source: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; the
    larger network of DeepPermNet's Table 3.
    """

    width: Few = 64
    """Channels of the first stage; the last has eight times as many."""

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, 512, h // 32, w // 32) at the usual width; 32 pixels at least."""
        return VGG16Features(channels, self.width)


class VGG16Features(nn.Module):
    """See :class:`VGG16`."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for count, times in STAGES:
            for _ in range(count):
                layers += [_conv(before, times * width), nn.ReLU(inplace=True)]
                before = times * width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 8 * width, h // 32, w // 32)."""
        return self.features(x)


def _conv(before: int, after: int) -> nn.Conv2d:
    """Started as He et al. 2015: from smaller weights thirteen layers do not begin to learn."""
    layer = nn.Conv2d(before, after, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer
