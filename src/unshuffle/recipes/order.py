"""Recipes of learning to order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from torch import nn

from unshuffle._ranges import Epochs, FractionBelowOne, Minibatch, Range, Seed, Size
from unshuffle.data.image import Images
from unshuffle.data.jitter import Jitter
from unshuffle.data.named import OSR, Labelled, PubFig, RankedFolders
from unshuffle.data.samples import Packaged
from unshuffle.data.sets import Drawing, OrderedSets
from unshuffle.losses import FastSoftRanking, PairwiseLogistic, PerturbedFenchelYoung, RankMSE
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
    """Where samples come from, and what they are ordered by."""
    length: Annotated[int, Range(2, 1024)] = 5
    """Items in a set."""
    drawing: Drawing = Drawing()
    """How sets are drawn from a batch."""
    jitter: Jitter = Jitter()
    """How pictures are changed in training."""
    backbone: Backbone = SmallConv()
    """What sees one item."""
    loss: PerturbedFenchelYoung | FastSoftRanking | RankMSE | PairwiseLogistic = PerturbedFenchelYoung(sigma=1.0)
    """What the scores cost."""
    hidden: Size = 128
    """Units of the layer before the score: the length of an embedding."""
    optim: AdamW | Adam = AdamW(lr=3e-3)
    """How the weights move."""
    batch_size: Minibatch = 250
    """Single items in a step; 250 make 50 sets of 5."""
    epochs: Epochs = 120
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the samples kept out of training."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[OrderRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for items of this shape; ``net`` is a backbone of one's own."""
        value = ItemNet(self.backbone, self.jitter.shape(item_shape), self.hidden)
        scorer = value.build(net)
        described = replace(value, backbone=fresh(self.backbone))
        transform = OrderedSets(self.length, self.drawing, self.jitter)
        return Plan(LearnToOrder(scorer, self.loss), transform, scorer, described, self.loss)


def order() -> OrderRecipe:
    """Learns what your own photos are ordered by: sub-folders weak to strong, or a table of scores or dates.

    One score a photo, so that any number of new ones can be put in order: unshuffle order runs/a new-photos/

    Run:   unshuffle train order --data ranked/ --length 8 --out runs/a
    """
    return OrderRecipe(
        source=Labelled(Images(), RankedFolders()), length=8, drawing=Drawing(stratified=True),
        jitter=Jitter(crop=8, mirror=True), batch_size=64, optim=AdamW(lr=1e-3), epochs=100, holdout=0.15,
    )  # fmt: skip


def order_digits() -> OrderRecipe:
    """The demo's first act: sets of five handwritten digits of which only the order is told.

    Paper: the benchmark of Grover et al. 2019 (there on four-digit MNIST numbers); no number of theirs compares.
    Ours:  the table of the README.
    Run:   unshuffle train order_digits --out runs/digits
    """
    return OrderRecipe()


def order_osr() -> OrderRecipe:
    """DeepPermNet's task on outdoor scenes with a score for each image in place of a matrix for eight.

    Paper: Table 3, "DeepPermNet (AlexNet)": 97.21 % of the pairs of test sequences of eight in order for ``natural``;
           with AlexNet as trained on ImageNet, on images of 227 pixels.
    Ours:  not yet run on the published images; smaller grey copies: the page of our numbers.
    Run:   unshuffle train order_osr --data relative_attributes/ --source.layout.target natural --out runs/natural
    """
    return replace(order(), source=Labelled(Images(size=128), OSR()), holdout=0.0)


def order_pubfig() -> OrderRecipe:
    """As ``order_osr``, on public figures: --source.layout.target Smiling; the paper's Table 2 has 97.88 % for it."""
    return replace(order_osr(), source=Labelled(Images(size=128), PubFig()))
