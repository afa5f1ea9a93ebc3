"""Recipes of Shuffle to Learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unshuffle._ranges import Epochs, FractionBelowOne, Minibatch, Seed, Size
from unshuffle.data.audio import Sounds
from unshuffle.data.image import Images
from unshuffle.data.named import Labelled
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.samples import Packaged
from unshuffle.data.series import Series
from unshuffle.data.shuffle import Shuffle
from unshuffle.data.slices import Slices
from unshuffle.data.spectrogram import LogLinear, LogMel
from unshuffle.data.video import Clips
from unshuffle.losses import FastSoftRanking, FixedPermutations, PerturbedFenchelYoung, RankMSE
from unshuffle.methods.shuffle import ShuffleToLearn
from unshuffle.nets import CFN2016, AlexNet, Backbone, ContextFreeNet, ResNet, SmallConv, Timm, fresh
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ShuffleRecipe:
    """Everything that decides what Shuffle to Learn learns."""

    source: Images | Sounds | Clips | Series | Packaged | Labelled = Images()
    """Where samples come from."""
    patches: Grid | Bands | Slices = Grid()
    """How samples are cut."""
    front: LogMel | LogLinear | None = None
    """What is made of samples before they are cut: the spectrograms of sounds."""
    backbone: Backbone = SmallConv()
    """What sees one patch."""
    loss: PerturbedFenchelYoung | FastSoftRanking | RankMSE | FixedPermutations = PerturbedFenchelYoung()
    """What the scores mean and cost."""
    patch_features: Size = 128
    """Features of one patch, before the patches are joined."""
    hidden: Size = 512
    """Units of the first aggregate layer: the length of an embedding."""
    dropout: FractionBelowOne = 0.5
    """Between the aggregate layers, in training."""
    optim: AdamW | Adam = AdamW()
    """How the weights move."""
    batch_size: Minibatch = 64
    """Samples in a step, over all processes."""
    epochs: Epochs = 100
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the samples kept out of training, to see whether the reordering generalises."""
    seed: Seed = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if getattr(self.patches, "number", 2) is not None and self.patches.count < 2:
            raise ValueError("ShuffleRecipe: `patches` must be at least 2, or there is nothing to order; got 1.")

    def settle(self, root: str | Path) -> tuple[ShuffleRecipe, list[str]]:
        """Chooses from the data below ``root`` what was left open.

        Returns:
            The recipe with nothing left open, and lines that tell what was chosen.

        Raises:
            FileNotFoundError: there are no such data.
            ValueError: not one sample can be read, or they are too small to be cut.
        """
        if isinstance(self.source, Packaged):
            return self, []
        source, told = self.source.settle(root)
        settled, more = replace(self, source=source).settle_shapes(source.item_shape)
        return settled, told + more

    def settle_shapes(self, item_shape: tuple[int, ...]) -> tuple[ShuffleRecipe, list[str]]:
        """Chooses what follows from the shape of a sample alone; see :meth:`settle`."""
        front, told = self.front, []
        if front is not None:
            rate = self.source.rate if isinstance(self.source, (Sounds, Labelled)) else None
            front, told = front.settle(rate, item_shape)
        cut_shape = item_shape if front is None else front.shape(item_shape)
        patches = self.patches.settle(cut_shape) if isinstance(self.patches, Slices) else self.patches
        settled = replace(self, front=front, patches=patches)
        if settled == self:
            return self, []
        size = " x ".join(map(str, patches.patch_shape(cut_shape)))
        return settled, [*told, f"patches: {patches.count} of {size}"]

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for samples of this shape; ``net`` is a backbone of one's own."""
        settled, _ = self.settle_shapes(item_shape)
        return settled._build(item_shape, net)

    def _build(self, item_shape: tuple[int, ...], net: nn.Module | None) -> Plan:
        cut_shape = item_shape if self.front is None else self.front.shape(item_shape)
        n, shape = self.patches.count, self.patches.patch_shape(cut_shape)
        value = ContextFreeNet(
            self.backbone, n, shape, self.loss.outputs(n), self.patch_features, self.hidden, self.dropout
        )
        scorer = value.build(net)
        choices = self.loss.choices if isinstance(self.loss, FixedPermutations) else None
        described = replace(value, backbone=fresh(self.backbone))
        transform = Shuffle(self.patches, choices, self.front)
        return Plan(ShuffleToLearn(scorer, self.loss), transform, scorer, described, self.loss)


