"""Recipes of learning to order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unshuffle.data.image import Images
from unshuffle.data.named import Labelled
from unshuffle.data.samples import Packaged
from unshuffle.data.sets import OrderedSets
from unshuffle.losses import FastSoftRanking, PerturbedFenchelYoung, RankMSE
from unshuffle.methods.ordering import LearnToOrder
from unshuffle.nets import Backbone, ItemNet, SmallConv, fresh
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class OrderRecipe:
    """Everything that decides what is learned from ordered sets. Labels are used for nothing but the sets' orders."""

    source: Images | Packaged | Labelled = Packaged("digits")
    """Where samples come from; sub-folders, by name, are ordered weak to strong."""
    sets: OrderedSets = OrderedSets()
    """How a batch is dealt into sets."""
    backbone: Backbone = SmallConv()
    """What sees one item."""
    loss: PerturbedFenchelYoung | FastSoftRanking | RankMSE = PerturbedFenchelYoung(sigma=1.0)
    """What the scores cost."""
    hidden: int = 128
    """Units of the layer before the score: the length of an embedding."""
    optim: AdamW | Adam = AdamW(lr=3e-3)
    """How the weights move."""
    batch_size: int = 250
    """Single items in a step; 250 make 50 sets of 5."""
    epochs: int = 120
    """Passes over the data."""
    holdout: float = 0.05
    """Share of the samples kept out of training."""
    seed: int = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[OrderRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for items of this shape; ``net`` is a backbone of one's own."""
        value = ItemNet(self.backbone, item_shape, self.hidden)
        scorer = value.build(net)
        described = replace(value, backbone=fresh(self.backbone))
        return Plan(LearnToOrder(scorer, self.loss), self.sets, scorer, described, self.loss)


def order_digits() -> OrderRecipe:
    """The demo's first act: sets of five handwritten digits of which only the order is told.

    Paper: the benchmark of Grover et al. 2019 (there on four-digit MNIST numbers); no number of theirs compares.
    Ours:  the table of the README.
    Run:   unshuffle train order_digits --out runs/digits
    """
    return OrderRecipe()
