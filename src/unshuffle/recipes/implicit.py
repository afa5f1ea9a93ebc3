"""Recipes of implicit permutations: tiles are placed so that a classifier of whole images knows the image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from unshuffle._ranges import Epochs, Few, Fraction, FractionBelowOne, Minibatch, Positive, Seed, Size
from unshuffle.data.image import Images
from unshuffle.data.mosaic import Tiles, Whole
from unshuffle.data.named import Labelled
from unshuffle.data.samples import Packaged
from unshuffle.evals.encoder import load
from unshuffle.methods.arranging import ArrangeToClassify, LearnToClassify
from unshuffle.nets import Backbone, Classifier, ClassifierNet, ResNet, SmallConv, fresh
from unshuffle.recipes.mosaic import (
    MosaicRecipe,
    mosaic_cifar10_po_la,
    mosaic_imagenet64_po_la,
    mosaic_mnist_po_la,
)
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ClassifyRecipe:
    """Everything that decides what a classifier of whole images learns; its images are those of a mosaic."""

    source: Images | Packaged | Labelled = Packaged("digits")
    """Where images come from; they have labels."""
    grid: tuple[Few, Few] = (3, 3)
    """Rows and columns of the tiles to come: images are scaled until they divide evenly."""
    mean: tuple[Fraction, ...] = (0.5,)
    """Of the pixels in [0, 1], subtracted from them: one for each channel, or one for all."""
    deviation: tuple[Positive, ...] = (0.25,)
    """Of the pixels, by which they are divided."""
    backbone: Backbone = SmallConv()
    """What sees an image."""
    classes: Size = 10
    """How many classes there are."""
    optim: AdamW | Adam = Adam(lr=1e-3)
    """How the weights move."""
    batch_size: Minibatch = 32
    """Images in a step, over all processes."""
    epochs: Epochs = 20
    """Passes over the data."""
    holdout: FractionBelowOne = 0.0
    """Share of the images kept out of training."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[ClassifyRecipe, list[str]]:
        """Chooses what the source leaves open."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own."""
        tiles = Tiles(*self.grid, mean=self.mean, deviation=self.deviation)
        channels, height, width = tiles.patch_shape(item_shape)
        whole = (channels, height * self.grid[0], width * self.grid[1])
        value = ClassifierNet(self.backbone, whole, self.classes)
        classifier = value.build(net)
        described = replace(value, backbone=fresh(self.backbone))
        return Plan(LearnToClassify(classifier), Whole(tiles), classifier, described, None)


