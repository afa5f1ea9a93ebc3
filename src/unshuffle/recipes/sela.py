"""Recipes of self-labelling, of its baseline by k-means, and of training on labels that are there already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from unshuffle._ranges import (
    Epochs,
    Few,
    Fraction,
    FractionBelowOne,
    MaybeMany,
    Minibatch,
    Seed,
    Size,
)
from unshuffle.data.blur import Blur
from unshuffle.data.colour import ColourJitter
from unshuffle.data.crops import Crop
from unshuffle.data.image import Images
from unshuffle.data.named import CIFAR10, CIFAR100, SVHN, Labelled
from unshuffle.data.relabelled import Relabelled
from unshuffle.data.samples import Packaged
from unshuffle.data.tones import Tone, TonedViews
from unshuffle.data.views import MultiView, View
from unshuffle.methods.labelling import Balanced, Clustered
from unshuffle.methods.learn_labels import LearnLabels
from unshuffle.methods.rounds import Rounds
from unshuffle.methods.sela import SelfLabel
from unshuffle.nets import AlexNetBN, Backbone, HeadsNet, ResNet, Timm, fresh
from unshuffle.nets.alexnet_norm import NARROW
from unshuffle.train.cosine import CosineSGD
from unshuffle.train.engine import Plan
from unshuffle.train.milestones import StepSGD
from unshuffle.train.optim import AdamW
from unshuffle.values import register


def changed_view(size: int = 224, *, area: tuple[float, float] = (0.08, 1.0)) -> MultiView:
    """One view of each image as SeLa makes it: a crop, mirrored by chance, always with other colours, at times grey.

    Args:
        size: pixels a side.
        area: least and greatest share of the image.

    Source: SeLa, appendix A.1 and its code, which takes the colours away before it changes them on ImageNet.
    """
    view = View(Crop(size, area=area), ColourJitter(0.4, 0.4, 0.4, 0.4, chance=1.0), blur=Blur(0.0))
    return MultiView((view,), positives=1)


@register
@dataclass(frozen=True)
class SelfLabelRecipe:
    """Everything that decides what is learned from labels that are found while learning."""

    source: Images | Packaged | Labelled = Images(size=128)
    """Where images come from."""
    views: MultiView = changed_view(96)
    """How an image is changed."""
    backbone: Backbone = ResNet()
    """What sees an image."""
    hidden: tuple[Size, ...] = ()
    """Units of fully connected layers between backbone and heads: 4096 4096 in AlexNet. None: features are averaged
    over all places."""
    dropout: Fraction = 0.5
    """Before each of these layers."""
    clusters: tuple[Size, ...] = (128,)
    """Clusters: one number for all heads, or one a head."""
    heads: Few = 10
    """Labellings that are learnt side by side."""
    labelling: Balanced | Clustered = Balanced()
    """How labels are found."""
    rounds: Rounds = Rounds()
    """When."""
    mean_of_heads: bool = False
    """Average the losses of the heads, as the code does; the paper adds them up."""
    optim: StepSGD | CosineSGD | AdamW = StepSGD()
    """How the weights move."""
    batch_size: Minibatch = 256
    """Images in a step, over all processes."""
    epochs: Epochs = 100
    """Passes over the data."""
    holdout: FractionBelowOne = 0.0
    """Share of the images kept out of training; these get no labels."""
    knn_every: MaybeMany = 0
    """Epochs between questions to the nearest neighbours: the share of the held-out images whose class they tell, a
    column of metrics.csv where the data have classes. 0: never."""
    seed: Seed = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if len(self.clusters) not in (1, self.heads):
            raise ValueError(
                f"SelfLabelRecipe: `clusters` must be one number, or one for each of {self.heads} heads; got "
                f"{len(self.clusters)}."
            )
        self.labelling.check(self.classes)

    @property
    def classes(self) -> tuple[int, ...]:
        """Clusters of each head."""
        return self.clusters * (self.heads // len(self.clusters))

    def settle(self, root: str | Path) -> tuple[SelfLabelRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own."""
        shape = self.views.shape(item_shape)
        value = HeadsNet(self.backbone, shape, self.classes, self.hidden, self.dropout)
        headed = value.build(net)
        method = SelfLabel(headed, self.labelling, self.rounds, mean_of_heads=self.mean_of_heads)
        return Plan(method, self.views, headed, replace(value, backbone=fresh(self.backbone)), None)