def shuffle() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of images: our settings, for a quick start on any hardware.

    Run:   unshuffle train shuffle --data photos/ --out runs/a
    """
    return ShuffleRecipe()


def shuffle_resnet() -> ShuffleRecipe:
    """As ``shuffle``, with a ResNet-18 made for small patches in place of the small network; a GPU is advisable.

    ``--backbone.depth 50 --backbone.stem standard`` for large patches; ``--backbone.no-pool`` keeps places apart.
    """
    return replace(shuffle(), backbone=ResNet(stem="small"))


def shuffle_timm() -> ShuffleRecipe:
    """As ``shuffle``, with any network of timm: ``--backbone.name convnext_atto``; needs timm.

    ``--backbone.pretrained`` begins with timm's weights, ``--backbone.size 224`` scales the patches first.
    """
    return replace(shuffle(), backbone=Timm())


def shuffle_imagenet_perturbed() -> ShuffleRecipe:
    """The paper's image experiment: context-free AlexNet, 3 × 3 patches of 128 px, 10-sample perturbed ranks.

    Paper: Table 4, "Perturbed F-Y": mean AUC 0.84 (upper) / 0.82 (lower) with 1000 labels of VOC 2012, partial ranks
           0.14. Gap and jitter are not stated there; ours are those of Noroozi & Favaro 2016, to scale.
    Ours:  not yet run.
    Run:   unshuffle train shuffle_imagenet_perturbed --data imagenet/train --out runs/imagenet
    """
    return ShuffleRecipe(
        source=Images(size=128), patches=Grid(3, 3, gap=6), backbone=AlexNet(), optim=Adam(lr=1e-6), batch_size=32,
        loss=PerturbedFenchelYoung(sigma=0.1, num_samples=10), patch_features=1024, hidden=4096, epochs=1000,
    )  # fmt: skip


def shuffle_imagenet_cfn2016() -> ShuffleRecipe:
    """As ``shuffle_imagenet_perturbed``, with the network and the patches of 2016, of which the paper names the former.

    Images of 255 pixels in cells of 85, patches of 64 placed in them by chance: Noroozi & Favaro's code.
    """
    return replace(
        shuffle_imagenet_perturbed(), source=Images(size=255), patches=Grid(3, 3, gap=21), backbone=CFN2016(),
    )  # fmt: skip


def shuffle_imagenet_resnet() -> ShuffleRecipe:
    """As ``shuffle_imagenet_perturbed``, with a ResNet-18 for small patches in place of AlexNet."""
    return replace(shuffle_imagenet_perturbed(), backbone=ResNet(stem="small"))


def shuffle_notes_perturbed() -> ShuffleRecipe:
    """The demo's second act: ten frequency bands of instrument notes, exact perturbed ranks.

    Paper: Table 1 on NSynth (1000 labels): family accuracy 0.85, pitch MSE 124.6, partial ranks 0.58. Other data: no
           number of ours compares with these.
    Ours:  the table of the README.
    Run:   unshuffle train shuffle_notes_perturbed --out runs/notes
    """
    return ShuffleRecipe(
        source=Packaged("notes"), patches=Bands(10), loss=PerturbedFenchelYoung(sigma=0.1), hidden=1024, dropout=0.2,
        optim=AdamW(lr=4e-4), epochs=25,
    )  # fmt: skip


def shuffle_notes_sampled() -> ShuffleRecipe:
    """As ``shuffle_notes_perturbed``, with the paper's 10 samples in place of the exact expectation."""
    return replace(shuffle_notes_perturbed(), loss=PerturbedFenchelYoung(sigma=0.1, num_samples=10))


def shuffle_notes_soft() -> ShuffleRecipe:
    """As ``shuffle_notes_perturbed``, with fast soft ranking."""
    return replace(shuffle_notes_perturbed(), loss=FastSoftRanking())


def shuffle_notes_mse() -> ShuffleRecipe:
    """As ``shuffle_notes_perturbed``, with the squared error of the scores as ranks."""
    return replace(shuffle_notes_perturbed(), loss=RankMSE())


def shuffle_notes_fixed() -> ShuffleRecipe:
    """As ``shuffle_notes_perturbed``, with 100 fixed permutations as classes.

    Ten epochs at a higher rate: on training data held out for the choice they gave better probes than what suited the
    other losses.
    """
    return replace(shuffle_notes_perturbed(), loss=FixedPermutations(), optim=AdamW(lr=1.5e-3), epochs=10)
