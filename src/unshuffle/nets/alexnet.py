"""AlexNet's convolutions, as the backbone that sees one patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unshuffle._ranges import Few
from unshuffle.values import register


@register
@dataclass(frozen=True)
class AlexNet:
    """The five convolutions of AlexNet, in torchvision's layout and with its state-dict keys (``features.0.weight``).

    Source: Krizhevsky 2014 (one tower); Shuffle to Learn, section 2.3. The first stride is 2 and not 4, as in the
    context-free network of Noroozi & Favaro 2016, since patches are smaller than images; pooling rounds up, as theirs.
    """

    stride: Few = 2
    """Of the first convolution; 4 for inputs of 200 pixels and more."""

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, 256, h', w'); h and w at least 21 at stride 2."""
        return AlexNetFeatures(channels, self.stride)


class AlexNetFeatures(nn.Module):
    """See :class:`AlexNet`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=stride, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                # Without normalisation layers the default start lets the signal fade through five layers.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(torch.as_tensor(module.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 256, h', w')."""
        return self.features(x)
