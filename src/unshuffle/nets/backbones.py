"""What can see one patch: frozen values with ``build(channels)``, a module from (B, channels, h, w) to (B, ...)."""

from __future__ import annotations

from typing import TypeAlias

from unshuffle.nets.alexnet import AlexNet
from unshuffle.nets.alexnet_norm import AlexNetBN
from unshuffle.nets.context_free import CFN2016
from unshuffle.nets.resnet import ResNet
from unshuffle.nets.small import SmallConv
from unshuffle.nets.timm import Timm
from unshuffle.nets.vgg import VGG16

Backbone: TypeAlias = SmallConv | AlexNet | AlexNetBN | CFN2016 | VGG16 | ResNet | Timm


def fresh(backbone: Backbone) -> Backbone:
    """The same backbone with weights that start at random, whatever it was to start from."""
    return backbone.fresh() if isinstance(backbone, Timm) else backbone
