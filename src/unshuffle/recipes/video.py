"""Recipes of Shuffle to Learn for clips: frames, permuted along time."""

from __future__ import annotations

from dataclasses import replace

from unshuffle.data.slices import Slices
from unshuffle.data.video import Clips
from unshuffle.losses import FastSoftRanking, FixedPermutations, PerturbedFenchelYoung, RankMSE
from unshuffle.nets import AlexNet, SmallConv
from unshuffle.recipes.shuffle import ShuffleRecipe
from unshuffle.train.optim import Adam, AdamW


def shuffle_video() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of clips: up to 20 frames of each, at a size that a processor can train on.

    Run:   unshuffle train shuffle-video --data clips/ --out runs/a
    """
    return ShuffleRecipe(
        source=Clips(frames=None), patches=Slices("time"), backbone=SmallConv(width=16), patch_features=64,
        dropout=0.2, optim=AdamW(lr=3e-3), batch_size=32, epochs=40,
    )  # fmt: skip


def shuffle_ssv2_perturbed() -> ShuffleRecipe:
    """The paper's video experiment: context-free AlexNet, 20 frames of Something-Something v2, 10 perturbed samples.

    The paper takes 3,000 videos and does not state the frames' size; 128 pixels, those of its images, are ours.

    Paper: Table 3, "Perturbed F-Y", three-layer probe: label accuracy 0.19 of 174, partial ranks 0.27.
    Ours:  not yet run.
    Run:   unshuffle train shuffle_ssv2_perturbed --data ssv2/ --dataset ssv2 --out runs/ssv2
    """
    return ShuffleRecipe(
        source=Clips(frames=20, size=128), patches=Slices("time"), backbone=AlexNet(), optim=Adam(lr=1e-6),
        batch_size=32, patch_features=1024, hidden=4096, epochs=1000,
        loss=PerturbedFenchelYoung(sigma=0.1, num_samples=10),
    )  # fmt: skip


def shuffle_ssv2_soft() -> ShuffleRecipe:
    """As ``shuffle_ssv2_perturbed``, with fast soft ranking (paper: label 0.21, partial ranks 0.29)."""
    return replace(shuffle_ssv2_perturbed(), loss=FastSoftRanking())


def shuffle_ssv2_mse() -> ShuffleRecipe:
    """As ``shuffle_ssv2_perturbed``, with squared errors of ranks (paper: label 0.12, partial ranks 0.17)."""
    return replace(shuffle_ssv2_perturbed(), loss=RankMSE())


def shuffle_ssv2_fixed() -> ShuffleRecipe:
    """As ``shuffle_ssv2_perturbed``, with 100 fixed permutations as classes (paper: label 0.13)."""
    return replace(shuffle_ssv2_perturbed(), loss=FixedPermutations())
