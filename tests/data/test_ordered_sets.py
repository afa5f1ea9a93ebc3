"""Dealing samples into sets of which only the order is told."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from unshuffle.data import Drawing, Jitter, OrderedSets
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
    with pytest.raises(ValueError, match=r"OrderedSets: `size` must be from 1 .*; got 0"):
        OrderedSets(0)


@pytest.mark.errors
def test_a_negative_crop_and_one_of_everything_are_refused():
    with pytest.raises(ValueError, match=r"Jitter: `crop` must be from 0 .*; got -1"):
        Jitter(crop=-1)
    with pytest.raises(ValueError, match="`crop` must leave something of 8 x 9 pixels; got 8"):
        Jitter(crop=8).shape((3, 8, 9))


# ------------------------------------------------------------------------------------------------- drawn level by level


STRATA = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)


def test_stratified_sets_hold_every_value_alike_often():
    """Dealt ones hold them as often as the batch does: 0.80, 0.15 and 0.05."""

    def shares(drawing: Drawing) -> torch.Tensor:
        sets = [OrderedSets(5, drawing)(batch(STRATA), generator(seed)) for seed in range(30)]
        return torch.bincount(STRATA[torch.cat([s.index.flatten() for s in sets]) - 100]) / 3000

    assert (shares(Drawing()) - torch.tensor([0.8, 0.15, 0.05])).abs().max() < 0.01
    # The five of the third kind cannot be in one set twice, and so are used up at times.
    assert (shares(Drawing(stratified=True)) - 1 / 3).abs().max() < 0.06


@given(seed=st.integers(0, 2**31), strict=st.booleans())
def test_drawn_sets_hold_no_sample_twice_and_tell_the_truth(seed, strict):
    labels = torch.randint(6, (40,), generator=generator(seed))

    sets = OrderedSets(4, Drawing(stratified=True, strict=strict))(batch(labels), generator(seed))

    told = labels[sets.index - 100]
    assert sets.index.shape == (10, 4)
    assert all(len(set(row)) == 4 for row in sets.index.tolist())
    assert (sets.items.flatten() + 100).tolist() == sets.index.flatten().tolist()
    assert sets.ranks.tolist() == rankdata(told.numpy(), axis=-1).tolist()
    if strict:
        assert all(len(set(row)) == 4 for row in told.tolist())


def test_strict_sets_draw_every_value_and_every_sample_of_it_alike():
    drawn = torch.cat([OrderedSets(2, Drawing(strict=True))(batch(STRATA), generator(s)).index for s in range(60)])

    counts = torch.bincount(drawn.flatten() - 100, minlength=100)
    totals = torch.stack([counts[value == STRATA].sum() for value in range(3)])
    assert (totals / totals.sum() - 1 / 3).abs().max() < 0.03
    assert counts.min() > 0
    assert counts[STRATA == 2].float().std() < 0.15 * counts[STRATA == 2].float().mean()


def test_broken_ties_are_any_order_that_the_values_allow():
    sets = [
        OrderedSets(4, Drawing(break_ties=True))(batch(torch.tensor([5, 1, 5, 5])), generator(s)) for s in range(60)
    ]

    found = {tuple(s.ranks[0, s.index[0].argsort()].tolist()) for s in sets}
    assert found == {(a, 1, b, c) for a in (2, 3, 4) for b in (2, 3, 4) for c in (2, 3, 4) if len({a, b, c}) == 3}


@pytest.mark.errors
def test_sets_without_ties_need_enough_values():
    with pytest.raises(ValueError, match="sets of 4 without ties need as many values; a batch has 3"):
        OrderedSets(4, Drawing(strict=True))(batch(STRATA), generator())


# --------------------------------------------------------------------------------------------------------------- jitter


def test_a_crop_is_a_part_of_its_picture_and_in_the_middle_where_nothing_is_random():
    pixels = torch.arange(2 * 3 * 6 * 7).reshape(2, 3, 6, 7).float()

    cut = [Jitter(crop=2)(pixels, generator(seed)) for seed in range(80)]

    parts = {(top, left): pixels[..., top : top + 4, left : left + 5] for top in range(3) for left in range(3)}
    seen = {next(place for place, part in parts.items() if part[i].equal(crops[i])) for crops in cut for i in range(2)}
    assert seen == parts.keys()
    assert Jitter(crop=2).middle(pixels).equal(parts[1, 1])
    assert Jitter(crop=2).shape((3, 6, 7)) == (3, 4, 5)


def test_half_of_the_pictures_are_mirrored_each_as_a_whole():
    pixels = torch.arange(200 * 2 * 2 * 3).reshape(200, 2, 2, 3).float()

    turned = Jitter(mirror=True)(pixels, generator())

    mirrored = torch.tensor([new.equal(old.flip(-1)) for new, old in zip(turned, pixels)])
    assert 0.4 < mirrored.float().mean() < 0.6
    assert turned[~mirrored].equal(pixels[~mirrored])
    assert Jitter(mirror=True).middle(pixels).equal(pixels)


def test_each_item_of_a_set_is_changed_by_itself():
    raw = Raw(torch.arange(16 * 16).expand(8, 1, 256).reshape(8, 1, 16, 16).byte(), torch.arange(8), torch.arange(8))
    sets = OrderedSets(8, jitter=Jitter(crop=8))(raw, generator())

    assert sets.items.shape == (1, 8, 1, 8, 8)
    assert len({row[0, 0, 0].item() for row in sets.items[0]}) > 4
    assert OrderedSets(8, jitter=Jitter(crop=8)).prepare(raw.items).shape == (8, 1, 8, 8)
