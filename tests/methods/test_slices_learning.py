"""The learning tests of clips and series: frames and stretches are put in order, in seconds; and the tests can fail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from moving import moving_square, write_clip
from unshuffle import permutations
from unshuffle.data import Clips, Series, Shuffle, Slices
from unshuffle.losses import PerturbedFenchelYoung
from unshuffle.methods import ShuffleToLearn
from unshuffle.nets import ContextFreeNet, SmallConv
from unshuffle.types import Raw

pytestmark = pytest.mark.once


class Learnt(NamedTuple):
    partial_ranks: float
    kendall: float


def learn(items: Tensor, *, seed: int, steps: int, truthful: bool = True) -> Learnt:
    """Trains a small network on slices along time of three quarters of the items, and has it reorder the others.

    Where not ``truthful``, the ranks of the samples of a batch are dealt to one another: the same inputs and the same
    targets, with nothing to learn.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    known, asked = items.split([len(items) * 3 // 4, len(items) // 4])
    shape = tuple(items.shape[1:])
    slices = Slices().settle(shape)
    transform, objective = Shuffle(slices), PerturbedFenchelYoung()
    net = ContextFreeNet(
        SmallConv(4), slices.count, slices.patch_shape(shape), objective.outputs(slices.count), 32, 64
    ).build()
    method = ShuffleToLearn(net, objective)
    optimizer = torch.optim.AdamW(method.parameters(), lr=5e-3)
    for _ in range(steps):
        rows = torch.randint(len(known), (32,), generator=generator)
        shuffled = transform(Raw(known[rows], rows), generator)
        if not truthful:
            shuffled = shuffled._replace(ranks=shuffled.ranks[torch.randperm(32, generator=generator)])
        loss = method.step(shuffled).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.eval()
    with torch.no_grad():
        puzzles = transform(Raw(asked, torch.arange(len(asked))), generator)
        predicted = method.order(puzzles.patches)
    return Learnt(
        permutations.partial_ranks(predicted, puzzles.ranks).mean().item(),
        permutations.kendall_tau(predicted, puzzles.ranks).mean().item(),
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Tensor:
    """128 clips of 8 frames, encoded and decoded: a square crosses a field of noise, from left to right."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for k in range(128):
        write_clip(folder / f"{k:03}.mp4", moving_square(16, side=24, row=int(rng.integers(0, 14)), seed=k))
    data = Clips(frames=8, size=16).open(folder)
    return torch.stack([data[k][0] for k in range(len(data))])


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Tensor:
    """256 series of two channels, some microvolts each: a swinging that fades, and another that rises, in any phase."""
    rng = np.random.default_rng(0)
    phase, time = rng.uniform(0, 2 * np.pi, (256, 2, 1)), np.linspace(0, 1, 80)
    fade = np.stack([1.2 - time, 0.2 + time])
    values = 1e-5 * fade * np.sin(2 * np.pi * 12 * time + phase) + rng.normal(0, 5e-7, (256, 2, 80))
    path = tmp_path_factory.mktemp("series") / "swings.npz"
    np.savez(path, x=values)
    data = Series().open(path)
    return torch.stack([data[k][0] for k in range(len(data))])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_frames_of_unseen_clips_are_put_in_order(clips, seed):
    """60 steps. Chance: 1/8 and 0. Measured over three seeds: 0.96 to 0.98, and 0.99."""
    learnt = learn(clips, seed=seed, steps=60)

    assert learnt.partial_ranks > 0.5
    assert learnt.kendall > 0.8


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stretches_of_unseen_series_are_put_in_order(series, seed):
    """100 steps. Chance: 1/10 and 0. Measured over three seeds: 0.65 to 0.73, and 0.90 to 0.93."""
    learnt = learn(series, seed=seed, steps=100)

    assert learnt.partial_ranks > 0.35
    assert learnt.kendall > 0.7


@pytest.mark.parametrize("kind", ["clips", "series"])
def test_the_same_steps_on_ranks_of_other_samples_stay_at_chance(kind, request):
    """Guesses at 32 clips have partial ranks 0.125 with a deviation of 0.02, and tau 0 with 0.05; at series less."""
    items = request.getfixturevalue(kind)
    learnt = learn(items, seed=0, steps=60, truthful=False)

    assert learnt.partial_ranks < 0.22
    assert abs(learnt.kendall) < 0.2
