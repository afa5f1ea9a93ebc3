"""Networks: backbones that see one patch, and scorers that judge all patches of a sample."""

from unshuffle.nets.alexnet import AlexNet
from unshuffle.nets.scorers import ContextFree, ContextFreeNet, ItemNet, ItemScorer
from unshuffle.nets.small import SmallConv

__all__ = ["AlexNet", "ContextFree", "ContextFreeNet", "ItemNet", "ItemScorer", "SmallConv"]
