"""Views are those of a pipeline in Pillow, given the same draws; the draws follow torchvision's rules."""

from __future__ import annotations

import colorsys
import importlib.util
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from unshuffle import _compiled, values
from unshuffle.data import MultiView, View, dino_multi_crop, dino_views, simclr_views
from unshuffle.data import views as module
from unshuffle.data.blur import Blur, blurred, blurring
from unshuffle.data.colour import Changes, ColourJitter, brightness, recoloured, turn_hue_
from unshuffle.data.crops import Boxes, Crop, cut
from unshuffle.data.draws import Draws, made
from unshuffle.types import Raw

_SPEC = importlib.util.spec_from_file_location(
    "pillow_views", Path(__file__).resolve().parents[2] / "benchmarks" / "pillow_views.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
pillow = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pillow)

# Pillow rounds a hue down to one of 256 levels, shifts it by whole levels, and wraps at 256 instead of 255: together at
# most 2.5 levels, of up to 6 values of a channel each. Rounding saturation and channel adds two values.
HUE = 2.5 * 6 + 2


def photos(count: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    """Smooth colours with some noise: neither flat nor nothing but edges."""
    rng = np.random.default_rng(height)
    small = rng.integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    large = [np.array(Image.fromarray(s.squeeze()).resize((width, height), Image.Resampling.BICUBIC)) for s in small]
    noisy = np.stack(large).reshape(count, height, width, channels) + rng.normal(0, 6, (count, height, width, channels))
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def pixels(pictures: list[Image.Image]) -> torch.Tensor:
    stacked = np.stack([np.array(picture) for picture in pictures])
    return torch.from_numpy(stacked.reshape(*stacked.shape[:3], -1)).permute(0, 3, 1, 2).float()


def in_pillow(images: torch.Tensor, draws: Draws, size: int) -> torch.Tensor:
    drawn = pillow.Numbers(draws)
    return pixels([pillow.view(pillow.picture(image), drawn, k, size) for k, image in enumerate(images)])


def still(count: int, **changed: float) -> Changes:
    """One of the four changes, alone."""
    names = ("brightness", "contrast", "saturation", "hue")
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count, 1)
    for name, value in changed.items():
        factors[:, names.index(name)] = value
    return Changes(factors, torch.arange(4).repeat(count, 1), torch.ones(count, dtype=torch.bool))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("preset", [simclr_views(32), dino_views(32), dino_multi_crop(32, 16, crops=1)])
def test_views_are_those_of_pillow_but_for_its_rounding(preset, rng):
    """Pillow rounds after every step, and mostly down; its hue has 255 values, six levels of a channel apart."""
    images = photos(64, 48, 40)
    for recipe in preset.recipes:
        draws = recipe.draw(len(images), 48, 40, rng)

        difference = made(images, draws, recipe.crop.size) - in_pillow(images, draws, recipe.crop.size)

        assert difference.abs().mean() < 1.6
        assert 0 < difference.mean() < 1.4
        assert difference.abs().quantile(0.999) < 14


@pytest.mark.parametrize(("height", "width", "size"), [(40, 40, 16), (40, 48, 40), (24, 20, 64), (128, 128, 24)])
def test_crops_are_those_of_pillow(height, width, size, rng):
    images, crop = photos(16, height, width), Crop(size, area=(0.05, 0.9))
    boxes = crop.draw(len(images), height, width, rng)

    theirs = pixels([pillow.cropped(pillow.picture(image), _boxes(boxes), k, size) for k, image in enumerate(images)])

    assert boxes.mirrored.any()
    assert not boxes.mirrored.all()
    torch.testing.assert_close(cut(images, boxes, size), theirs, atol=1.1, rtol=0)


def _boxes(boxes: Boxes) -> object:
    return type("Drawn", (), {"boxes": list(zip(*(part.tolist() for part in boxes)))})()


