"""Recipes of Shuffle to Learn."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from unshuffle.data.image import Images
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.samples import Packaged
from unshuffle.data.shuffle import Shuffle
from unshuffle.losses import FastSoftRanking, FixedPermutations, PerturbedFenchelYoung, RankMSE
from unshuffle.methods.shuffle import ShuffleToLearn
from unshuffle.nets import AlexNet, ContextFreeNet, SmallConv
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ShuffleRecipe:
    """Everything that decides what Shuffle to Learn learns."""

    source: Images | Packaged = Images()
    """Where samples come from."""
    patches: Grid | Bands = Grid()
    """How samples are cut."""
    backbone: SmallConv | AlexNet = SmallConv()
    """What sees one patch."""
    loss: PerturbedFenchelYoung | FastSoftRanking | RankMSE | FixedPermutations = PerturbedFenchelYoung()
    """What the scores mean and cost."""
    patch_features: int = 128
    """Features of one patch, before the patches are joined."""
    hidden: int = 512
    """Units of the first aggregate layer: the length of an embedding."""
    dropout: float = 0.5
    """Between the aggregate layers, in training."""
    optim: AdamW | Adam = AdamW()
    """How the weights move."""
    batch_size: int = 64
    """Samples in a step, over all processes."""
    epochs: int = 100
    """Passes over the data."""
    holdout: float = 0.05
    """Share of the samples kept out of training, to see whether the reordering generalises."""
    seed: int = 0
    """Of everything."""

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for samples of this shape; ``net`` is a backbone of one's own."""
        n, shape = self.patches.count, self.patches.patch_shape(item_shape)
        value = ContextFreeNet(
            self.backbone, n, shape, self.loss.outputs(n), self.patch_features, self.hidden, self.dropout
        )
        scorer = value.build(net)
        choices = self.loss.choices if isinstance(self.loss, FixedPermutations) else None
        return Plan(ShuffleToLearn(scorer, self.loss), Shuffle(self.patches, choices), scorer, value, self.loss)


def shuffle() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of images: our settings, for a quick start on any hardware.

    Run:   unshuffle train shuffle --data photos/ --out runs/a
    """
    return ShuffleRecipe()


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
