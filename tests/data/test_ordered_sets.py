"""Dealing samples into sets of which only the order is told."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from unshuffle.data import OrderedSets
from unshuffle.types import Raw


def batch(labels: torch.Tensor | None, count: int | None = None) -> Raw:
    """Items that say which they are."""
    count = len(labels) if labels is not None else (count or 0)
    return Raw(torch.arange(count).float().reshape(count, 1, 1, 1), 100 + torch.arange(count), labels)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(size=st.integers(1, 6), count=st.integers(6, 30), values=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_ranks_are_those_of_the_labels_and_ties_share_their_average(size, count, values, seed):
    labels = torch.randint(values, (count,), generator=generator(seed))

    sets = OrderedSets(size)(batch(labels), generator(seed))

    told = labels[sets.index - 100]
    assert sets.ranks.tolist() == rankdata(told.numpy(), axis=-1).tolist()


@given(size=st.integers(1, 6), count=st.integers(6, 30), seed=st.integers(0, 2**31))
def test_every_sample_is_dealt_at_most_once_and_the_few_left_over_sit_out(size, count, seed):
    sets = OrderedSets(size)(batch(torch.arange(count)), generator(seed))

    dealt = sets.index.flatten().tolist()
    assert sets.items.shape == (count // size, size, 1, 1, 1)
    assert len(set(dealt)) == len(dealt) == count // size * size
    assert (sets.items.flatten() + 100).tolist() == dealt  # index belongs to item


def test_everyone_sits_out_in_turn():
    seen = {i for seed in range(50) for i in OrderedSets(5)(batch(torch.arange(9)), generator(seed)).index[0].tolist()}

    assert seen == set(range(100, 109))


def test_the_same_seed_deals_the_same_sets_and_another_deals_others():
    first, again, other = (OrderedSets(5)(batch(torch.arange(40)), generator(s)).index for s in (1, 1, 2))

    assert first.equal(again)
    assert not first.equal(other)


def test_integers_beyond_single_precision_are_still_told_apart():
    """Dates in seconds, a second apart: float32 would tie them."""
    labels = 1_700_000_000 + torch.arange(5)

    ranks = OrderedSets(5)(batch(labels), generator()).ranks

    assert ranks.dtype == torch.float32
    assert ranks[0].sort().values.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "labels", [torch.tensor([0.1, 0.3, 0.2]), torch.tensor([1, 9, 4]), torch.tensor([1.0, 5, 2]).double()]
)
def test_labels_of_any_number_type_give_the_same_order(labels):
    sets = OrderedSets(3)(batch(labels), generator())

    assert sets.ranks[0, (sets.index[0] - 100).argsort()].tolist() == [1, 3, 2]


def test_yes_and_no_are_an_order_too():
    sets = OrderedSets(3)(batch(torch.tensor([True, False, True])), generator())

    assert sets.ranks[0, (sets.index[0] - 100).argsort()].tolist() == [2.5, 1, 2.5]


def test_bytes_become_floats_from_0_to_1_and_floats_stay():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)

    torch.testing.assert_close(OrderedSets().prepare(pixels).flatten(), torch.tensor([0.0, 0.2, 1.0]))
    torch.testing.assert_close(OrderedSets().prepare(pixels.float()), pixels.float())


@pytest.mark.errors
def test_samples_without_labels_are_refused():
    with pytest.raises(
        ValueError, match=r"OrderedSets: the samples carry no label to be ordered by; give \(item, value\)"
    ):
        OrderedSets()(batch(None, 10), generator())


@pytest.mark.errors
def test_a_batch_smaller_than_a_set_is_refused():
    with pytest.raises(ValueError, match="a batch of 4 makes no set of 5; use a larger batch"):
        OrderedSets(5)(batch(torch.arange(4)), generator())


@pytest.mark.errors
def test_a_set_of_nothing_is_refused():
    with pytest.raises(ValueError, match="OrderedSets: `size` must be positive; got 0"):
        OrderedSets(0)
