"""AlexNet's convolutions with batch norm, as self-labelling trains them: the wide variant, the narrow one, or any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from unshuffle import _check
from unshuffle._ranges import Size
from unshuffle.values import register

WIDE = (96, 256, 384, 384, 256)
"""Krizhevsky et al. 2012, in one tower."""
NARROW = (64, 192, 384, 256, 256)
"""Krizhevsky 2014."""
POOLED = (0, 1, 4)
"""Layers whose map is pooled."""


@register
@dataclass(frozen=True)
class AlexNetBN:
    """Five convolutions, each with batch norm and ReLU; no groups, no local response normalisation.

    For a processor ``--backbone.widths 24 64 96 96 64``: a quarter.

    Source: SeLa, section 4.1 and table 4, and its code, whose convolutions keep their biases; Krizhevsky et al. 2012
    and 2014 for the two variants.
    """

    widths: tuple[Size, Size, Size, Size, Size] = WIDE
    """Channels of the layers. Wide: 96 256 384 384 256. Narrow: 64 192 384 256 256."""
    stem: Literal["standard", "small"] = "standard"
    """standard: 11 × 11 at stride 4, for images of 224 pixels. small: 5 × 5 at stride 1, and pooling that rounds up,
    for images of 32."""

    def __post_init__(self) -> None:
        _check.one_of("AlexNetBN", "stem", self.stem, ("standard", "small"))

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, widths[-1], h', w'): 6 × 6 places for 224 pixels, 4 × 4 for 32."""
        return AlexNetBNFeatures(channels, self)


class AlexNetBNFeatures(nn.Module):
    """See :class:`AlexNetBN`."""

    def __init__(self, channels: int, value: AlexNetBN) -> None:
        super().__init__()
        small = value.stem == "small"
        shapes = ((5, 1, 2) if small else (11, 4, 2), (5, 1, 2), *((3, 1, 1),) * 3)
        layers: list[nn.Module] = []
        for number, ((size, stride, padding), width) in enumerate(zip(shapes, value.widths)):
            layers += [nn.Conv2d(channels, width, size, stride, padding), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            if number in POOLED:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=small))
            channels = width
        self.features = nn.Sequential(*layers)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, widths[-1], h', w')."""
        return self.features(x)
