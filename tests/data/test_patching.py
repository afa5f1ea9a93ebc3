"""Cutting and shuffling: where every pixel goes, and what stays hidden from a network that looks for shortcuts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle import permutations
from unshuffle.data import Bands, Grid, Shuffle
from unshuffle.data.patching import standardize
from unshuffle.permutations import SpreadOut
from unshuffle.types import Raw

plain_grid = {"gap": 0, "jitter": False, "normalize": False}
few, sizes = st.integers(1, 4), st.integers(1, 5)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random uint8 pixels."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def coordinates(batch: int, height: int, width: int) -> torch.Tensor:
    """Pictures of which every pixel says where it is: channel 0 its row, channel 1 its column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns]).float().expand(batch, 2, height, width)


def raw(items: torch.Tensor) -> Raw:
    return Raw(items, torch.arange(len(items)))


# ------------------------------------------------------------------------------------------------------ cut and join


@given(rows=few, columns=few, channels=st.integers(1, 3), h=sizes, w=sizes)
def test_joining_what_a_grid_cut_restores_the_picture(rows, columns, channels, h, w):
    items = noise(2, channels, rows * h, columns * w).float()
    grid = Grid(rows, columns, **plain_grid)

    patches = grid.cut(items)

    assert patches.shape == (2, grid.count, *grid.patch_shape((channels, rows * h, columns * w)))
    torch.testing.assert_close(grid.join(patches), items)


@given(number=few, channels=st.integers(1, 2), h=sizes, w=sizes)
def test_joining_what_bands_cut_restores_the_spectrogram(number, channels, h, w):
    items = noise(2, channels, number * h, w).float()
    bands = Bands(number, shift=0, normalize=False)

    torch.testing.assert_close(bands.join(bands.cut(items)), items)


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width", "top", "left"),
    [(2, 2, 8, 10, 0, 0), (3, 2, 8, 9, 1, 0), (3, 3, 11, 10, 1, 0)],
)
def test_what_does_not_divide_is_left_out_evenly_at_both_ends(rows, columns, height, width, top, left):
    items = noise(1, 1, height, width).float()
    grid = Grid(rows, columns, **plain_grid)
    h, w = height // rows * rows, width // columns * columns

    torch.testing.assert_close(grid.join(grid.cut(items)), items[..., top : top + h, left : left + w])


def test_bands_too_leave_the_remainder_out_at_both_ends():
    items = noise(1, 1, 12, 4).float()
    bands = Bands(5, shift=0, normalize=False)

    torch.testing.assert_close(bands.join(bands.cut(items)), items[..., 1:11, :])


def test_patches_are_counted_from_left_to_right_and_top_to_bottom():
    items = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 1, 2, 3)

    assert Grid(2, 3, **plain_grid).cut(items).flatten().tolist() == [1, 2, 3, 4, 5, 6]


# ------------------------------------------------------------------------------------------------------------- labels


def test_slot_i_holds_original_patch_perm_i_and_its_rank_is_perm_i_plus_one(monkeypatch, rng):
    """Worked by hand: three pixels 10 20 30, drawn order 2 0 1."""
    monkeypatch.setattr(Shuffle, "draw", lambda self, batch, generator: torch.tensor([[2, 0, 1]]))
    items = torch.tensor([10.0, 20.0, 30.0]).reshape(1, 1, 1, 3)

    shuffled = Shuffle(Grid(1, 3, **plain_grid))(raw(items), rng)

    assert shuffled.patches.flatten().tolist() == [30, 10, 20]
    assert shuffled.ranks.tolist() == [[3, 1, 2]]


@given(seed=st.integers(0, 2**31), rows=few, columns=few)
def test_ranks_say_where_the_content_of_each_slot_belongs(seed, rows, columns):
    items = torch.arange(rows * columns).float().reshape(1, 1, rows, columns).expand(5, -1, -1, -1)

    shuffled = Shuffle(Grid(rows, columns, **plain_grid))(raw(items), torch.Generator().manual_seed(seed))

    torch.testing.assert_close(shuffled.ranks, shuffled.patches.flatten(1) + 1)


def test_undoing_the_permutation_restores_the_sample(rng):
    items = noise(6, 3, 12, 12)
    transform = Shuffle(Grid(3, 3, gap=0, jitter=False))

    shuffled = transform(raw(items), rng)

    order = permutations.invert(shuffled.ranks.long() - 1)
    torch.testing.assert_close(permutations.apply(shuffled.patches, order), transform.prepare(items))


def test_samples_keep_their_place_in_the_data_set(rng):
    index = torch.tensor([7, 3, 11])

    assert Shuffle(Grid(2, 2))(Raw(noise(3, 1, 12, 12), index), rng).index.equal(index)


