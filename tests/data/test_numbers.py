"""Sets of numbers are a function of (seed, epoch, index), and their ranks those of scipy."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import rankdata

from unshuffle.data import Numbers, Sorting
from unshuffle.data.loaders import Batches, training_loader
from unshuffle.types import Raw


def read(first: int, last: int, seed: int = 3) -> list[torch.Tensor]:
    """The sets of some steps; an epoch has four."""
    data = Numbers(6, 2.0, 5.0, sets=16).open()
    batches = Batches(len(data), batch_size=4, seed=seed, first=first, last=last)
    return [loaded.raw.items for loaded in training_loader(data, batches)]


def test_sets_are_a_function_of_seed_and_step():
    whole = read(0, 8)

    assert all(a.equal(b) for a, b in zip(whole[5:], read(5, 8)))
    assert not whole[0].equal(read(0, 1, seed=4)[0])


def test_every_epoch_has_other_sets():
    sets = {tuple(one.flatten().tolist()) for batch in read(0, 8) for one in batch}

    assert len(sets) == 32


def test_numbers_are_uniform_between_the_bounds():
    drawn = Numbers(100, -3.0, 1.0).draw(500, generator=torch.Generator().manual_seed(0)).flatten()

    assert drawn.dtype == torch.float64
    assert drawn.min() > -3
    assert drawn.max() < 1
    counts = drawn.histc(8, -3, 1)
    assert (counts - 6250).abs().max() < 6 * (6250 * 7 / 8) ** 0.5


def test_the_transform_ranks_every_set():
    items = torch.tensor([[0.3, 0.1, 0.3, 0.2], [4.0, 3.0, 2.0, 1.0]]).reshape(2, 1, 1, 4)

    batch = Sorting()(Raw(items, torch.arange(2)), torch.Generator())

    assert batch.patches.shape == (2, 4, 1)
    assert batch.ranks.tolist() == [rankdata(row).tolist() for row in items.flatten(1)]
    assert Sorting().prepare(items.double()).dtype == torch.float64


@pytest.mark.errors
def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"`size` must be from 2 .*; got 1"):
        Numbers(1)
    with pytest.raises(ValueError, match="`low` must be below `high`; got 1"):
        Numbers(low=1.0)
