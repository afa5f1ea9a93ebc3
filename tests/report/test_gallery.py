"""Galleries frame what is known, leave out what is not there, and labels over time need no classes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unshuffle.report.canvas import TEN
from unshuffle.report.figures import draw


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def of_colour(png: bytes, colour: str) -> int:
    """Pixels of that colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels(png)[..., :3] - wanted).max(-1) < 4).sum())


@pytest.fixture
def gallery() -> dict[str, np.ndarray]:
    """Two grey pseudo-classes of four samples, of classes 0 and 2."""
    return {
        "images": np.full((2, 4, 6, 6), 0.5),
        "there": np.ones((2, 4), bool),
        "label": np.array([[0] * 4, [2] * 4]),
        "titles": np.array(["3: 10", "9: 12"]),
        "names": np.array(["cat", "dog", "owl"]),
    }


def test_each_class_has_a_colour_for_its_frames(gallery):
    both = draw("gallery", gallery)
    assert min(of_colour(both, TEN[0]), of_colour(both, TEN[1])) > 1000

    gallery["label"][:] = 0
    one = draw("gallery", gallery)
    assert of_colour(one, TEN[0]) > 1.7 * of_colour(both, TEN[0])
    assert of_colour(one, TEN[1]) == 0

    gallery["label"][:] = -1
    assert of_colour(draw("gallery", gallery), TEN[0]) == 0


def test_what_is_not_there_is_not_drawn(gallery):
    whole = of_colour(draw("gallery", gallery), TEN[1])
    gallery["there"][1, 1:] = False
    assert of_colour(draw("gallery", gallery), TEN[1]) < 0.5 * whole


def test_labels_over_time_without_classes_are_one_panel(arrays):
    both = pixels(draw("labellings", arrays["labellings"]))
    nothing = np.full(3, np.nan)
    alone = draw("labellings", {**arrays["labellings"], "classes": nothing, "entropies": np.full((3, 5), np.nan)})

    assert pixels(alone).shape[1] < 0.6 * both.shape[1]
    assert of_colour(alone, TEN[0]) > 100
    assert of_colour(alone, TEN[1]) == 0


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("gallery", {"there": np.ones((2, 3), bool)}),
        ("gallery", {"images": np.ones((2, 4))}),
        ("labellings", {"entropies": np.ones((3, 4))}),
        ("labellings", {"step": np.ones(2)}),
    ],
)
def test_arrays_that_do_not_fit_are_told(kind, change, gallery, arrays):
    whole = gallery if kind == "gallery" else arrays[kind]
    with pytest.raises(ValueError, match=r"must be \("):
        draw(kind, {**whole, **change})