def test_every_sample_of_a_batch_has_a_permutation_of_its_own(rng):
    assert len(Shuffle(Grid(3, 3)).draw(64, rng).unique(dim=0)) == 64


# -------------------------------------------------------------------------------------------------------------- crops


def corners(patches: torch.Tensor) -> torch.Tensor:
    """(B, n, 2): row and column of the first pixel of each patch of :func:`coordinates`."""
    return patches[..., 0, 0]


def test_without_a_generator_a_crop_is_in_the_middle_of_its_cell():
    patches = Grid(2, 2, gap=4, normalize=False).cut(coordinates(1, 20, 24))

    assert patches.shape[-2:] == (6, 8)
    assert corners(patches)[0].tolist() == [[2, 2], [2, 14], [12, 2], [12, 14]]


def test_without_jitter_a_generator_changes_nothing(rng):
    grid, items = Grid(3, 3, jitter=False), noise(4, 3, 30, 30)

    torch.testing.assert_close(grid.cut(items, rng), grid.cut(items))


def test_with_jitter_every_crop_lies_in_its_cell_at_any_offset_from_none_to_the_gap(rng):
    grid = Grid(2, 3, gap=3, normalize=False)
    patches = grid.cut(coordinates(400, 16, 24), rng)  # cells of 8 x 8, crops of 5 x 5

    cells = torch.tensor([[r, c] for r in (0, 8) for c in (0, 8, 16)])
    offsets = corners(patches) - cells

    for place in range(grid.count):
        for axis in (0, 1):
            assert offsets[:, place, axis].unique().tolist() == [0, 1, 2, 3]
    # Whole crops: each runs on from its corner, pixel by pixel.
    expected = corners(patches)[..., None, None] + coordinates(1, 5, 5)
    torch.testing.assert_close(patches, expected)


def test_patches_of_one_sample_move_independently(rng):
    offsets = corners(Grid(2, 2, gap=3, normalize=False).cut(coordinates(400, 16, 16), rng)) % 8

    flat = offsets.flatten(1).float()
    correlation = torch.corrcoef(flat.T) - torch.eye(flat.shape[1])
    assert correlation.abs().max() < 0.2  # four deviations of 400 draws


def test_all_bands_of_a_sample_shift_together_by_any_amount(rng):
    bands = Bands(4, shift=2, normalize=False)
    patches = bands.cut(coordinates(200, 8, 12), rng)

    first = corners(patches)
    assert patches.shape[-2:] == (2, 8)
    assert (first[..., 1] == first[:, :1, 1]).all()
    assert first[:, 0, 1].unique().tolist() == [0, 1, 2, 3, 4]
    assert (first[..., 0] == torch.tensor([0.0, 2.0, 4.0, 6.0])).all()  # never in frequency


def test_without_a_generator_bands_are_not_shifted():
    assert corners(Bands(4, shift=2, normalize=False).cut(coordinates(1, 8, 12)))[0, :, 1].tolist() == [2] * 4


# ------------------------------------------------------------------------------------------------------ normalisation


@pytest.mark.parametrize("patches", [Grid(3, 3), Bands(5)])
def test_normalised_patches_have_mean_zero_and_deviation_of_at_most_one(patches):
    cut = patches.cut(noise(4, 2, 30, 40))

    assert cut.mean((-2, -1)).abs().max() < 1e-5
    deviation = cut.std((-2, -1), correction=0)
    assert deviation.max() <= 1
    assert deviation.min() > 0.5  # of pixels that vary over the whole range


def test_flat_patches_stay_zero_and_faint_noise_stays_faint():
    flat = torch.full((1, 1, 1, 8, 8), 0.7)
    faint = flat + 0.001 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))

    assert standardize(flat).abs().max() < 1e-5
    assert standardize(faint).std() < 0.02


def test_brightness_does_not_tell_the_place_and_contrast_hardly():
    """One drawing three times: as it is, lifted, and at half its contrast."""
    drawing = noise(1, 1, 8, 8).float() / 255
    items = torch.cat([drawing, drawing + 0.3, 0.5 * drawing], -1)

    plain, lifted, faint = Grid(1, 3, gap=0).cut(items)[0]

    torch.testing.assert_close(lifted, plain)
    assert faint.std() > 0.75 * plain.std()


def test_normalisation_comes_after_the_crop_so_the_gap_tells_nothing():
    items = noise(1, 1, 16, 16)
    painted = items.clone()
    inside = torch.zeros(16, 16, dtype=torch.bool)
    for row in (0, 8):
        for column in (0, 8):
            inside[row + 2 : row + 6, column + 2 : column + 6] = True
    painted[..., ~inside] = 255

    grid = Grid(2, 2, gap=4)

    assert not painted.equal(items)
    assert grid.cut(painted).equal(grid.cut(items))


