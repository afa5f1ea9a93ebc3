"""Tiles cover an image: nothing is lost, nothing is moved, and sizes are the papers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import Shuffle, Tiles
from unshuffle.data.mosaic import Whole, pixel_constants
from unshuffle.permutations import apply, invert, lay_out
from unshuffle.types import Raw


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)).byte()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (2, 3), (4, 1)])
def test_tiles_join_to_the_image_that_was_cut(rows, columns):
    tiles, items = Tiles(rows, columns, (0.3, 0.4, 0.5), (0.2, 0.3, 0.4)), pixels(3, 3, 8, 12)

    cut = tiles.cut(items)

    assert cut.shape == (3, rows * columns, 3, 8 // rows, 12 // columns)
    torch.testing.assert_close(tiles.pictures(cut), items / 255)
    torch.testing.assert_close(tiles.join(cut)[:, 1], (items[:, 1] / 255 - 0.4) / 0.3)


def test_tiles_are_counted_left_to_right_and_top_to_bottom():
    item = torch.zeros(1, 1, 4, 6)
    item[0, 0, :2, 4:] = 1

    cut = Tiles(2, 3, (0.0,), (1.0,)).cut(item)

    assert cut.mean((0, 2, 3, 4)).tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "grid", "tile"),
    [
        ((1, 28, 28), (2, 2), (1, 14, 14)),
        ((1, 28, 28), (3, 3), (1, 10, 10)),
        ((1, 28, 28), (5, 5), (1, 6, 6)),
        ((3, 32, 32), (3, 3), (3, 11, 11)),
        ((3, 20, 31), (2, 3), (3, 10, 11)),
    ],
)
def test_images_are_scaled_up_to_the_nearest_size_that_divides(shape, grid, tile):
    assert Tiles(*grid).patch_shape(shape) == tile
    assert Tiles(*grid).cut(pixels(2, *shape)).shape == (2, grid[0] * grid[1], *tile)


def test_scaling_is_that_of_pillow():
    items = pixels(1, 1, 28, 28)
    scaled = Image.fromarray(items[0, 0].numpy()).resize((30, 30), Image.Resampling.BILINEAR)

    ours = Tiles(3, 3, (0.0,), (1.0,)).pictures(Tiles(3, 3, (0.0,), (1.0,)).cut(items))[0, 0] * 255

    assert (ours - torch.from_numpy(np.array(scaled)).float()).abs().max() <= 1  # Pillow rounds twice


def test_a_shuffled_mosaic_is_the_image_once_its_permutation_is_undone():
    items, label = pixels(4, 1, 9, 9), torch.arange(4)

    batch = Shuffle(Tiles(3, 3))(Raw(items, torch.arange(4), label), torch.Generator().manual_seed(0))

    perm = batch.ranks.long() - 1
    torch.testing.assert_close(apply(batch.patches, invert(perm)), Tiles(3, 3).cut(items))
    assert batch.label is not None
    assert batch.label.equal(label)


def test_a_classifier_sees_what_the_tiles_join_to():
    items = pixels(2, 3, 32, 32)

    assert Whole(Tiles(3, 3)).prepare(items).equal(Tiles(3, 3).join(Tiles(3, 3).cut(items)))
    assert Whole(Tiles(3, 3))(Raw(items, torch.arange(2)), torch.Generator()).items.shape == (2, 3, 33, 33)


def test_constants_are_those_of_all_pixels():
    items = pixels(5, 3, 7, 6)

    mean, deviation = pixel_constants(items)

    values = items.numpy() / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)), abs=1e-4)
    assert deviation == pytest.approx(values.std((0, 2, 3)), abs=1e-4)
    assert pixel_constants(torch.zeros(2, 1, 3, 3)) == ((0.0,), (0.01,))  # never 0, by which nothing can be divided


@pytest.mark.errors
def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="images of 2 x 8 pixels are too small for 3 x 3 tiles"):
        Tiles(3, 3).patch_shape((1, 2, 8))
    with pytest.raises(ValueError, match="`mean` must hold 1 number or 1, one for each channel; got 3"):
        Tiles(mean=(0.1, 0.2, 0.3)).cut(pixels(1, 1, 9, 9))
    with pytest.raises(ValueError, match=r"`deviation` must hold numbers above 0 .*; got 0"):
        Tiles(deviation=(0.0,))
    with pytest.raises(ValueError, match="must be 2 x 2 = 4 on axis 1; got 3"):
        lay_out(torch.zeros(1, 3, 1, 2, 2), 2, 2)
