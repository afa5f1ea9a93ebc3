"""Views in C are those in PyTorch, given the same draws: every order, size and number of channels."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unshuffle import _compiled
from unshuffle.data import MultiView, View, _native, dino_multi_crop, dino_views, simclr_views
from unshuffle.data.blur import Blur
from unshuffle.data.colour import Changes, ColourJitter
from unshuffle.data.crops import Crop
from unshuffle.data.draws import Draws, made_in_c, made_in_pytorch
from unshuffle.types import Raw

pytestmark = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")
CLOSE = {"atol": 1e-3, "rtol": 0}  # of 255


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def in_c(images: torch.Tensor, draws: Draws, size: int) -> torch.Tensor:
    return made_in_c(images, draws, size, torch.zeros(images.shape[1]), torch.ones(images.shape[1]))


def untouched(count: int, side: int) -> Draws:
    """Nothing happens to images of this size."""
    view = View(Crop(side, (1.0, 1.0), (1.0, 1.0), mirror=0.0), ColourJitter(chance=0.0), grey=0.0, blur=Blur(0.0))
    return view.draw(count, side, side, torch.Generator().manual_seed(0))


def assert_same(images: torch.Tensor, draws: Draws, size: int) -> None:
    torch.testing.assert_close(in_c(images, draws, size), made_in_pytorch(images, draws, size), **CLOSE)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (32, 32, 33), (1, 9, 7), (9, 1, 5), (2, 2, 1), (47, 61, 24), (20, 24, 90), (200, 180, 31)],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("preset", [simclr_views, dino_views])
def test_presets_are_the_same_at_any_size(preset, channels, height, width, size, rng):
    images = noise(40, channels, height, width)
    for recipe in preset(size).recipes:
        assert_same(images, recipe.draw(len(images), height, width, rng), size)


@given(
    height=st.integers(1, 70), width=st.integers(1, 70), size=st.integers(1, 50), channels=st.sampled_from([1, 3]),
    widest=st.sampled_from([0.5, 2.0, 9.0]), seed=st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=40)
def test_any_view_is_the_same(height, width, size, channels, widest, seed):
    crop, jitter = Crop(size, area=(0.01, 1.0), ratio=(0.2, 5.0)), ColourJitter(0.9, 0.9, 0.9, 0.5, chance=0.7)
    recipe = View(crop, jitter, grey=0.3, blur=Blur(0.6, (0.0, widest)), solarise=0.4)
    draws = recipe.draw(8, height, width, torch.Generator().manual_seed(seed))

    assert_same(noise(8, channels, height, width, seed=seed), draws, size)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_order_of_changes_is_the_same(channels, rng):
    orders = torch.tensor(list(permutations(range(4))))
    draws = View(Crop(32)).draw(24, 32, 32, rng)
    factors = torch.tensor([1.4, 0.6, 1.7, 0.15]) * torch.rand(24, 4, generator=rng)
    draws = draws._replace(colours=Changes(factors, orders, torch.ones(24, dtype=torch.bool)))

    assert_same(noise(24, channels, 32, 32), draws, 32)


@pytest.mark.parametrize("level", [0, 1, 127, 128, 255])
def test_flat_images_are_the_same(level, rng):
    """Black, white and greys have no hue; all but greys and the ends keep theirs."""
    images = torch.full((64, 3, 20, 20), level, dtype=torch.uint8)
    images[32:, 1] = 77
    assert_same(images, simclr_views(16).recipes[0].draw(64, 20, 20, rng), 16)


def test_a_batch_of_views_is_that_of_pytorch_but_for_the_last_digits():
    many, raw = dino_multi_crop(24, 10), Raw(noise(9, 3, 40, 40), torch.arange(9))

    views = many(raw, torch.Generator().manual_seed(5)).views

    with _compiled.disabled():
        expected = many(raw, torch.Generator().manual_seed(5)).views
    assert not views[0].equal(expected[0])  # two paths indeed
    torch.testing.assert_close(views, expected, atol=2e-5, rtol=0)


def test_how_images_lie_in_memory_does_not_show(rng):
    images = noise(6, 50, 44, 3).permute(0, 3, 1, 2)[:, :, ::2, 3:40]
    draws = simclr_views(16).recipes[0].draw(6, 25, 37, rng)

    assert in_c(images, draws, 16).equal(in_c(images.contiguous(), draws, 16))
    assert in_c(images[:1].expand(6, -1, -1, -1), draws, 16).equal(in_c(images[:1].repeat(6, 1, 1, 1), draws, 16))


def test_neither_threads_nor_neighbours_change_a_bit(rng):
    images, recipe = noise(30, 3, 64, 64), dino_views(48).recipes[1]
    draws, before = recipe.draw(30, 64, 64, rng), torch.get_num_threads()
    expected = in_c(images, draws, 48)

    torch.set_num_threads(4)
    together = in_c(images, draws, 48)
    torch.set_num_threads(before)

    alone = torch.cat([in_c(images[k : k + 1], draws.of(slice(k, k + 1)), 48) for k in range(30)])
    assert together.equal(expected)
    assert alone.equal(expected)


def test_a_crop_of_everything_at_its_own_size_is_the_image():
    images, draws = noise(3, 3, 19, 19), untouched(3, 19)

    assert in_c(images, draws, 19).equal(images.float())


@pytest.mark.parametrize("sigma", [1e9, 1e200, math.inf])
def test_the_widest_blur_leaves_the_mean_of_the_corners(sigma):
    """Half of a moving average that is wider than the picture by far lies on either end of it."""
    images, draws = noise(2, 3, 9, 9), untouched(2, 9)._replace(sigma=torch.full((2,), sigma, dtype=torch.float64))

    corners = images[:, :, ::8, ::8].float().mean((2, 3), keepdim=True)

    torch.testing.assert_close(in_c(images, draws, 9), corners.expand(-1, -1, 9, 9), **CLOSE)


@pytest.mark.parametrize(("part", "value"), [("top", -1), ("left", 5), ("height", 0), ("width", 21), ("height", 2**62)])
def test_boxes_that_leave_their_image_are_refused(part, value, rng):
    draws = View(Crop(8)).draw(4, 20, 20, rng)
    fitting = draws.boxes._replace(top=torch.zeros(4).long(), left=torch.zeros(4).long(), width=torch.full((4,), 16))
    boxes = fitting._replace(**{part: torch.tensor([1, 1, value, 1])})

    with pytest.raises(ValueError, match="views: boxes must lie within their images"):
        in_c(noise(4, 3, 20, 20), draws._replace(boxes=boxes), 8)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.uint8)], ids=["real", "two channels"]
)
def test_other_images_are_left_to_pytorch(images):
    assert not _native.takes(images)
    assert _native.takes(noise(1, 1, 8, 8))


def test_one_channel_has_its_own_normal_numbers(rng):
    grey = MultiView((View(Crop(12)),), 1, mean=(0.5,), std=(0.25,))
    raw = Raw(noise(5, 1, 16, 16), torch.arange(5))

    (views,) = grey(raw, torch.Generator().manual_seed(1)).views

    draws = grey.recipes[0].draw(5, 16, 16, torch.Generator().manual_seed(1))
    torch.testing.assert_close(views, (made_in_pytorch(raw.items, draws, 12) / 255 - 0.5) / 0.25, atol=2e-5, rtol=0)


def door_arguments() -> dict[str, torch.Tensor]:
    """What the door takes for five views of five images, by name."""
    draws = untouched(5, 8)
    names = ("top", "left", "height", "width", "mirrored", "factors", "order", "changed", "grey", "sigma", "solarised")
    parts = (*draws.boxes, *draws.colours, *draws[2:])
    return dict(zip((*names, "offset", "scale"), (*parts, torch.zeros(3), torch.ones(3)), strict=True))


def through_the_door(arguments: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    parts = tuple(arguments.values())
    return _native.views(images, parts[:5], parts[5:8], parts[8:11], (parts[11], parts[12]), 8)


WRONG_SHAPES = {
    "one fewer": lambda part: part[:-1],
    "one more": lambda part: torch.cat([part, part[:1]]),
    "none": lambda part: part[:0],
    "an axis more": lambda part: part[None],
    "a number": lambda part: part.flatten()[0],
}


@pytest.mark.errors
@pytest.mark.parametrize("change", WRONG_SHAPES.values(), ids=WRONG_SHAPES)
@pytest.mark.parametrize("name", list(door_arguments()))
def test_an_array_of_another_shape_is_refused_at_the_door_by_name(name, change):
    arguments = door_arguments()
    arguments[name] = change(arguments[name])

    # Where `top` itself is short or long, the others do not fit it.
    named = name if name != "top" or change(torch.zeros(5)).ndim != 1 else "left"
    with pytest.raises(ValueError, match=f"views: `{named}` must have the shape"):
        through_the_door(arguments, noise(5, 3, 8, 8))


@pytest.mark.errors
@pytest.mark.parametrize("name", ["factors", "order"])
def test_four_numbers_a_view_are_not_taken_across(name):
    arguments = door_arguments()
    arguments[name] = arguments[name].T.contiguous()

    with pytest.raises(ValueError, match=rf"views: `{name}` must have the shape \(5, 4\)"):
        through_the_door(arguments, noise(5, 3, 8, 8))


@pytest.mark.errors
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (5, 2, 8, 8), (5, 3, 0, 8), (5, 3, 64)], ids=str)
def test_images_that_hold_no_views_are_refused_at_the_door(shape):
    with pytest.raises(ValueError, match="views: `images` must be"):
        through_the_door(door_arguments(), torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_the_default_dtype_of_the_caller_changes_no_view(dtype):
    images, expected = noise(5, 3, 8, 8), through_the_door(door_arguments(), noise(5, 3, 8, 8))
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = through_the_door(door_arguments(), images)
    finally:
        torch.set_default_dtype(before)

    assert found.dtype == torch.float32
    assert found.equal(expected)
