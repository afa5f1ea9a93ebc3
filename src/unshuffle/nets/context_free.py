"""The context-free network of 2016, layer by layer as its authors trained it in Caffe.

:class:`CFN2016` is a backbone like any other; what is joined on top of it is theirs too: no batch norm, dropout after
both fully connected layers, and weights that start from the Gaussians of that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

from torch import Tensor, nn

from unshuffle.values import register


@register
@dataclass(frozen=True)
class CFN2016:
    """The network of the jigsaw paper, exactly: two-group convolutions, local response normalisation, no batch norm.

    On patches of 64 pixels: 96 maps of 27 × 27, pooled to 13 × 13; 256, pooled to 6 × 6; 384; 384; 256, pooled to
    3 × 3. With ``patch_features=1024``, ``hidden=4096`` and ``dropout=0.5`` the layers above are theirs as well.

    Source: Noroozi & Favaro 2016, figure 3, and ``train_val_cfn_jps.prototxt`` of their code. A patch has at least 25
    pixels a side, 39 where pooling rounds down.
    """

    round_up: bool = True
    """Pooling rounds sizes up, as in Caffe; off, 64 pixels end in 2 × 2 and not in 3 × 3, as in most ports."""

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, 256, h', w')."""
        return Tower(channels, round_up=self.round_up)


class Tower(nn.Module):
    """The five convolutions; see :class:`CFN2016`."""

    def __init__(self, channels: int, *, round_up: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 96, 11, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=round_up),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=round_up),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=round_up),
        )
        convolutions = [module for module in self.features if isinstance(module, nn.Conv2d)]
        for layer, bias in zip(convolutions, (0.0, 1.0, 0.0, 1.0, 1.0)):
            start(layer, deviation=0.01, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 256, h', w')."""
        return self.features(x)


class Head(NamedTuple):
    """The layers of a context-free network above its backbone: of one patch, of all, and the scores."""

    patch: nn.Sequential
    aggregate: nn.Sequential
    score: nn.Sequential


def head_of_2016(features: int, patches: int, *, alone: int, hidden: int, outputs: int, dropout: float) -> Head:
    """fc6 (``alone`` units a patch), fc7 (``hidden``, of all patches) and fc8 (``outputs``)."""
    first, second, last = nn.Linear(features, alone), nn.Linear(patches * alone, hidden), nn.Linear(hidden, outputs)
    start(first, deviation=0.005, bias=1.0)
    start(second, deviation=0.005, bias=1.0)
    start(last, deviation=0.01, bias=0.0)
    return Head(
        nn.Sequential(nn.Flatten(), first, nn.ReLU(inplace=True), nn.Dropout(dropout)),
        nn.Sequential(second),
        nn.Sequential(nn.ReLU(), nn.Dropout(dropout), last),
    )


def normed_head(features: int, patches: int, *, alone: int, hidden: int, outputs: int, dropout: float) -> Head:
    """Ours: batch norm before the ReLU of the first aggregate layer, dropout between the aggregate layers only."""
    return Head(
        nn.Sequential(nn.Flatten(), nn.Linear(features, alone), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Linear(patches * alone, hidden), nn.BatchNorm1d(hidden)),
        nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)),
    )


def start(layer: nn.Conv2d | nn.Linear, *, deviation: float, bias: float) -> None:
    """Gaussian weights and a constant bias."""
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.constant_(cast(Tensor, layer.bias), bias)
