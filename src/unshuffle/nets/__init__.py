"""Networks: backbones that see one patch, and scorers that judge all patches of a sample."""

from unshuffle.nets.alexnet import AlexNet
from unshuffle.nets.backbones import Backbone, fresh
from unshuffle.nets.context_free import CFN2016
from unshuffle.nets.resnet import ResNet
from unshuffle.nets.scorers import ContextFree, ContextFreeNet, ItemNet, ItemScorer
from unshuffle.nets.small import SmallConv
from unshuffle.nets.timm import Timm

__all__ = [
    "CFN2016",
    "AlexNet",
    "Backbone",
    "ContextFree",
    "ContextFreeNet",
    "ItemNet",
    "ItemScorer",
    "ResNet",
    "SmallConv",
    "Timm",
    "fresh",
]
