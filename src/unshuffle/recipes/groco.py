"""Recipes of learning from views: GroCo, and SimCLR beside it on the same footing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unshuffle._ranges import Epochs, Few, FractionBelowOne, MaybeMany, Minibatch, Seed
from unshuffle.data.blur import Blur
from unshuffle.data.image import Images
from unshuffle.data.named import CIFAR10, Labelled
from unshuffle.data.samples import Packaged
from unshuffle.data.views import MultiView, dino_multi_crop, dino_views, simclr_views
from unshuffle.losses import GroupOrder, InfoNCE, Triplet
from unshuffle.methods.views import LearnFromViews
from unshuffle.nets import Backbone, ProjectedNet, Projector, ResNet, Timm, fresh
from unshuffle.train.cosine import CosineLARS, CosineSGD
from unshuffle.train.engine import Plan
from unshuffle.train.optim import AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ViewsRecipe:
    """Everything that decides what is learned from views of images."""

    source: Images | Packaged | Labelled = Images(size=128)
    """Where images come from; views are cut out of their squares."""
    views: MultiView = dino_views(96)
    """How many views of an image there are, and how each is made."""
    backbone: Backbone = ResNet()
    """What sees a view."""
    projector: Projector = Projector(hidden=512, features=512)
    """What stands between the representation and the loss."""
    loss: GroupOrder | InfoNCE | Triplet = GroupOrder(inverse_temperature=16.0)
    """What is asked of the distances between projections."""
    parts: Few = 1
    """Pieces in which a batch goes through the network where the memory is short: the loss is that of the whole batch,
    batch norms see one piece, and the network computes everything twice."""
    optim: CosineSGD | CosineLARS | AdamW = CosineSGD(lr=32.0, reference_epochs=None)
    """How the weights move."""
    batch_size: Minibatch = 256
    """Images in a step, over all processes."""
    epochs: Epochs = 100
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the images kept out of training."""
    knn_every: MaybeMany = 1
    """Epochs between questions to the nearest neighbours: the share of the held-out images whose class they tell, a
    column of metrics.csv where the data have classes. 0: never."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[ViewsRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open; lines tell what was chosen."""
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape; ``net`` is a backbone of one's own."""
        value = ProjectedNet(self.backbone, self.views.shape(item_shape), self.projector)
        projected = value.build(net)
        method = LearnFromViews(projected, self.loss, positives=self.views.positives, parts=self.parts)
        described = replace(value, backbone=fresh(self.backbone))
        return Plan(method, self.views, projected, described, None)


def groco() -> ViewsRecipe:
    """GroCo on a folder of images: positives closer than the strongest negatives, by a sorting network. Our settings.

    Rate and inverse temperature are the best of a small search on CIFAR-10, short trainings, in docs/reproduce.md; the
    paper's of long ones are --optim.lr 24 --loss.inverse-temperature 1. ``--batch-size`` is what the rate follows;
    ``--parts 4`` where the memory is short.

    Run:   unshuffle train groco --data photos/ --out runs/groco
    """
    return ViewsRecipe()


def simclr() -> ViewsRecipe:
    """As ``groco``, with the contrastive loss of SimCLR, its views and a rate that suits it: the baseline."""
    return replace(
        groco(), views=simclr_views(96), loss=InfoNCE(), optim=CosineSGD(lr=0.24, reference_epochs=None)
    )  # fmt: skip


def groco_timm() -> ViewsRecipe:
    """As ``groco``, with any network of timm: ``--backbone.name resnet50``; needs timm.

    ``--backbone.pretrained`` begins with timm's weights.
    """
    return replace(groco(), backbone=Timm())


def groco_imagenet_2views() -> ViewsRecipe:
    """The paper's main experiment: ResNet-50 on ImageNet, two views of 224 px, 100 epochs in batches of 1,024.

    Paper: Table 4: k-NN (k = 1, 10, 20) 55.3, 60.3, 60.5; linear probe 69.2 (top 1), 88.4 (top 5). Tables 1 and 2:
           linear 70.4 and 71.0, k-NN 62.7 and 63.6 after 200 and 400 epochs (--epochs).
    Ours:  not yet run.
    Costs: 22 hours on eight A6000, says the paper.
    Run:   unshuffle train groco_imagenet_2views --data imagenet/train --out runs/groco --device cuda
           --devices 8 --workers 16 --precision bf16-mixed

    Crops are taken from the middle square of an image at 320 px, not from the whole image. The authors' code warms up
    for one epoch (--optim.warmup 1), has twice the rate from 400 epochs on (--optim.lr 48), only looks for negatives
    among views of the same number (--loss.negatives.views same), and sorts the list the other way round
    (--loss.orientation code).
    """
    return ViewsRecipe(
        source=Images(size=320), views=dino_views(224), backbone=ResNet(50, zero_init_residual=True),
        projector=Projector(hidden=2048, features=2048), loss=GroupOrder(), optim=CosineSGD(), batch_size=1024,
        epochs=100, holdout=0.0, knn_every=0,
    )  # fmt: skip


