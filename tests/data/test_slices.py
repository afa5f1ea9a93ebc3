"""Cutting along any axis: where every entry goes, how many slices are chosen, and units that do not matter."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle import permutations
from unshuffle.data import Shuffle, Slices
from unshuffle.data.slices import scale_channels
from unshuffle.types import Raw

SHAPES = [(12,), (3, 12), (3, 1, 12), (2, 12, 5), (12, 3, 4, 5), (2, 12, 3, 4, 12)]


def plain(axis: str = "time", number: int | None = None, **options) -> Slices:
    return Slices(axis, number, jitter=False, normalize=False, **options)


def counted(*shape: int) -> torch.Tensor:
    """Arrays of which no two entries are equal."""
    return torch.arange(torch.Size(shape).numel()).float().reshape(shape)


def places(size: int, batch: int = 1) -> torch.Tensor:
    """Series (batch, 1, size) of which every entry says where it is."""
    return torch.arange(size).float().expand(batch, 1, size)


# ------------------------------------------------------------------------------------------------------ cut and join


@given(shape=st.sampled_from(SHAPES), number=st.sampled_from([2, 3, 4, 6]), data=st.data())
def test_joining_what_was_cut_restores_the_array_along_any_axis(shape, number, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1).filter(lambda a: shape[a] == 12))
    items = counted(2, *shape)
    slices = plain(str(axis), number)

    patches = slices.cut(items)

    assert patches.shape == (2, number, *slices.patch_shape(shape))
    assert slices.join(patches).equal(items)


@given(size=st.integers(4, 40), number=st.integers(2, 4))
def test_joining_what_was_padded_restores_the_array_between_the_padding(size, number):
    items = counted(2, 3, size)
    slices = plain("time", number, remainder="pad")

    joined = slices.join(slices.cut(items))

    extra = joined.shape[-1] - size
    assert 0 <= extra < number
    before = (extra + 1) // 2
    assert joined[..., before : before + size].equal(items)
    assert (joined[..., :before] == items[..., :1]).all()
    assert (joined[..., before + size :] == items[..., -1:]).all()


@given(size=st.integers(4, 40), number=st.integers(2, 4))
def test_what_does_not_divide_is_cropped_off_evenly_at_both_ends(size, number):
    joined = plain("time", number).join(plain("time", number).cut(places(size)))

    left, right = int(joined[0, 0, 0]), size - 1 - int(joined[0, 0, -1])
    assert left + right == size % number
    assert right - left in (0, 1)
    assert joined.flatten().diff().eq(1).all()


def test_slices_lie_in_their_order_along_the_axis():
    """Worked by hand: six moments of two channels, in three slices."""
    items = torch.tensor([[[1.0, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]]])

    patches = plain("time", 3).cut(items)

    assert patches.tolist() == [[[[1, 2], [10, 20]], [[3, 4], [30, 40]], [[5, 6], [50, 60]]]]


def test_slot_i_holds_original_slice_perm_i_and_its_rank_is_perm_i_plus_one(monkeypatch, rng):
    """Worked by hand: moments 10 20 | 30 40 | 50 60, drawn order 2 0 1."""
    monkeypatch.setattr(Shuffle, "draw", lambda self, batch, generator: torch.tensor([[2, 0, 1]]))
    items = torch.tensor([10.0, 20, 30, 40, 50, 60]).reshape(1, 1, 6)

    shuffled = Shuffle(plain("time", 3))(Raw(items, torch.arange(1)), rng)

    assert shuffled.patches.flatten().tolist() == [50, 60, 10, 20, 30, 40]
    assert shuffled.ranks.tolist() == [[3, 1, 2]]
    order = permutations.invert(shuffled.ranks.long() - 1)
    assert permutations.apply(shuffled.patches, order).flatten().tolist() == items.flatten().tolist()


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((12,), "time", (6,)),
        ((4, 12), "time", (4, 6)),
        ((4, 12), "channels", (2, 12)),
        ((4, 1, 12), "time", (4, 1, 6)),
        ((4, 1, 12), "channels", (2, 1, 12)),
        ((4, 8, 12), "1", (4, 4, 12)),
        ((4, 8, 12), "-2", (4, 4, 12)),
        ((8, 4, 6, 6), "time", (4, 4, 6, 6)),  # a clip: its frames
        ((8, 4, 6, 6), "channels", (8, 2, 6, 6)),
        ((8, 4, 6, 6), "3", (8, 4, 6, 3)),
    ],
)
def test_an_axis_has_a_name_or_a_number(shape, axis, expected):
    assert Slices(axis, 2).patch_shape(shape) == expected
    assert Slices(axis, 2).cut(counted(3, *shape)).shape == (3, 2, *expected)


# ------------------------------------------------------------------------------------------------- how many are chosen


@pytest.mark.parametrize(
    ("shape", "axis", "number"),
    [
        ((20, 3, 64, 64), "time", 20),  # every frame of a clip
        ((8, 3, 64, 64), "time", 8),
        ((40, 3, 64, 64), "time", 10),  # more than 20: four frames a slice
        ((6, 1, 100), "channels", 6),  # every channel
        ((64, 1, 100), "channels", 8),
        ((1, 1, 100), "time", 10),
        ((1, 1, 128), "time", 8),  # what divides evenly, nearest to 10
        ((1, 1, 187), "time", 11),
        ((1, 1, 97), "time", 10),  # a prime: ten, and a remainder
        ((1, 1, 18), "time", 9),
        ((8, 1, 8), "time", 4),  # two entries a slice at least
        ((1, 1, 5), "time", 2),
        ((30,), "time", 10),
    ],
)
def test_the_number_is_chosen_from_the_size(shape, axis, number):
    settled = Slices(axis).settle(shape)

    assert settled.count == number
    settled.patch_shape(shape)  # it can be cut so
    assert settled.settle((999,) * len(shape)) == settled


@given(size=st.integers(4, 5000))
def test_any_axis_of_four_entries_can_be_cut_into_the_chosen_number(size):
    settled = Slices().settle((1, 1, size))

    assert 2 <= settled.count <= 20
    assert settled.patch_shape((1, 1, size))[-1] >= 2


# ----------------------------------------------------------------------------------------------------- jitter and gap


def test_without_a_generator_a_slice_is_in_the_middle_of_its_cell():
    patches = Slices("time", 3, gap=2, normalize=False).cut(places(15))

    assert patches[0, :, 0].tolist() == [[1, 2, 3], [6, 7, 8], [11, 12, 13]]


def test_with_jitter_every_slice_lies_in_its_cell_at_any_offset_from_none_to_the_gap(rng):
    patches = Slices("time", 3, gap=2, normalize=False).cut(places(15, 300), rng)

    first = patches[:, :, 0, 0] - torch.tensor([0, 5, 10])
    assert [first[:, k].unique().tolist() for k in range(3)] == [[0, 1, 2]] * 3
    assert patches.diff(dim=-1).eq(1).all()
    assert torch.corrcoef(first.T).triu(1).abs().max() < 0.2  # drawn independently


def test_without_jitter_a_generator_changes_nothing(rng):
    slices, items = Slices("time", 3, gap=2, jitter=False), counted(2, 2, 15)

    assert slices.cut(items, rng).equal(slices.cut(items))


# ------------------------------------------------------------------------------------------------------ normalisation


def wild(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(60,), (3, 60), (3, 1, 60), (3, 6, 60), (6, 3, 8, 8)])
def test_normalised_slices_have_mean_zero_and_a_deviation_below_one(shape):
    cut = Slices("time", 6).cut(wild(4, *shape)).flatten(2)

    assert cut.mean(-1).abs().max() < 1e-5
    deviation = cut.std(-1, correction=0)
    assert deviation.max() < 1
    assert deviation.min() > 0.6


@pytest.mark.parametrize(("scale", "offset"), [(1e-13, 0.0), (1e6, 0.0), (1.0, 1e4), (1e-6, 3e-3)])
def test_the_unit_of_a_series_does_not_matter(scale, offset):
    """Volts, microvolts, femtotesla; and a large offset."""
    slices, items = Slices("time", 6), wild(4, 3, 60)

    torch.testing.assert_close(slices.cut(scale * items + offset), slices.cut(items), rtol=0.02, atol=0.02)


def test_channels_of_different_units_weigh_the_same():
    items = wild(4, 2, 600) * torch.tensor([[1e-6], [1e6]])

    cut = Slices("time", 6).cut(items)

    deviation = cut.std((0, 1, 3))
    torch.testing.assert_close(deviation[0], deviation[1], rtol=0.1, atol=0)


def test_the_level_of_a_slice_tells_nothing():
    """A drift that lifts every slice as a whole leaves no trace but in the scale."""
    drawing = wild(1, 1, 20).repeat(1, 1, 3)
    drift = torch.tensor([0.0, 5.0, -3.0]).repeat_interleave(20)

    first, second, third = Slices("time", 3).cut(drawing + drift)[0]

    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    torch.testing.assert_close(first, third, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.7, -12345.678])
def test_constant_items_become_zero_without_noise_or_nan(value):
    assert scale_channels(torch.full((2, 3, 1, 50), value)).abs().max() < 0.15
    assert Slices("time", 5).cut(torch.full((2, 3, 1, 50), value)).abs().max() < 1


def test_a_slice_that_hardly_varies_beside_the_others_stays_faint():
    items = wild(1, 1, 100)
    items[..., 20:40] *= 1e-3

    cut = Slices("time", 5).cut(items)

    assert cut[0, 1].std() < 0.02
    assert cut[0, [0, 2, 3, 4]].std() > 0.8


def test_bytes_and_floats_from_0_to_1_agree():
    items = torch.randint(256, (2, 6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    torch.testing.assert_close(Slices().settle((6, 3, 8, 8)).cut(items.float() / 255), Slices("time", 6).cut(items))


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Slices("width"), "Slices: `axis` must be time, channels or the number of an axis; got 'width'"),
        (lambda: Slices("time", 1), "Slices: `number` must be from 2 .*; got 1"),
        (lambda: Slices(gap=-1), "Slices: `gap` must be from 0 .*; got -1"),
        (lambda: Slices(remainder="drop"), "Slices: `remainder` must be one of 'crop', 'pad'; got 'drop'"),
        (lambda: Slices().count, "`number` is yet to be chosen; call `settle`"),
        (lambda: Slices("3", 2).cut(counted(1, 2, 6)), "must be an axis of items with 2, from 0 to 1; got 3"),
        (lambda: Slices("time", 10).cut(counted(1, 1, 6)), r"has 6 entries, too few for 10 slices .* at least 10"),
        (lambda: Slices("time", 3, gap=2).cut(counted(1, 1, 8)), r"too few for 3 slices with a gap of 2.* at least 9"),
        (lambda: Slices("time", 6).cut(counted(1, 1, 6)), "hold one value each, and nothing once they are normalised"),
        (lambda: Slices().settle((5, 1, 1)), r"axis 2 of items \(5, 1, 1\) is too short to be cut; name another"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_what_to_do(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.errors
def test_the_sizes_that_the_errors_name_do():
    Slices("time", 10, normalize=False).cut(counted(1, 1, 10))
    Slices("time", 3, gap=2).cut(counted(1, 2, 9))