# ------------------------------------------------------------------------------------------------ draws, types, errors


@pytest.mark.parametrize("patches", [Grid(3, 3), Bands(5)])
@pytest.mark.parametrize("choices", [None, SpreadOut(20)])
def test_the_same_seed_gives_the_same_draws_and_another_gives_others(patches, choices):
    transform, items = Shuffle(patches, choices), noise(8, 1, 30, 30)

    first, again, other = (transform(raw(items), torch.Generator().manual_seed(s)) for s in (1, 1, 2))

    assert first.patches.equal(again.patches)
    assert first.ranks.equal(again.ranks)
    assert not first.ranks.equal(other.ranks)


@pytest.mark.parametrize("patches", [Grid(3, 3), Bands(5), Grid(2, 2, normalize=False)])
def test_bytes_and_floats_from_0_to_1_agree(patches):
    items = noise(2, 3, 30, 30)

    torch.testing.assert_close(patches.cut(items.float() / 255), patches.cut(items))
    torch.testing.assert_close(patches.cut(items.double() / 255), patches.cut(items))


def test_what_an_encoder_sees_is_unshuffled_and_without_chance():
    transform, items = Shuffle(Grid(3, 3)), noise(2, 3, 30, 30)

    torch.testing.assert_close(transform.prepare(items), Grid(3, 3, jitter=False).cut(items))


def test_all_permutations_are_equally_likely(rng):
    drawn = Shuffle(Grid(1, 3)).draw(12_000, rng)

    _, counts = drawn.unique(dim=0, return_counts=True)

    assert len(counts) == 6
    assert ((counts - 2000) ** 2 / 2000).sum() < 20.5  # chi-square, 5 degrees of freedom: 1 in 1000


def test_with_choices_the_draws_are_from_the_set_only_and_reach_all_of_it(rng):
    choices = SpreadOut(10)
    drawn = Shuffle(Grid(3, 3), choices).draw(2000, rng).unique(dim=0)

    assert sorted(drawn.tolist()) == sorted(choices.build(9).tolist())


@pytest.mark.errors
def test_images_smaller_than_the_grid_are_refused_with_the_size_that_would_do():
    with pytest.raises(ValueError, match=r"images of 10 x 40 pixels are too small .* at least 15 x 15") as error:
        Grid(3, 3).cut(noise(1, 3, 10, 40))
    assert "Use larger images, fewer patches or a smaller gap" in str(error.value)
    Grid(3, 3).cut(noise(1, 3, 15, 15))  # as the message says


@pytest.mark.errors
@pytest.mark.parametrize("shape", [(1, 1, 4, 30), (1, 1, 30, 4)])
def test_spectrograms_smaller_than_the_bands_are_refused(shape):
    with pytest.raises(ValueError, match=r"Bands: spectrograms of .* are too small for 10 bands"):
        Bands(10).cut(noise(*shape))


@pytest.mark.errors
@pytest.mark.parametrize("patches", [Grid(), Bands()])
def test_samples_of_other_axes_are_refused(patches):
    with pytest.raises(ValueError, match=r"samples must be \(channels, height, width\); got \(5, 3, 40, 40\)"):
        patches.patch_shape((5, 3, 40, 40))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Grid(rows=0), "Grid: `rows` must be from 1 .*; got 0"),
        (lambda: Grid(columns=-1), "Grid: `columns` must be from 1 .*; got -1"),
        (lambda: Grid(gap=-1), "Grid: `gap` must be from 0 .*; got -1"),
        (lambda: Bands(number=0), "Bands: `number` must be from 1 .*; got 0"),
        (lambda: Bands(shift=-2), "Bands: `shift` must be from 0 .*; got -2"),
    ],
)
def test_numbers_that_cut_nothing_are_refused_when_written_down(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# -------------------------------------------------------------------------------------------------- pixels as in Caffe


def test_means_are_subtracted_from_pixels_of_0_to_255(rng):
    items = torch.randint(256, (2, 3, 9, 9), generator=rng).to(torch.uint8)

    patches = Grid(3, 3, gap=0, normalize=False, means=(123.0, 117.0, 104.0)).cut(items)

    expected = items[:, :, :3, 6:].float() - torch.tensor([123.0, 117.0, 104.0])[:, None, None]
    torch.testing.assert_close(patches[:, 2], expected)


@pytest.mark.errors
def test_means_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="normalised patches have no use for `means`"):
        Grid(means=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"`means` must have one number for each of 1 channels"):
        Grid(normalize=False, means=(1.0, 2.0, 3.0)).patch_shape((1, 30, 30))