def test_small_crops_of_large_images_cost_no_more_than_a_square_around_them_and_are_the_same(rng, monkeypatch):
    images = photos(8, 96, 96)
    boxes = Crop(16, area=(0.05, 0.14)).draw(8, 96, 96, rng)
    small = cut(images, boxes, 16)

    monkeypatch.setattr("unshuffle.data.crops._around", lambda images, boxes: (images, boxes))

    torch.testing.assert_close(small, cut(images, boxes, 16), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("change", "bound"),
    [({"brightness": 1.3}, 1.01), ({"contrast": 0.4}, 1.01), ({"contrast": 1.7}, 1.01), ({"saturation": 1.5}, 1.8),
     ({"saturation": 0.3}, 1.8), ({"hue": 0.1}, HUE), ({"hue": -0.35}, HUE)],
)  # fmt: skip
def test_each_change_of_colour_is_that_of_pillow(change, bound):
    images, changes = photos(6, 24, 24), still(6, **change)
    names = ("brightness", "contrast", "saturation", "hue")
    orders = [[names.index(name)] for name in change] * 6
    drawn = type("Drawn", (), {"factors": changes.factors.tolist(), "orders": orders, "changed": [True] * 6})()

    theirs = pixels([pillow.recoloured(pillow.picture(image), drawn, k) for k, image in enumerate(images)])

    difference = recoloured(images.float(), changes) - theirs
    assert difference.abs().max() < bound
    assert abs(float(difference.mean())) < 0.8


def test_hue_turns_as_in_colorsys(rng):
    colours = torch.rand(1, 3, 20, 20, generator=rng) * 255
    colours[0, :, 0, :3] = torch.tensor(
        [[90.0, 0.0, 255.0], [90.0, 0.0, 255.0], [90.0, 0.0, 0.0]]
    )  # grey, black, yellow
    for turn in (-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5):
        expected = colours.clone()
        for y in range(20):
            for x in range(20):
                h, s, v = colorsys.rgb_to_hsv(*(colours[0, :, y, x] / 255).tolist())
                expected[0, :, y, x] = torch.tensor(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255

        turned = colours.clone()
        turn_hue_(turned, torch.tensor([turn]))

        torch.testing.assert_close(turned, expected, atol=2e-3, rtol=0)


def test_changes_of_colour_come_in_the_order_drawn(rng):
    images = photos(24, 8, 8)
    changes = ColourJitter(0.8, 0.8, 0.8, 0.3, chance=0.9).draw(24, rng)

    together = recoloured(images.float(), changes)

    for k in range(24):
        alone = images[k : k + 1].float()
        for which in changes.order[k].tolist() if changes.changed[k] else []:
            names = ("brightness", "contrast", "saturation", "hue")
            alone = recoloured(alone, still(1, **{names[which]: float(changes.factors[k, which])}))
        torch.testing.assert_close(together[k : k + 1], alone, atol=0.02, rtol=0)


def test_grey_is_the_brightness_of_pillow():
    images = photos(4, 16, 16)
    theirs = pixels([pillow.picture(image).convert("L") for image in images])
    torch.testing.assert_close(brightness(images.float()), theirs, atol=0.51, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 41), (3, 9)])
def test_blur_is_that_of_pillow_up_to_the_borders(height, width):
    sigma = torch.tensor([0.1, 0.6, 1.0, 1.49, 2.0, 3.7])
    images = photos(len(sigma), height, width)

    theirs = [pillow.picture(image).filter(ImageFilter.GaussianBlur(s)) for image, s in zip(images, sigma.tolist())]

    difference = blurred(images.float(), sigma) - pixels(theirs)
    assert difference.abs().max() < 3  # Pillow rounds six times
    assert difference.abs().mean() < 0.6