@register
@dataclass(frozen=True)
class SupervisedRecipe:
    """Everything that decides what is learned from labels that are given."""

    source: Images | Packaged | Labelled | Relabelled = Images(size=128)
    """Where images come from."""
    labels: str | None = None
    """Table of labels: a .csv or .parquet with columns file, label and, for several labellings at once, head; what
    unshuffle labels writes, or any other. None: the labels of the data themselves."""
    classes: tuple[Size, ...] = ()
    """Classes of each head. None: chosen from the labels; a table of more heads, or of more classes, is followed."""
    views: MultiView = changed_view(96)
    """How an image is changed."""
    backbone: Backbone = ResNet()
    """What sees an image."""
    hidden: tuple[Size, ...] = ()
    """Units of fully connected layers between backbone and heads: 4096 4096 in AlexNet. None: features are averaged
    over all places."""
    dropout: Fraction = 0.5
    """Before each of these layers."""
    tone: Tone = Tone(0.0)
    """Heavier changes before that, which labels that stay the same allow."""
    rotations: bool = False
    """Also tell by how many quarters an image was turned (RotNet): four times the images in a step."""
    mean_of_heads: bool = False
    """Average the losses of the heads; otherwise they are added up."""
    optim: StepSGD | CosineSGD | AdamW = StepSGD()
    """How the weights move."""
    batch_size: Minibatch = 256
    """Images in a step, over all processes."""
    epochs: Epochs = 90
    """Passes over the data."""
    holdout: FractionBelowOne = 0.0
    """Share of the images kept out of training."""
    knn_every: MaybeMany = 0
    """Epochs between questions to the nearest neighbours: the share of the held-out images whose class they tell, a
    column of metrics.csv where the data have classes. 0: never."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[SupervisedRecipe, list[str]]:
        """Finds the labels and how many classes they have; lines tell that.

        Raises:
            ValueError: the data have no labels, or the table none for them.
        """
        if isinstance(self.source, Packaged):
            return self, []
        if self.labels is None:
            source, told = cast(Any, self.source).settle(root)
            named = tuple(source.open(root).classes)
            if not self.classes and not named:
                raise ValueError(f"{str(root)!r} has no labels: give --labels TABLE, or one sub-folder a class.")
            return replace(self, source=source, classes=self.classes or (len(named),)), told
        items = self.source.items if isinstance(self.source, Relabelled) else self.source
        source, told = Relabelled(items, str(Path(self.labels).absolute())).settle(root)
        labels, classes, strangers = source.heads(root)
        if len(self.classes) == len(classes):
            classes = tuple(map(max, self.classes, classes))
        known = int((labels >= 0).any(1).sum())
        told += [f"left out: {len(labels) - known} samples without a label"] if known < len(labels) else []
        told += [f"not among the samples: {strangers} files of the table"] if strangers else []
        told = [*told, f"labels: of {known} of {len(labels)} samples, heads of {', '.join(map(str, classes))} classes"]
        return replace(self, source=source, classes=classes), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own.

        Raises:
            ValueError: how many classes there are is not known.
        """
        if not self.classes:
            raise ValueError("SupervisedRecipe: `classes` must hold a number for each head; give them, or `settle`.")
        shape = self.views.shape(item_shape)
        value = HeadsNet(self.backbone, shape, self.classes, self.hidden, self.dropout, self.rotations)
        headed = value.build(net)
        method = LearnLabels(headed, mean_of_heads=self.mean_of_heads)
        views = TonedViews(self.views, self.tone) if self.tone.chance else self.views
        return Plan(method, views, headed, replace(value, backbone=fresh(self.backbone)), None)


