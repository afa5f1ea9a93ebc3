"""A side of a tile sees its own border, and pairs are scored by the sides that meet."""

from __future__ import annotations

import pytest
import torch

from unshuffle.nets import NeighbourNet, TileSides
from unshuffle.nets.sides import INSIDE

H, W = 12, 11


def parts(net: TileSides, tiles: torch.Tensor) -> list[torch.Tensor]:
    """Units along each border: below, above, right, left."""
    return [side[..., :-INSIDE] for side in net(tiles).split(net.sides, -1)]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_units_of_a_border_see_their_side_and_not_the_one_across(channels):
    torch.manual_seed(0)
    net, tiles = TileSides((channels, H, W), 4).double(), torch.randn(1, 1, channels, H, W, dtype=torch.float64)
    at = {0: (H - 1, 5), 1: (0, 5), 2: (6, W - 1), 3: (6, 0)}
    before = parts(net, tiles)

    for side, (row, column) in at.items():
        moved = tiles.clone()
        moved[..., row, column] += 1.0
        changed = {k for k, (a, b) in enumerate(zip(before, parts(net, moved))) if not torch.allclose(a, b)}
        assert changed == {side}


def test_units_of_a_border_lie_in_the_order_of_its_pixels_on_both_tiles_that_meet():
    """A pixel at the right border in row k moves the same units' positions as one at the left border in row k."""
    torch.manual_seed(0)
    net, tiles = TileSides((1, H, W), 4).double(), torch.randn(1, 1, 1, H, W, dtype=torch.float64)
    before = parts(net, tiles)

    for side, pixel, length in ((2, (2, W - 1), H), (3, (2, 0), H), (0, (H - 1, 6), W), (1, (0, 6), W)):
        moved = tiles.clone()
        moved[(..., *pixel)] += 1.0
        change = (parts(net, moved)[side] - before[side]).unflatten(-1, (4, length)).abs().amax((0, 1, 2))
        centre = pixel[0] if length == H else pixel[1]
        seeing = change.nonzero().squeeze(-1).tolist()
        assert centre in seeing
        assert all(abs(k - centre) <= 3 for k in seeing)


def test_a_pair_is_scored_by_two_layers_on_the_sum_of_the_sides_that_meet():
    torch.manual_seed(0)
    net, items = NeighbourNet((3, 3, 2, 2), 4, hidden=5).double(), torch.randn(2, 4, 10, dtype=torch.float64)
    below, above, right, left = items.split((3, 3, 2, 2), -1)

    found = net(items)

    for axis, (first, second) in enumerate(((below, above), (right, left))):
        for i in range(4):
            for j in range(4):
                met = (first[1, i] + second[1, j]).relu()
                score = net.score[axis](net.hidden[axis](met).relu()) + net.direct[axis](met)
                torch.testing.assert_close(found.pairs[1, axis, i, j], score.squeeze())
    torch.testing.assert_close(found.places, net.places(items.relu()))
    torch.testing.assert_close(found.ends[:, 1, 0], net.ends(items.relu())[..., 2])


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 2, 5)])
def test_small_tiles_have_sides_too(shape):
    net = TileSides(shape, 4)

    assert net(torch.randn(2, 3, *shape)).shape == (2, 3, net.features)


@pytest.mark.errors
def test_tiles_too_small_are_refused():
    with pytest.raises(ValueError, match="tiles must have at least 2 x 2 pixels; got 1 x 5"):
        TileSides((1, 1, 5), 4)
