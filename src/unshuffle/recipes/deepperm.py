"""Recipes of DeepPermNet on patches: learning from images without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unshuffle._ranges import Epochs, FractionBelowOne, Minibatch, Seed, Size
from unshuffle.data.image import Images
from unshuffle.data.named import Labelled
from unshuffle.data.patching import Grid
from unshuffle.data.samples import Packaged
from unshuffle.data.shuffle import Shuffle
from unshuffle.losses import AuthorsSinkhorn, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.methods.deepperm import DeepPermNet
from unshuffle.nets import CFN2016, Backbone, ContextFreeNet, SmallConv, fresh
from unshuffle.train.engine import Plan
from unshuffle.train.optim import SGD, Adam, AdamW
from unshuffle.values import register

MatrixLoss = SinkhornCrossEntropy | AuthorsSinkhorn | NaiveSigmoid


@register
@dataclass(frozen=True)
class DeepPermRecipe:
    """Everything that decides what DeepPermNet learns from shuffled patches."""

    source: Images | Packaged | Labelled = Images(size=128)
    """Where images come from."""
    patches: Grid = Grid(3, 3, gap=6)
    """How they are cut."""
    backbone: Backbone = SmallConv()
    """What sees one patch: conv1 to conv5."""
    loss: MatrixLoss = SinkhornCrossEntropy()
    """What is made of the scores, and its cost."""
    patch_features: Size = 128
    """Features of one patch, fc6; the paper's AlexNet has 4096, the authors' code 512."""
    hidden: Size = 512
    """Units of fc7, over all patches: the length of an embedding."""
    dropout: FractionBelowOne = 0.5
    """Between the fully connected layers, in training."""
    optim: AdamW | Adam | SGD = AdamW()
    """How the weights move."""
    batch_size: Minibatch = 64
    """Images in a step, over all processes."""
    epochs: Epochs = 100
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the images kept out of training, to see whether the reordering generalises."""
    seed: Seed = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if getattr(self.patches, "number", 2) is not None and self.patches.count < 2:
            raise ValueError("DeepPermRecipe: `patches` must be at least 2, or there is nothing to order; got 1.")

    def settle(self, root: str | Path) -> tuple[DeepPermRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own."""
        n, shape = self.patches.count, self.patches.patch_shape(item_shape)
        value = ContextFreeNet(
            self.backbone, n, shape, self.loss.outputs(n), self.patch_features, self.hidden, self.dropout
        )
        scorer = value.build(net)
        described = replace(value, backbone=fresh(self.backbone))
        return Plan(DeepPermNet(scorer, self.loss), Shuffle(self.patches), scorer, described, self.loss)


def deepperm() -> DeepPermRecipe:
    """DeepPermNet on a folder of images: 3 x 3 patches of 36 pixels, from cells of 42; our settings, for any hardware.

    4 x 4 (28 pixels, from cells of 32): --patches.rows 4 --patches.columns 4 --patches.gap 4.

    Run:   unshuffle train deepperm --data photos/ --out runs/a
    """
    return DeepPermRecipe()


def deepperm_imagenet_sinkhorn() -> DeepPermRecipe:
    """The paper's self-supervised experiment, with our Sinkhorn layer: 400,000 steps of 256 images.

    Images of 225 pixels in cells of 75, patches of 64 placed in them by chance, means subtracted, nothing else done to
    them: the authors' code, where the paper says nothing. The branches are theirs too, 512 features each.

    Paper: section 4.3: Kendall tau 0.72 on the validation images of ImageNet, shuffled; Table 4: VOC 2007
           classification 69.4 % mAP, fine-tuned from conv1 to conv5.
    Ours:  not yet run.
    Run:   unshuffle train deepperm_imagenet_sinkhorn --data imagenet/train --out runs/imagenet
    """
    return DeepPermRecipe(
        source=Images(size=225), patches=Grid(3, 3, gap=11, normalize=False, means=(123.0, 117.0, 104.0)),
        backbone=CFN2016(), patch_features=512, hidden=4096, optim=SGD(lr=1e-3), batch_size=256, epochs=80, holdout=0.0,
    )  # fmt: skip


def deepperm_imagenet_authors() -> DeepPermRecipe:
    """As ``deepperm_imagenet_sinkhorn``, with the layer of the authors' code: one step each, λ added."""
    return replace(deepperm_imagenet_sinkhorn(), loss=AuthorsSinkhorn())


def deepperm_imagenet_naive() -> DeepPermRecipe:
    """As ``deepperm_imagenet_sinkhorn``, with sigmoids (paper: Kendall tau 0.64, VOC 2007 65.9 % mAP)."""
    return replace(deepperm_imagenet_sinkhorn(), loss=NaiveSigmoid())


def deepperm_imagenet_4x4() -> DeepPermRecipe:
    """As ``deepperm_imagenet_sinkhorn``, with sixteen patches of 48 pixels (paper: no better; its sizes not stated)."""
    recipe = deepperm_imagenet_sinkhorn()
    return replace(recipe, patches=replace(recipe.patches, rows=4, columns=4, gap=8))