def sela() -> SelfLabelRecipe:
    """Self-labelling on a folder of images: ten labellings of 128 clusters each, and what can be learnt from them.

    ``unshuffle labels`` writes down which image is in which cluster. Clusters that are known to differ in size take
    ``--labelling.frequencies``.

    Run:   unshuffle train sela --data photos/ --clusters 128 --heads 10 --out runs/sela
    """
    return SelfLabelRecipe()


def kmeans() -> SelfLabelRecipe:
    """As ``sela``, with labels by k-means, one head, and clusters drawn alike often: the baseline (DeepCluster)."""
    return _by_kmeans(sela())


def supervised() -> SupervisedRecipe:
    """Learns given labels from scratch: self-labels of another network (``--labels``), or the folders' names.

    Whatever network the labels come from: a ResNet here (``--backbone.depth 50``), and ``supervised-alexnet`` and
    ``supervised-timm`` train others.

    Run:   unshuffle train supervised --data photos/ --labels labels.parquet --out runs/again
    """
    return SupervisedRecipe()


def supervised_alexnet() -> SupervisedRecipe:
    """As ``supervised``, with AlexNet; for a processor ``--backbone.widths 24 64 96 96 64 --hidden 512``."""
    return replace(supervised(), backbone=AlexNetBN(), hidden=(4096, 4096))


def supervised_timm() -> SupervisedRecipe:
    """As ``supervised``, with any network of timm: ``--backbone.name resnet50``; needs timm.

    ``--backbone.pretrained`` begins with timm's weights.
    """
    return replace(supervised(), backbone=Timm())


def sela_imagenet_alexnet() -> SelfLabelRecipe:
    """The paper's main experiment: AlexNet on ImageNet, ten heads of 3,000 clusters, 400 epochs.

    Paper: Table 9: linear probes 20.3, 32.2, 38.6, 41.4, 39.6 at conv1 to conv5 (one crop), 22.5, 37.4, 44.7, 47.1,
           44.1 (ten crops); one head (--heads 1): 43.0, 44.7, 40.9 at conv3 to conv5 (Table 2).
    Ours:  not yet run.
    Run:   unshuffle train sela_imagenet_alexnet --data imagenet/train --out runs/sela --device cuda --workers 16

    Labels are found at t = (i / 99)², in shares of the training. The code trains for 401 epochs at a rate of 0.08
    unless told otherwise. Crops are taken from the middle square of an image at 320 px.
    """
    return SelfLabelRecipe(
        source=Images(size=320), views=changed_view(224), backbone=AlexNetBN(), hidden=(4096, 4096), clusters=(3000,),
        epochs=400,
    )  # fmt: skip


def sela_imagenet_alexnet_small() -> SelfLabelRecipe:
    """As ``sela_imagenet_alexnet``, with 64 and 192 filters, one head. Paper: Table 4: 41.3."""
    return replace(sela_imagenet_alexnet(), backbone=AlexNetBN(NARROW), heads=1)


def sela_imagenet_resnet50() -> SelfLabelRecipe:
    """As ``sela_imagenet_alexnet``, with a ResNet-50. Paper: Table 10: 61.5 (top 1), 84.0 (top 5); one head: 51.8."""
    return replace(sela_imagenet_alexnet(), backbone=ResNet(50), hidden=())


def kmeans_imagenet_alexnet() -> SelfLabelRecipe:
    """As ``sela_imagenet_alexnet``, with k-means, one head of 10,000, once an epoch: DeepCluster's setting."""
    return replace(_by_kmeans(sela_imagenet_alexnet()), clusters=(10000,), rounds=Rounds(401, "even"))


