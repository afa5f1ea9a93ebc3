"""Recipes of DeepPermNet on sequences of whole images: relative attributes."""

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
from unshuffle.losses import AuthorsSinkhorn, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.methods.deepperm import DeepPermNet
from unshuffle.nets import CFN2016, VGG16, Backbone, SiameseNet, SmallConv, fresh
from unshuffle.recipes.deepperm import MatrixLoss
from unshuffle.train.engine import Plan
from unshuffle.train.optim import SGD, Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class SequenceRecipe:
    """Everything that decides what DeepPermNet learns from ordered sequences of images."""

    source: Images | Packaged | Labelled = Images()
    """Where images come from, and what they are ordered by."""
    length: Annotated[int, Range(2, 1024)] = 8
    """Images in a sequence; new images are ordered in windows of as many."""
    drawing: Drawing = Drawing()
    """How sequences are drawn from a batch."""
    jitter: Jitter = Jitter()
    """How pictures are changed in training."""
    backbone: Backbone = SmallConv()
    """What sees one image: conv1 to conv5."""
    loss: MatrixLoss = SinkhornCrossEntropy()
    """What is made of the scores, and its cost; tied images share their positions evenly."""
    image_features: Size = 128
    """Features of one image, fc6: the length of an embedding."""
    hidden: Size = 512
    """Units of fc7, over all images of a sequence."""
    dropout: FractionBelowOne = 0.5
    """Between the fully connected layers, in training."""
    optim: AdamW | Adam | SGD = AdamW()
    """How the weights move."""
    batch_size: Minibatch = 128
    """Single images in a step; 128 make 16 sequences of 8."""
    epochs: Epochs = 100
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the images kept out of training."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[SequenceRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own."""
        n, shape = self.length, self.jitter.shape(item_shape)
        value = SiameseNet(
            self.backbone, n, shape, self.loss.outputs(n), self.image_features, self.hidden, self.dropout
        )
        siamese = value.build(net)
        described = replace(value, backbone=fresh(self.backbone))
        transform = OrderedSets(n, self.drawing, self.jitter)
        return Plan(DeepPermNet(siamese, self.loss), transform, siamese, described, self.loss)


def deepperm_order() -> SequenceRecipe:
    """DeepPermNet on your own ordered photos: sequences of eight, all seen at once; otherwise as ``order``.

    Run:   unshuffle train deepperm-order --data ranked/ --length 8 --out runs/a
    """
    return SequenceRecipe(
        source=Labelled(Images(), RankedFolders()), drawing=Drawing(stratified=True),
        jitter=Jitter(crop=8, mirror=True), batch_size=64, optim=AdamW(lr=1e-3), holdout=0.15,
    )  # fmt: skip


def deepperm_digits() -> SequenceRecipe:
    """As ``order_digits``, with a matrix for each set of five digits in place of a score for each digit."""
    return SequenceRecipe(
        source=Packaged("digits"), length=5, dropout=0.2, optim=AdamW(lr=3e-3), batch_size=250, epochs=120
    )


def deepperm_osr_sinkhorn() -> SequenceRecipe:
    """The paper's relative attributes on outdoor scenes, with our Sinkhorn layer: 25,000 steps, 30 sequences of eight.

    Images of 256 pixels, crops of 227; branches and rates of the authors' code. Where the paper breaks ties, tied
    images share their positions (--drawing.break-ties does as the paper). Two things are not as there: pixels are from
    0 to 1, and the convolutions start untrained, as no weights come with this package; a trained network is given to
    ``unshuffle.fit`` as ``net``.

    Paper: Table 3, "DeepPermNet (AlexNet)": 97.21 % of the pairs of test sequences in order for ``natural``, 96.62 %
           on average over the six attributes.
    Ours:  not yet run on the published images; smaller grey copies: the page of our numbers.
    Run:   unshuffle train deepperm_osr_sinkhorn --data relative_attributes/ --source.layout.target natural --out runs/a
    """
    return SequenceRecipe(
        source=Labelled(Images(size=256), OSR()), drawing=Drawing(stratified=True), jitter=Jitter(crop=29),
        backbone=CFN2016(), image_features=512, hidden=4096, batch_size=240, epochs=25_000, holdout=0.0,
        optim=SGD(lr=1e-4, backbone_rate=0.1, drop_every=0.4),
    )  # fmt: skip


def deepperm_osr_authors() -> SequenceRecipe:
    """As ``deepperm_osr_sinkhorn``, with the layer of the authors' code: one step each, λ added."""
    return replace(deepperm_osr_sinkhorn(), loss=AuthorsSinkhorn())


def deepperm_osr_naive() -> SequenceRecipe:
    """As ``deepperm_osr_sinkhorn``, with sigmoids in place of the layer."""
    return replace(deepperm_osr_sinkhorn(), loss=NaiveSigmoid())


def deepperm_osr_vgg16() -> SequenceRecipe:
    """As ``deepperm_osr_sinkhorn``, with branches of VGG16 (paper: 98.48 % of the pairs, on average)."""
    return replace(deepperm_osr_sinkhorn(), backbone=VGG16())


def deepperm_pubfig_sinkhorn() -> SequenceRecipe:
    """As ``deepperm_osr_sinkhorn``, on public figures (paper: Kendall tau 0.963 at length 8, 98.14 % of the pairs)."""
    return replace(deepperm_osr_sinkhorn(), source=Labelled(Images(size=256), PubFig()))


def deepperm_pubfig_authors() -> SequenceRecipe:
    """As ``deepperm_pubfig_sinkhorn``, with the layer of the authors' code: one step each, λ added."""
    return replace(deepperm_pubfig_sinkhorn(), loss=AuthorsSinkhorn())


def deepperm_pubfig_naive() -> SequenceRecipe:
    """As ``deepperm_pubfig_sinkhorn``, with sigmoids in place of the layer (paper: Kendall tau 0.774 at length 8)."""
    return replace(deepperm_pubfig_sinkhorn(), loss=NaiveSigmoid())
