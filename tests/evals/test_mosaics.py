"""Mosaics are judged by their pixels: an oracle makes no error, swapped blank tiles are none, swapped others are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unshuffle.data import Grid, Shuffle, Tiles
from unshuffle.evals.arrangement_figures import comparison_figure, mosaic_figures
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.mosaics import classified_results, mosaic_results, rebuild
from unshuffle.evals.results import stamp
from unshuffle.evals.sorting import sorting_results
from unshuffle.methods import Arranger, LinearAssigner, MosaicNet, NumberNet
from unshuffle.methods.permopt import Ordered
from unshuffle.report.figures import draw
from unshuffle.types import Result

MARK = stamp("made up", "test", "none")
TILES = Tiles(2, 2, (0.0,), (1.0,))


class Oracle(LinearAssigner):
    """Places a tile by the value of its first pixel, 0 to 3 of 255; ``slope`` -1 places it in reverse."""

    def __init__(self, slope: int = 1) -> None:
        super().__init__(1, 4)
        self.slope = slope

    def forward(self, items: Tensor, carried: Tensor | None = None) -> Ordered:
        place = (items[..., 0] * 255).round().long()
        place = place if self.slope > 0 else 3 - place
        permutation = nn.functional.one_hot(place, 4).to(items.dtype)
        return Ordered((permutation.mT @ carried.flatten(2)).reshape(carried.shape), permutation)


class FirstPixel(nn.Module):
    def forward(self, tiles: Tensor) -> Tensor:
        return tiles.flatten(2)[..., :1]


def encoder(slope: int = 1) -> Encoder:
    return Encoder(Arranger(FirstPixel(), Oracle(slope)), Shuffle(TILES), (1, 6, 6))


def placed(count: int = 5, *, blank: bool = False) -> Tensor:
    """Images of which every tile tells its place in its first pixel; blank otherwise, or noise."""
    draws = torch.Generator().manual_seed(0)
    tiles = torch.zeros(count, 4, 1, 3, 3) if blank else torch.rand(count, 4, 1, 3, 3, generator=draws) * 255
    tiles[..., 0, 0] = torch.arange(4)[:, None]
    return TILES.join(tiles).byte()


def value(lines: list[Result], task: str, layer: str) -> float:
    (found,) = [line.value for line in lines if line.task == task and line.layer == layer]
    return found


@pytest.mark.parametrize("double", [False, True])
def test_an_oracle_rebuilds_every_image(double):
    rebuilt = rebuild(encoder(), placed(), double=double)

    lines = mosaic_results(rebuilt, MARK, layer="oracle", seed=0)

    assert value(lines, "mosaic: squared error of normalised pixels", "oracle") == 0
    for task in ("every tile in its place", "every pixel the same", "tiles in their place"):
        assert value(lines, f"mosaic: {task}", "oracle") == 1
    assert value(lines, "mosaic: tiles in their place", "chance") == 0.25


def test_errors_are_mean_squares_of_normalised_pixels():
    items, tiles = placed(3), Tiles(2, 2, (0.1,), (0.2,))
    reversing = Encoder(Arranger(FirstPixel(), Oracle(-1)), Shuffle(tiles), (1, 6, 6))
    reversing.transform = Shuffle(TILES)
    rebuilt = rebuild(reversing, items)

    pixels = items.double() / 255
    turned = TILES.join(TILES.cut(items).flip(1)).double()
    torch.testing.assert_close(rebuilt.error, (pixels - turned).square().mean((1, 2, 3)), atol=1e-7, rtol=1e-6)
    assert rebuilt.tiles().sum() == 0


def test_swapping_tiles_that_look_the_same_is_a_mistake_of_order_and_none_of_pixels():
    items = placed(blank=True).clone()
    items[items > 1] = 0  # tiles 2 and 3 are blank, as tile 0 is; all of them claim place 0

    rebuilt = rebuild(encoder(), items, seed=3)

    assert rebuilt.same().all()
    assert not rebuilt.whole().all()
    assert (rebuilt.error == 0).all()


def test_what_was_shuffled_has_the_error_of_the_shuffle():
    items = placed(4)
    rebuilt = rebuild(encoder(), items, seed=1)

    for k in range(4):
        tiles = TILES.cut(items[k : k + 1])[0].double()
        expected = (tiles[rebuilt.perm[k]] - tiles).square().mean()
        torch.testing.assert_close(rebuilt.shuffled[k], expected)


class Corner(nn.Module):
    """Knows whether the first pixel of an image is that of tile 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        right = (images[:, 0, 0, 0] * 255).round() == 0
        return nn.functional.one_hot(right.long(), 2).float() * self.weight