def supervised_imagenet_alexnet() -> SupervisedRecipe:
    """Label transfer: AlexNet from scratch on the self-labels of another network, 90 epochs.

    Paper: Table 5: with labels of SeLa [3k x 10] of AlexNet as good as SeLa itself (46.7).
    Ours:  not yet run.
    Run:   unshuffle train supervised_imagenet_alexnet --data imagenet/train --labels labels.parquet --out runs/again
           --device cuda --workers 16

    Drops are at the same shares of the training as SeLa's; the paper does not say.
    """
    return SupervisedRecipe(
        source=Images(size=320), views=changed_view(224), backbone=AlexNetBN(), hidden=(4096, 4096), epochs=90
    )  # fmt: skip


def supervised_imagenet_alexnet_rot() -> SupervisedRecipe:
    """As ``supervised_imagenet_alexnet``, and turns are told. Paper: Table 9 (+Rot): 40.4, 43.1, 42.3 (conv3 to 5)."""
    return replace(supervised_imagenet_alexnet(), rotations=True, batch_size=64)


def supervised_imagenet_alexnet_rot_more() -> SupervisedRecipe:
    """As ``supervised_imagenet_alexnet_rot``, with heavier changes (+more aug.). Paper: Table 9: 40.8, 44.4, 44.7."""
    return replace(supervised_imagenet_alexnet_rot(), tone=Tone(0.5))


def sela_cifar10() -> SelfLabelRecipe:
    """Self-labelling on CIFAR-10: AlexNet for small images, ten heads of 128 clusters.

    Paper: Table 6: linear probe 83.4, weighted kNN 77.6.
    Ours:  the tables of docs/reproduce.md, at a size for a processor.
    Run:   unshuffle train sela_cifar10 --data cifar10/ --out runs/cifar10

    The paper scales images to 256 pixels and crops 224; here they stay 32. One head is labelled an epoch, by turns, at
    a power of 10; rate, decay and drops are the code's too. For a processor ``--backbone.widths 24 64 96 96 64 --hidden
    512``.
    """
    return SelfLabelRecipe(
        source=Labelled(Images(size=32), CIFAR10()), views=changed_view(32, area=(0.2, 1.0)),
        backbone=AlexNetBN(stem="small"), hidden=(4096, 4096), labelling=Balanced(power=10.0),
        rounds=Rounds(400, "even", in_turn=True), optim=StepSGD(0.03, drops=(0.4, 0.6, 0.8), weight_decay=5e-4),
        batch_size=128, epochs=400,
    )  # fmt: skip


def sela_cifar100() -> SelfLabelRecipe:
    """As ``sela_cifar10``, on CIFAR-100, ten heads of 512. Paper: Table 6: linear 57.4, kNN 44.2. Ours: not yet run."""
    return replace(sela_cifar10(), source=Labelled(Images(size=32), CIFAR100()), clusters=(512,))


def sela_svhn() -> SelfLabelRecipe:
    """As ``sela_cifar10``, on SVHN, one head of 128. Paper: Table 6: linear 94.5, kNN 92.8. Ours: not yet run."""
    return replace(sela_cifar10(), source=Labelled(Images(size=32), SVHN()), heads=1)


def kmeans_cifar10() -> SelfLabelRecipe:
    """As ``sela_cifar10``, with labels by k-means, one head. Paper: Table 8: kNN 64.7, linear probe 77.5."""
    return _by_kmeans(sela_cifar10())


def supervised_cifar10() -> SupervisedRecipe:
    """As ``sela_cifar10``, on the true classes, or on those of ``--labels``. Paper: Table 6: linear 91.8, kNN 91.9."""
    own = sela_cifar10()
    return SupervisedRecipe(
        source=own.source, classes=(10,), views=own.views, backbone=own.backbone, hidden=own.hidden, optim=own.optim,
        batch_size=own.batch_size, epochs=own.epochs,
    )  # fmt: skip


def _by_kmeans(recipe: SelfLabelRecipe) -> SelfLabelRecipe:
    """The same recipe with labels by k-means, one head and, as in DeepCluster, one rate all along: the head begins anew
    after each round, which rates that have fallen do not teach."""
    optim = replace(cast(StepSGD, recipe.optim), drops=())
    return replace(recipe, labelling=Clustered(), heads=1, optim=optim)
