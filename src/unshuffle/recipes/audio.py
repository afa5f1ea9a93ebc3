"""Recipes of Shuffle to Learn for sounds: frequency bands, time frames and time-frequency patches of spectrograms."""

from __future__ import annotations

from dataclasses import replace

from unshuffle.data.audio import Sounds
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.slices import Slices
from unshuffle.data.spectrogram import LogLinear, LogMel
from unshuffle.losses import FastSoftRanking, FixedPermutations, PerturbedFenchelYoung, RankMSE
from unshuffle.nets import AlexNet
from unshuffle.recipes.shuffle import ShuffleRecipe
from unshuffle.train.optim import Adam, AdamW


def shuffle_audio() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of sounds: ten frequency bands of log-mel spectrograms, our settings.

    Run:   unshuffle train shuffle-audio --data sounds/ --out runs/a
    """
    return ShuffleRecipe(
        source=Sounds(), front=LogMel(), patches=Bands(10), hidden=1024, dropout=0.2, optim=AdamW(lr=4e-4), epochs=25
    )


def shuffle_audio_time() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of sounds: ten stretches of time of log-mel spectrograms.

    Run:   unshuffle train shuffle-audio-time --data sounds/ --out runs/a
    """
    return replace(shuffle_audio(), patches=Slices(axis="time", number=10, gap=1))


def shuffle_audio_grid() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of sounds: 3 x 3 time-frequency patches of log-mel spectrograms.

    Run:   unshuffle train shuffle-audio-grid --data sounds/ --out runs/a
    """
    return replace(shuffle_audio(), patches=Grid(3, 3, gap=2))


def shuffle_audio_linear() -> ShuffleRecipe:
    """Shuffle to Learn on a folder of sounds: ten frequency bands of spectrograms that are linear in frequency.

    Run:   unshuffle train shuffle-audio-linear --data sounds/ --out runs/a
    """
    return replace(shuffle_audio(), front=LogLinear(lowest=0.0))


def shuffle_nsynth_perturbed() -> ShuffleRecipe:
    """The paper's audio experiment: context-free AlexNet, ten frequency bands of NSynth, 10-sample perturbed ranks.

    The paper does not state its spectrograms; 320 mel bands, so that a tenth of them is enough for AlexNet, every 32 ms
    are ours.

    Paper: Table 1, "Perturbed F-Y", 1000 labels, three-layer probe: family accuracy 0.85, instrument 0.76, pitch MSE
           124.6, partial ranks 0.58.
    Ours:  not yet run.
    Run:   unshuffle train shuffle_nsynth_perturbed --data nsynth/ --dataset nsynth --out runs/nsynth
    """
    return ShuffleRecipe(
        source=Sounds(rate=16_000, seconds=4.0), front=LogMel(bands=320, window=0.128, hop=0.032), patches=Bands(10),
        backbone=AlexNet(), optim=Adam(lr=1e-6), batch_size=32, patch_features=1024, hidden=4096, epochs=1000,
        loss=PerturbedFenchelYoung(sigma=0.1, num_samples=10),
    )  # fmt: skip


def shuffle_nsynth_soft() -> ShuffleRecipe:
    """As ``shuffle_nsynth_perturbed``, with fast soft ranking (paper: family 0.84, pitch 133.85, ranks 0.57)."""
    return replace(shuffle_nsynth_perturbed(), loss=FastSoftRanking())


def shuffle_nsynth_mse() -> ShuffleRecipe:
    """As ``shuffle_nsynth_perturbed``, with squared errors of ranks (paper: family 0.79, pitch 156.08, ranks 0.51)."""
    return replace(shuffle_nsynth_perturbed(), loss=RankMSE())


def shuffle_nsynth_fixed() -> ShuffleRecipe:
    """As ``shuffle_nsynth_perturbed``, with 100 fixed permutations as classes (paper: family 0.75, pitch 144.48)."""
    return replace(shuffle_nsynth_perturbed(), loss=FixedPermutations())


def shuffle_nsynth_time() -> ShuffleRecipe:
    """As ``shuffle_nsynth_perturbed``, with stretches of time (paper, Table 2: family 0.79, pitch 206.11).

    The paper does not state their number; five of 24 frames, which AlexNet needs, are ours.
    """
    return replace(shuffle_nsynth_perturbed(), patches=Slices(axis="time", number=5, gap=1))


def shuffle_nsynth_grid() -> ShuffleRecipe:
    """As ``shuffle_nsynth_perturbed``, with time-frequency patches (paper, Table 2: family 0.73, pitch 137.81).

    The paper does not state their number; 3 x 3 is ours.
    """
    return replace(shuffle_nsynth_perturbed(), patches=Grid(3, 3, gap=4))