def test_blur_has_the_width_that_was_asked_for():
    """Of a point in the middle of a long line, variance is that of the Gaussian, and the sum is one."""
    sigma, length = torch.tensor([0.3, 0.9, 2.0, 5.0]), 101
    first, weights = blurring(sigma, length)
    lines = torch.zeros(4, length, length).scatter_add_(
        2, first[..., None] + torch.arange(weights.shape[2]), weights
    )  # fmt: skip

    spread = (lines[:, 50] * (torch.arange(length) - 50) ** 2).sum(-1)

    torch.testing.assert_close(lines.sum(-1), torch.ones(4, length))
    torch.testing.assert_close(spread, sigma.square(), atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("path")
def test_solarised_pixels_are_turned_over_from_128_on():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    whole = torch.full((2,), 16)
    none = torch.zeros(2, dtype=torch.bool)
    boxes = Boxes(whole * 0, whole * 0, whole, whole, none)
    draws = Draws(boxes, still(2)._replace(changed=none), none, torch.zeros(2), torch.tensor([True, False]))

    first, second = made(images, draws, 16).round()

    assert first.equal(torch.where(images[0] < 128, images[0], 255 - images[0]).float())
    assert second.equal(images[1].float())


def torchvision_boxes(crop: Crop, height: int, width: int, count: int) -> np.ndarray:
    """RandomResizedCrop.get_params, one box after the other."""
    draw, boxes = random.Random(0), []
    for _ in range(count):
        for _ in range(10):
            area = height * width * draw.uniform(*crop.area)
            ratio = math.exp(draw.uniform(math.log(crop.ratio[0]), math.log(crop.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                boxes.append((draw.randint(0, height - h), draw.randint(0, width - w), h, w))
                break
        else:
            h, w = height, width
            if width / height < crop.ratio[0]:
                h = round(width / crop.ratio[0])
            elif width / height > crop.ratio[1]:
                w = round(height * crop.ratio[1])
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes, dtype=float)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (60, 41), (8, 80), (80, 8)])
def test_boxes_are_distributed_as_torchvision_draws_them(height, width, rng):
    crop, count = Crop(area=(0.08, 1.0)), 20000
    theirs = torchvision_boxes(crop, height, width, count)

    ours = torch.stack(crop.draw(count, height, width, rng)[:4], 1).double().numpy()

    for moment in (lambda b: b, np.square, lambda b: b[:, [2]] * b[:, [3]], lambda b: b[:, [0, 1]] * b[:, [2, 3]]):
        a, b = moment(ours), moment(theirs)
        error = np.sqrt((a.var(0) + b.var(0)) / count)
        assert (np.abs(a.mean(0) - b.mean(0)) <= 4.5 * error + 1e-9).all()
    assert (ours[:, 0] + ours[:, 2]).max() == (theirs[:, 0] + theirs[:, 2]).max()


def test_chances_factors_and_orders_are_those_of_the_recipe(rng):
    count = 40000
    draws = dino_views(32).recipes[1].draw(count, 32, 32, rng)

    for what, chance in (
        (draws.boxes.mirrored, 0.5), (draws.colours.changed, 0.8), (draws.grey, 0.2), (draws.sigma > 0, 0.1),
        (draws.solarised, 0.2),
    ):  # fmt: skip
        assert abs(float(what.float().mean()) - chance) < 4 * math.sqrt(chance * (1 - chance) / count)
    centre, half = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([0.4, 0.4, 0.2, 0.1])
    torch.testing.assert_close(draws.colours.factors.mean(0), centre, atol=0.01, rtol=0)
    torch.testing.assert_close(draws.colours.factors.std(0), half / math.sqrt(3), atol=0.004, rtol=0)
    assert ((draws.colours.factors - centre).abs() <= half + 1e-6).all()
    orders = torch.unique(draws.colours.order, dim=0, return_counts=True)[1]
    assert len(orders) == 24
    assert (orders - count / 24).abs().max() < 5 * math.sqrt(count / 24)
    chosen = draws.sigma[draws.sigma > 0]
    assert 0.1 <= chosen.min() < chosen.max() <= 2
    assert abs(float(chosen.mean()) - 1.05) < 4 * 1.9 / math.sqrt(12 * len(chosen))


def test_a_batch_is_a_function_of_its_generator_and_not_of_how_it_is_split(monkeypatch):
    raw, many = Raw(photos(10, 24, 24), torch.arange(10), torch.arange(10) % 3), dino_multi_crop(16, 8)

    with _compiled.disabled():  # in C nothing is split
        whole = many(raw, torch.Generator().manual_seed(3))
    monkeypatch.setattr(module, "AT_ONCE", (1, 3 * 16 * 16 * 7))
    with _compiled.disabled():
        parts = many(raw, torch.Generator().manual_seed(3))
    other = many(raw, torch.Generator().manual_seed(4))

    assert [tuple(view.shape) for view in whole.views] == [(10, 3, 16, 16)] * 2 + [(10, 3, 8, 8)] * 6
    assert whole.index.equal(raw.index)
    assert whole.label is raw.label
    for a, b, c in zip(whole.views, parts.views, other.views):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
        assert not a.allclose(c)
    assert not whole.views[2].allclose(whole.views[3])


def test_the_deterministic_form_is_the_middle_of_the_scaled_image():
    images, views = photos(3, 60, 90), dino_views(28)
    scaled = [pillow.picture(image).resize((48, 32), Image.Resampling.BICUBIC) for image in images]
    expected = pixels([image.crop((10, 2, 38, 30)) for image in scaled])

    ours = views.prepare(images) * torch.tensor(views.std)[:, None, None] + torch.tensor(views.mean)[:, None, None]

    torch.testing.assert_close(255 * ours, expected, atol=1.1, rtol=0)


def test_images_of_the_size_of_a_view_are_embedded_as_they_are():
    images = photos(2, 32, 32)
    views = MultiView((View(Crop(32)),), 1, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))

    expected = (images / 255 - torch.tensor(views.mean)[:, None, None]) / torch.tensor(views.std)[:, None, None]

    torch.testing.assert_close(views.prepare(images), expected)