def test_a_classifier_is_right_on_images_and_on_what_an_oracle_arranged():
    items = placed(64)

    lines = classified_results(encoder(), Corner(), items, np.ones(64, dtype=int), MARK, layer="oracle")

    accuracy, error = "classified, softly arranged", "softly arranged: squared error"
    assert value(lines, accuracy, "max") == value(lines, accuracy, "oracle") == 1
    assert 0.1 < value(lines, accuracy, "min") < 0.5
    assert value(lines, error, "max") == value(lines, error, "oracle") == 0
    assert value(lines, error, "min") > 0


def test_sorting_is_measured_at_every_size_and_interval():
    net = NumberNet("po-u", 3).build()

    lines = sorting_results(net, MARK, sizes=(3, 4), sets=5)

    assert [line.layer for line in lines[:7]][-1] == "[1000, 1001]"
    assert {(line.task, line.n) for line in lines} == {(f"sets of {n} numbers, sorted exactly", 5) for n in (3, 4)}
    assert len(sorting_results(NumberNet("lin-assign", 3).build(), MARK, sizes=(4, 5), sets=2)) == 7  # its own size


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model", ["po-la", "lin-assign", "neighbours"])
def test_figures_of_mosaics_can_be_drawn(model, channels, tmp_path):
    net = MosaicNet(model, 2, 3, (channels, 4, 5), width=2, hidden=4).build()
    arranging = Encoder(net, Shuffle(Tiles(2, 3)), (channels, 8, 15))
    items = torch.randint(256, (9, channels, 8, 15), generator=torch.Generator().manual_seed(0)).byte()

    figures = mosaic_figures(tmp_path, arranging, items, rebuild(arranging, items))

    kinds = [figure.kind for figure in figures]
    expected = {"lin-assign": ["puzzle"], "neighbours": ["puzzle", "stages", "costs", "heat"]}
    assert kinds == expected.get(model, ["puzzle", "stages", "costs", "heat", "gradients"])
    for figure in figures:
        with np.load(tmp_path / "figures" / figure.file) as arrays:
            assert draw(figure.kind, dict(arrays)).startswith(b"\x89PNG")


def test_the_sensitivity_is_that_of_the_axis_it_is_named_after(tmp_path):
    """Costs that see only the left column of tiles' pixels along rows leave the other axis no gradient anywhere."""
    net = MosaicNet("po-u", 2, 2, (1, 4, 4), width=2, hidden=4).build()
    nn.init.zeros_(net.place.compare.cost.weight.data[0])  # channel 0 orders rows: top to bottom
    arranging = Encoder(net, Shuffle(Tiles(2, 2)), (1, 8, 8))
    items = torch.randint(256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()

    mosaic_figures(tmp_path, arranging, items, rebuild(arranging, items))

    with np.load(tmp_path / "figures" / "sensitivity.npz") as arrays:
        assert arrays["names"].tolist() == ["left to right", "top to bottom"]
        assert arrays["values"][0].max() > 0
        assert arrays["values"][1].max() == 0


def test_the_map_of_a_comparison_is_antisymmetric_and_that_of_f_is_f(tmp_path):
    net = NumberNet("po-u", 4).build()

    figure = comparison_figure(tmp_path, net, points=9)

    with np.load(tmp_path / "figures" / figure.file) as arrays:
        big, small = arrays["values"][0], arrays["values"][1]
    assert np.allclose(big, -big.T, atol=1e-6)
    assert np.allclose(big, small - small.T, atol=1e-6)
    costs = net.costs(torch.linspace(0, 1, 9).reshape(1, 9, 1))[0, 0].detach().numpy()
    assert np.allclose(big, costs, atol=1e-5)


@pytest.mark.errors
def test_other_encoders_are_refused():
    other = Encoder(Arranger(FirstPixel(), Oracle()), Shuffle(Grid(2, 2)), (1, 6, 6))
    with pytest.raises(ValueError, match="was not trained on mosaics"):
        rebuild(other, placed())