@register
@dataclass(frozen=True)
class ImplicitRecipe(MosaicRecipe):
    """Everything that decides how mosaics are learnt through a classifier."""

    classifier: str = ""
    """Folder of a finished run of a classify recipe with the same grid and pixels."""
    moving_statistics: bool = False
    """Let the classifier's batch-norm statistics follow the mosaics while training, as the authors' code does."""

    def settle(self, root: str | Path) -> tuple[ImplicitRecipe, list[str]]:
        """As that of any mosaic; the classifier's folder is named in full, so that the run finds it from anywhere."""
        settled, told = super().settle(root)
        assert isinstance(settled, ImplicitRecipe)
        if not settled.classifier:
            return settled, told
        return replace(settled, classifier=str(Path(settled.classifier).absolute())), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape.

        Raises:
            ValueError: no classifier is named, or it was trained on other images.
            FileNotFoundError: there is no such run.
        """
        plan = super().build(item_shape, net)
        classifier = trained_classifier(self.classifier, self.tiles())
        method = ArrangeToClassify(
            cast(Any, plan.net), classifier, *self.grid, moving_statistics=self.moving_statistics
        )  # fmt: skip
        return plan._replace(method=method)


def trained_classifier(run: str, tiles: Tiles) -> Classifier:
    """The network of a finished run of a classify recipe.

    Raises:
        ValueError: none is named, it is no classifier, or its images were cut or normalised in another way.
        FileNotFoundError: there is no such run.
    """
    if not run:
        raise ValueError(
            "ImplicitRecipe: `classifier` must name a finished run to learn through: unshuffle train classify_mnist "
            "--out runs/classifier, then --classifier runs/classifier."
        )
    encoder = load(run)
    if not isinstance(encoder.net, Classifier) or not isinstance(encoder.transform, Whole):
        raise ValueError(f"ImplicitRecipe: {run} is no run of a classifier; train one with a classify recipe.")
    if encoder.transform.tiles != tiles:
        raise ValueError(
            f"ImplicitRecipe: `classifier` must know the same images; {run} has {encoder.transform.tiles}, and this "
            f"recipe {tiles}. Train one with the same --grid, --mean and --deviation."
        )
    return encoder.net


def _through(recipe: MosaicRecipe) -> ImplicitRecipe:
    """The same mosaics, learnt through a classifier; logits clipped, as in all such experiments of the authors."""
    shared = {field.name: getattr(recipe, field.name) for field in fields(MosaicRecipe)}
    return replace(ImplicitRecipe(**shared), clip=10.0)


def _whole(recipe: MosaicRecipe) -> ClassifyRecipe:
    """A classifier of the same images."""
    assert recipe.mean is not None
    assert recipe.deviation is not None
    return ClassifyRecipe(
        source=recipe.source, mean=recipe.mean, deviation=recipe.deviation, backbone=ResNet(18, stem="pooled"),
        epochs=recipe.epochs,
    )  # fmt: skip


def classify_mnist() -> ClassifyRecipe:
    """The classifier of whole MNIST images through which mosaics are learnt: ResNet-18, first convolution 3 × 3.

    Paper: Table 2, "max": 99.5, 99.5, 99.5, 99.3 % (images scaled for 2 × 2 to 5 × 5).
    Ours:  the tables of docs/reproduce.md.
    Run:   unshuffle train classify_mnist --data mnist/ --grid 3 3 --out runs/classifier
    """
    return _whole(mosaic_mnist_po_la())


def classify_cifar10() -> ClassifyRecipe:
    """As ``classify_mnist``, of CIFAR-10. Paper: 81.0, 81.0, 81.9, 80.2 %."""
    return _whole(mosaic_cifar10_po_la())


def classify_imagenet64() -> ClassifyRecipe:
    """As ``classify_mnist``, of ImageNet at 64 × 64 with the standard first layer. Paper: 31.2, 33.4, 31.2, 33.5 %."""
    return replace(_whole(mosaic_imagenet64_po_la()), backbone=ResNet(18), classes=1000)


def mosaic_classify_mnist_po_la() -> ImplicitRecipe:
    """Mosaics of MNIST learnt through a frozen classifier alone, from a linear assignment.

    Paper: Table 2, PO-LA: 99.3, 99.4, 93.3, 89.8 % classified right (2 × 2 to 5 × 5); Table 5: squared error 0.01,
           0.03, 0.50, 0.93. Both with soft permutations.
    Ours:  the tables of docs/reproduce.md.
    Run:   unshuffle train mosaic_classify_mnist_po_la --data mnist/ --classifier runs/classifier --out runs/implicit
    """
    return _through(mosaic_mnist_po_la())


def mosaic_classify_mnist_po_u() -> ImplicitRecipe:
    """As ``mosaic_classify_mnist_po_la``, from a uniform start. Paper: 99.3, 98.7, 67.9, 69.2 %."""
    return replace(mosaic_classify_mnist_po_la(), model="po-u", clip=None)


def mosaic_classify_mnist_lin() -> ImplicitRecipe:
    """As ``mosaic_classify_mnist_po_la``, LinAssign alone. Paper: 99.4, 99.2, 86.0, 84.2 %."""
    return replace(mosaic_classify_mnist_po_la(), model="lin-assign")


def mosaic_classify_cifar10_po_la() -> ImplicitRecipe:
    """As ``mosaic_classify_mnist_po_la``, of CIFAR-10. Paper: 71.6, 40.7, 34.2, 32.3 %."""
    return _through(mosaic_cifar10_po_la())


def mosaic_classify_cifar10_po_u() -> ImplicitRecipe:
    """As ``mosaic_classify_cifar10_po_la``, from a uniform start. Paper: 70.8, 41.6, 33.3, 29.7 %."""
    return replace(mosaic_classify_cifar10_po_la(), model="po-u", clip=None)


def mosaic_classify_cifar10_lin() -> ImplicitRecipe:
    """As ``mosaic_classify_cifar10_po_la``, LinAssign alone. Paper: 64.6, 33.8, 33.4, 32.5 %."""
    return replace(mosaic_classify_cifar10_po_la(), model="lin-assign")


def mosaic_classify_imagenet64_po_la() -> ImplicitRecipe:
    """As ``mosaic_classify_mnist_po_la``, of ImageNet at 64 × 64. Paper: 23.4, 10.9, 6.3, 4.4 %."""
    return _through(mosaic_imagenet64_po_la())


def mosaic_classify_imagenet64_po_u() -> ImplicitRecipe:
    """As ``mosaic_classify_imagenet64_po_la``, from a uniform start. Paper: 24.6, 12.1, 7.3, 5.1 %."""
    return replace(mosaic_classify_imagenet64_po_la(), model="po-u", clip=None)


def mosaic_classify_imagenet64_lin() -> ImplicitRecipe:
    """As ``mosaic_classify_imagenet64_po_la``, LinAssign alone. Paper: 13.1, 5.8, 5.3, 3.3 %."""
    return replace(mosaic_classify_imagenet64_po_la(), model="lin-assign")