def groco_imagenet_3views() -> ViewsRecipe:
    """As ``groco_imagenet_2views``, three views. Paper: k-NN 55.8, 61.2, 61.6; linear 69.5, 88.8."""
    return replace(groco_imagenet_2views(), views=dino_views(224, views=3))


def groco_imagenet_4views() -> ViewsRecipe:
    """As ``groco_imagenet_2views``, four views. Paper: k-NN 56.4, 61.5, 61.8; linear 69.6, 88.9.

    The authors' code doubles the decay of weights from 200 epochs on (--optim.weight-decay 2e-6), here and in
    ``groco_imagenet_multicrop``.
    """
    return replace(groco_imagenet_2views(), views=dino_views(224, views=4))


def groco_imagenet_multicrop() -> ViewsRecipe:
    """As ``groco_imagenet_2views``, six crops of 96 px beside the two views. Paper: k-NN 57.0, 61.9, 62.2; linear 71.6.

    The two large views alone are positives, of large and small ones.
    """
    return replace(groco_imagenet_2views(), views=dino_multi_crop(224, 96))


def simclr_imagenet_2views() -> ViewsRecipe:
    """The paper's baseline: SimCLR with the projector of GroCo, 128 long, two views, 100 epochs in batches of 1,024.

    Paper: Table 4, "SimCLR†": k-NN (k = 1, 10, 20) 46.0, 51.5, 51.9; linear probe 65.7 (top 1), 86.7 (top 5).
    Ours:  not yet run.
    Run:   unshuffle train simclr_imagenet_2views --data imagenet/train --out runs/simclr --device cuda
           --devices 8 --workers 16 --precision bf16-mixed

    Temperature, optimiser and rate are those of the authors' code, which the paper leaves out. Its baseline of more
    than two views contrasts with the negatives of one device alone; here they are those of all.
    """
    return replace(
        groco_imagenet_2views(), views=simclr_views(224), projector=Projector(hidden=2048, features=128),
        loss=InfoNCE(temperature=0.1), optim=CosineLARS(),
    )  # fmt: skip


def simclr_imagenet_3views() -> ViewsRecipe:
    """As ``simclr_imagenet_2views``, three views. Paper: k-NN 44.7, 50.0, 50.6; linear 65.8, 86.8."""
    return replace(simclr_imagenet_2views(), views=simclr_views(224, views=3))


def simclr_imagenet_4views() -> ViewsRecipe:
    """As ``simclr_imagenet_2views``, four views. Paper: k-NN 46.3, 52.1, 52.6; linear 66.5, 87.1."""
    return replace(simclr_imagenet_2views(), views=simclr_views(224, views=4))


def simclr_imagenet_multicrop() -> ViewsRecipe:
    """As ``simclr_imagenet_2views``, six crops of 96 px beside them. Paper: k-NN 46.6, 51.4, 52.0; linear 67.2, 87.7.

    The paper does not say how these crops are changed; here they are as GroCo's.
    """
    return replace(simclr_imagenet_2views(), views=dino_multi_crop(224, 96))


def groco_cifar10() -> ViewsRecipe:
    """GroCo on CIFAR-10: ResNet-18 with a first layer for small images. ``--backbone.width 16`` for a processor.

    Views are never blurred: two pixels of 32 are not two of 224.

    Paper: has no such experiment.
    Ours:  the tables of docs/reproduce.md, at a size for a processor.
    Run:   unshuffle train groco_cifar10 --data cifar10/ --out runs/cifar10
    """
    return replace(
        groco(), source=Labelled(Images(size=32), CIFAR10()), views=sharp(dino_views(32)),
        backbone=ResNet(18, stem="small"), epochs=200, holdout=0.02,
    )  # fmt: skip


def simclr_cifar10() -> ViewsRecipe:
    """As ``groco_cifar10``, with the contrastive loss of SimCLR, its views for CIFAR-10 and a rate that suits it."""
    return replace(
        groco_cifar10(), views=simclr_views(32, strength=0.5, blur=0.0), loss=simclr().loss, optim=simclr().optim
    )  # fmt: skip


def sharp(views: MultiView) -> MultiView:
    """The same views, never blurred."""
    return replace(views, recipes=tuple(replace(view, blur=Blur(0.0)) for view in views.recipes))