@pytest.mark.usefixtures("path")
def test_images_of_one_channel_keep_it_and_change_as_in_pillow(rng):
    images, recipe = photos(32, 28, 28, channels=1), simclr_views(28).recipes[0]
    draws = recipe.draw(32, 28, 28, rng)
    grey = MultiView((recipe, recipe), 2, mean=(0.5,), std=(0.25,))

    assert (made(images, draws, 28) - in_pillow(images, draws, 28)).abs().mean() < 1.6
    assert grey(Raw(images, torch.arange(32)), rng).views[0].shape == (32, 1, 28, 28)


def test_presets_have_the_numbers_of_the_papers():
    one, two, again, _ = dino_views(views=4).recipes
    assert (one.crop.size, one.crop.area, one.crop.ratio) == (224, (0.14, 1.0), (3 / 4, 4 / 3))
    assert one.jitter == two.jitter == ColourJitter(0.4, 0.4, 0.2, 0.1, chance=0.8)
    assert (one.blur, one.solarise, two.blur, two.solarise) == (Blur(1.0, (0.1, 2.0)), 0.0, Blur(0.1, (0.1, 2.0)), 0.2)
    assert (one.grey, one.crop.mirror, again) == (0.2, 0.5, one)
    simclr = simclr_views(views=3)
    assert (simclr.views, simclr.positives) == (3, 3)
    assert simclr.recipes[2].jitter == ColourJitter(0.8, 0.8, 0.8, 0.2)
    assert (simclr.recipes[0].crop.area, simclr.recipes[0].blur.chance) == ((0.08, 1.0), 0.5)
    assert simclr_views(32, strength=0.5, blur=0.0).recipes[0].jitter == ColourJitter(0.4, 0.4, 0.4, 0.1)
    many = dino_multi_crop()
    assert (many.views, many.positives, many.recipes[:2]) == (8, 2, dino_views().recipes)
    assert (many.recipes[7].crop.area, many.recipes[7].crop.size, many.recipes[7].blur.chance) == (
        (0.05, 0.14),
        96,
        0.5,
    )


def test_views_travel_as_json():
    many = dino_multi_crop()
    assert values.from_json(json.loads(json.dumps(values.to_json(many)))) == many


@pytest.mark.usefixtures("path")
def test_no_images_have_no_views(rng):
    views = dino_views(16)(Raw(torch.zeros(0, 3, 20, 20, dtype=torch.uint8), torch.arange(0)), rng).views
    assert [tuple(view.shape) for view in views] == [(0, 3, 16, 16)] * 2


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Crop(0), "Crop: `size` must be from 1 .*; got 0"),
        (lambda: Crop(area=(0.5, 1.5)), r"Crop: `area` must hold numbers from 0 to 1; got 1.5"),
        (lambda: Crop(ratio=(0.0, 2.0)), "Crop: `ratio` must hold numbers above 0 .*; got 0.0"),
        (lambda: Blur(1.5), "Blur: `chance` must be from 0 to 1; got 1.5"),
        (lambda: Blur(sigma=(2.0, 1.0)), "Blur: `sigma` must be two numbers .* the smaller first"),
        (lambda: ColourJitter(hue=0.6), "ColourJitter: `hue` must be from 0 to 0.5"),
        (lambda: ColourJitter(contrast=-1), "ColourJitter: `contrast` must be from 0"),
        (lambda: View(grey=2), "View: `grey` must be from 0 to 1"),
        (lambda: MultiView((View(),), 2), "MultiView: `positives` must be from 1 to 1, the number of views; got 2"),
        (lambda: MultiView((View(),), 1, mean=(0.5,)), "MultiView: `mean` and `std` must be of one length"),
        (lambda: dino_views().shape((1, 32, 32)), "MultiView: images must have 3 channels .* got 1"),
        (lambda: dino_views().shape((32, 32)), "MultiView: samples must be"),
    ],
)  # fmt: skip
def test_what_makes_no_view_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.errors
def test_pixels_must_be_bytes():
    with pytest.raises(TypeError, match=r"`items` must be pixels from 0 to 255 in uint8; got torch\.float32"):
        dino_views(16).prepare(torch.rand(1, 3, 16, 16))
