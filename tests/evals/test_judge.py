"""One encoder beside the raw input and its untrained twin, on the same rows; and fair splits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.data.arrays import Arrays
from unshuffle.data.loaders import Unreadable
from unshuffle.data.patching import Bands
from unshuffle.data.shuffle import Shuffle
from unshuffle.data.spectrogram import LogMel
from unshuffle.evals.embed import raw_features
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.judge import representations, split_rows, spread_items
from unshuffle.nets import ContextFreeNet, SmallConv

# --------------------------------------------------------------------------------------------------------------- splits


@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.floats(0.05, 0.95), st.integers(0, 99))
def test_every_row_is_in_one_part_and_every_class_in_both_with_its_share(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

    train, test = split_rows(labels, test_fraction=fraction, seed=seed)

    assert sorted(train + test) == list(range(len(labels)))
    assert train == sorted(train)
    assert test == sorted(test)
    held = Counter(labels[test].tolist())
    for k, count in enumerate(counts):
        assert 1 <= held[k] <= count - 1
        assert abs(held[k] - fraction * count) <= 1


def test_the_split_depends_on_the_seed_alone():
    labels = np.arange(100) % 4

    first = split_rows(labels, test_fraction=0.2, seed=1)

    assert split_rows(labels.tolist(), test_fraction=0.2, seed=1) == first
    assert split_rows(labels, test_fraction=0.2, seed=2) != first


@pytest.mark.errors
@pytest.mark.parametrize("labels", [[], [3, 3, 3], [0, 0, 1]])
def test_too_few_classes_or_samples_are_told(labels):
    with pytest.raises(ValueError, match="at least two classes with two samples each; got "):
        split_rows(labels, test_fraction=0.2, seed=0)


# ------------------------------------------------------------------------------------------------------ representations


def test_all_representations_have_the_same_rows(encoder, images):
    train, test = Arrays(images[:30], np.arange(30)), Arrays(images[30:], np.arange(10))
    told = []

    both = representations(
        encoder, train, test, batch_size=8, progress=lambda done, total: told.append((done, total))
    )  # fmt: skip

    pairs = both.pairs()
    assert list(pairs) == ["raw", "random", "pretrained"]
    assert {name: (len(a), len(b)) for name, (a, b) in pairs.items()} == dict.fromkeys(pairs, (30, 10))
    assert np.array_equal(pairs["raw"][1], raw_features(images[30:]).numpy())
    assert np.array_equal(
        pairs["pretrained"][0], np.concatenate([encoder.embed(p).numpy() for p in images[:30].split(8)])
    )
    assert pairs["random"][0].shape == pairs["pretrained"][0].shape
    assert not np.allclose(pairs["random"][0], pairs["pretrained"][0])
    assert both.train.labels is not None
    assert both.train.labels.tolist() == list(range(30))
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_random_row_is_the_twin_calibrated_on_training_rows(encoder, images):
    both = representations(encoder, Arrays(images[:30]), Arrays(images[30:]), seed=7)

    twin = encoder.untrained(images[:30], seed=7)
    assert np.array_equal(both.test.vectors["random"], twin.embed(images[30:]).numpy())
    other = representations(encoder, Arrays(images[:30]), Arrays(images[30:]), seed=8)
    assert not np.array_equal(both.test.vectors["random"], other.test.vectors["random"])
    assert np.array_equal(both.test.vectors["pretrained"], other.test.vectors["pretrained"])


def test_a_network_of_ones_own_has_no_untrained_twin(encoder, images):
    encoder.net_value = None

    assert list(representations(encoder, Arrays(images), Arrays(images)).pairs()) == ["raw", "pretrained"]


# ----------------------------------------------------------------------------------------------------------- some items


class Counting(Arrays):
    """Remembers which samples were read; those in ``bad`` cannot be."""

    def __init__(self, size: int, bad: tuple[int, ...] = ()) -> None:
        super().__init__(torch.arange(size).reshape(size, 1, 1, 1))
        self.bad, self.read = bad, []

    def __getitem__(self, index: int):
        self.read.append(index)
        return Unreadable(str(index), "torn") if index in self.bad else super().__getitem__(index)


def test_items_come_from_all_over_the_data_and_no_more_are_read():
    data = Counting(1000)

    items = spread_items(data, 10)

    assert items.flatten().tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert data.read == items.flatten().tolist()


@pytest.mark.parametrize("count", [5, 6, 1024])
def test_of_few_samples_all_are_taken_once(count):
    assert spread_items(Counting(5), count).flatten().tolist() == [0, 1, 2, 3, 4]


def test_unreadable_items_are_left_out():
    assert spread_items(Counting(5, bad=(0, 3)), 5).flatten().tolist() == [1, 2, 4]


@pytest.mark.errors
def test_nothing_readable_is_told():
    with pytest.raises(ValueError, match="not one of 2 samples could be read"):
        spread_items(Counting(2, bad=(0, 1)), 5)


def test_the_raw_input_of_sounds_is_their_spectrogram():
    waves = torch.randn(12, 1, 1, 800, generator=torch.Generator().manual_seed(0))
    front, _ = LogMel(bands=20).settle(4000, (1, 1, 800))
    value = ContextFreeNet(SmallConv(4), 5, (1, 4, front.shape((1, 1, 800))[2] - 2), 5, patch_features=8, hidden=12)
    hearing = Encoder(value.build(), Shuffle(Bands(5, shift=1), front=front), (1, 1, 800), net_value=value)

    both = representations(hearing, Arrays(waves[:8]), Arrays(waves[8:]))

    assert set(both.pairs()) == {"raw", "random", "pretrained"}
    np.testing.assert_allclose(both.test.vectors["raw"], front(waves[8:]).flatten(1).numpy(), atol=1e-6)
