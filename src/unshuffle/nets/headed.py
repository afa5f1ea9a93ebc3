"""A trunk of whole images with several classifiers on it, which share all of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle._ranges import Count, Fraction, Size
from unshuffle.nets.backbones import Backbone
from unshuffle.nets.projected import Pool
from unshuffle.nets.scorers import feature_count
from unshuffle.values import register

TURNS = 4
"""Of an image, by a quarter each."""


@register
@dataclass(frozen=True)
class HeadsNet:
    """Describes a :class:`Headed` network: enough to build it again."""

    backbone: Backbone
    item_shape: tuple[Count, ...]
    classes: tuple[Count, ...] = (128,) * 10
    hidden: tuple[Size, ...] = ()
    dropout: Fraction = 0.5
    rotations: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("HeadsNet: `classes` must hold a number for each head; got none.")

    def build(self, backbone: nn.Module | None = None) -> Headed:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        return Headed(self.backbone.build(self.item_shape[0]) if backbone is None else backbone, self)


class Headed(nn.Module):
    """Images to features, and those to the scores of each head's classes.

    Args:
        backbone: any module from (B, C, h, w) to (B, d), or to (B, d, h', w').
        shape: the images, the classes of each head, and the layers in between: where there are none, features are
            averaged over all places; else fully connected layers see every place, with dropout and ReLU, as in AlexNet.

    Source: SeLa, section 3.5; the start of the linear layers is that of its code.
    """

    def __init__(self, backbone: nn.Module, shape: HeadsNet) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, shape.classes
        pool = nn.Flatten() if shape.hidden else Pool()
        widths = (feature_count(nn.Sequential(backbone, pool), shape.item_shape), *shape.hidden)
        layers: list[nn.Module] = [pool]
        for before, after in pairwise(widths):
            layers += [nn.Dropout(shape.dropout), nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], classes) for classes in shape.classes)
        self.turn = nn.Linear(widths[-1], TURNS) if shape.rotations else None
        for module in (*self.layers, *self.heads, self.turn):
            if isinstance(module, nn.Linear):
                restart(module)
        # With this order of the weights convolutions are a third faster on CPUs.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """What all heads see."""
        return self.layers(self.backbone(images))

    def logits(self, images: Float[Tensor, "batch c h w"]) -> tuple[Tensor, ...]:
        """Scores (B, K) of each head's classes."""
        return self.scores(self.embed(images))

    def scores(self, features: Float[Tensor, "batch d"]) -> tuple[Tensor, ...]:
        """The same from what :meth:`embed` gave."""
        return tuple(head(features) for head in self.heads)

    def forward(self, images: Float[Tensor, "batch c h w"]) -> tuple[Tensor, ...]:
        """As :meth:`logits`."""
        return self.logits(images)


def restart(layer: nn.Linear) -> None:
    """Fresh weights, from PyTorch's global generator."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
