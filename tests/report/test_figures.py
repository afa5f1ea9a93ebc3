"""Arrays become PNGs that open and show something."""

from __future__ import annotations

import io
import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image

from unshuffle.report.figures import KINDS, WRONG, draw, draw_curve
from unshuffle.report.read import Metrics

RED = np.array([int(WRONG[i : i + 2], 16) for i in (1, 3, 5)])


def pixels(png: bytes) -> np.ndarray:
    """(H, W, 4) floats in [0, 1]; the PNG is decoded in full."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGBA"), dtype=float) / 255


def has_red(png: bytes) -> bool:
    """Whether the colour of wrong places is in the picture."""
    return bool((np.abs(pixels(png)[..., :3] * 255 - RED).max(-1) < 3).any())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_gives_a_picture_that_is_not_blank(arrays, kind):
    picture = pixels(draw(kind, arrays[kind]))

    assert min(picture.shape[:2]) > 100
    assert picture.std((0, 1)).max() > 0.05


def test_low_frequencies_are_at_the_bottom_of_a_spectrogram():
    low = np.zeros((1, 16, 16))
    low[:, :4] = 1.0
    content = dict.fromkeys(("before", "solved", "truth"), low) | {"partial_ranks": np.ones(1)}

    sound = pixels(draw("puzzle", content | {"spectrogram": np.array(True)}))
    image = pixels(draw("puzzle", content | {"spectrogram": np.array(False)}))

    # The first tile ends where the column of tiles does; its middle column is clear of all text.
    column = -sound.shape[1] // 12
    bright = [
        np.flatnonzero(p[: p.shape[0] // 4, column, :3].sum(-1) * p[: p.shape[0] // 4, column, 3] > 1.5)
        for p in (sound, image)
    ]
    assert bright[0].min() > bright[1].max()


def test_a_puzzle_in_colour_keeps_its_colours():
    blue = np.zeros((2, 8, 8, 3))
    blue[..., 2] = 1.0
    content = dict.fromkeys(("before", "solved", "truth"), blue) | {"partial_ranks": np.ones(2)}

    picture = pixels(draw("puzzle", content))

    assert (picture.reshape(-1, 4) == [0, 0, 1, 1]).all(-1).mean() > 0.3


def test_a_row_of_frames_is_as_long_as_it_is_and_fits_the_page():
    row = np.random.default_rng(0).random((2, 8, 8 * 20))
    content = dict.fromkeys(("before", "solved", "truth"), row) | {"partial_ranks": np.ones(2), "frames": np.array(20)}

    height, width = pixels(draw("puzzle", content)).shape[:2]
    assert width < 2100
    assert width / height > 2


def test_a_series_in_another_order_is_another_picture():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(3, 2, 40))
    content = dict.fromkeys(("before", "solved", "truth"), series) | {
        "partial_ranks": np.ones(3),
        "slices": np.array(4),
    }
    other = content | {"before": series[..., ::-1]}

    assert not np.array_equal(pixels(draw("series", content)), pixels(draw("series", other)))


def test_many_samples_are_drawn_in_bands_not_in_one_endless_row():
    content = dict.fromkeys(("before", "solved", "truth"), np.zeros((100, 8, 8))) | {"partial_ranks": np.ones(100)}

    assert pixels(draw("puzzle", content)).shape[1] < 2000


def test_wrong_places_are_red_and_ties_are_right_in_either_order():
    images = np.zeros((1, 3, 4, 4))
    ordered = {"images": images, "scores": np.array([[0.3, 0.1, 0.2]]), "truth": np.array([[5, 1, 5]])}

    assert not has_red(draw("sets", ordered))
    assert has_red(draw("sets", ordered | {"truth": np.array([[1, 5, 5]])}))


def test_what_counts_is_bright_and_the_rest_is_grey():
    """Over a picture in colour lies where its heat is: the right half."""
    heat = np.zeros((1, 1, 8, 8))
    heat[..., 4:] = 1.0
    colour = np.broadcast_to([0.2, 0.4, 0.9], (1, 1, 8, 8, 3))

    picture = pixels(draw("saliency", {"images": colour, "heat": heat}))

    over = picture[-picture.shape[0] // 3 :, :, :3]
    left, right = over[:, over.shape[1] // 4], over[:, -over.shape[1] // 4]
    assert np.ptp(left, axis=-1).max() < 0.45 * np.ptp(right, axis=-1).max()


@pytest.mark.parametrize("count", [1, 7, 96])
def test_filters_are_laid_out_in_a_block_whatever_their_number(count):
    picture = pixels(draw("filters", {"filters": np.random.default_rng(0).random((count, 5, 5, 3))}))

    assert 0.25 < picture.shape[1] / picture.shape[0] < 8
    assert picture.shape[1] < 2000


@pytest.mark.parametrize("classes", [1, 10, 20, 21, 300])
def test_maps_of_any_number_of_classes_are_drawn(classes):
    rng = np.random.default_rng(0)

    picture = pixels(draw("map", {"xy": rng.normal(size=(600, 2)), "label": np.arange(600) % classes}))

    assert picture.std() > 0


def test_continuous_maps_are_coloured_by_value(arrays):
    value = np.linspace(0, 1, 40)

    by_value = draw("map", arrays["map"] | {"value": value, "continuous": np.array(True)})
    backwards = draw("map", arrays["map"] | {"value": value[::-1], "continuous": np.array(True)})

    assert by_value != backwards


@pytest.mark.parametrize("name", ["$\\frac{$", "_hidden", "<b>", "a\nb", ""])
def test_no_class_name_can_break_a_map(arrays, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odd = draw("map", arrays["map"] | {"names": np.array([name, "b", "c", "d"])})

    assert odd != draw("map", arrays["map"])


def test_the_same_arrays_give_the_same_bytes(arrays):
    assert draw("map", arrays["map"]) == draw("map", arrays["map"])


def test_drawing_leaves_the_readers_matplotlib_alone(arrays):
    with matplotlib.rc_context({"font.size": 31.0}):
        before = dict(matplotlib.rcParams)
        draw("sets", arrays["sets"])
        assert dict(matplotlib.rcParams) == before


@pytest.mark.errors
def test_an_unknown_kind_is_named_with_the_known_ones():
    known = "costs, filters, gallery, gradients, heat, labellings, map, neighbours, puzzle"
    with pytest.raises(ValueError, match=f"'x-ray' is not known here; known are {known}"):
        draw("x-ray", {})


@pytest.mark.errors
def test_a_missing_array_is_named(arrays):
    del arrays["map"]["label"]
    with pytest.raises(ValueError, match="missing: label"):
        draw("map", arrays["map"])


@pytest.mark.errors
@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        ("series", "truth", (3, 8)),
        ("puzzle", "truth", (3, 8)),
        ("puzzle", "truth", (0, 8, 12)),
        ("map", "xy", (40, 3)),
        ("sets", "truth", (2, 4)),
        ("saliency", "heat", (2, 3, 6, 7)),
        ("filters", "filters", (4, 0, 5)),
    ],
)
def test_a_wrong_shape_is_told(arrays, kind, name, shape):
    with pytest.raises(ValueError, match=r"must be .*got"):
        draw(kind, arrays[kind] | {name: np.zeros(shape)})


@pytest.mark.parametrize("points", [1, 2, 5000])
def test_curves_of_any_length_are_drawn(points):
    steps = np.arange(points, dtype=float)
    run = Metrics("", {("loss", "train"): (steps, np.exp(-steps)), ("loss", "holdout"): (steps, np.full(points, 0.5))})

    assert pixels(draw_curve([run], "loss")).std() > 0.01


def test_a_run_that_diverged_is_drawn_with_gaps():
    values = np.array([1.0, np.nan, np.inf, 2.0])

    assert pixels(draw_curve([Metrics("a", {("loss", "train"): (np.arange(4.0), values)})], "loss")).std() > 0.01
