"""Contact sheets: as many pictures as were given, each under the last, and nothing that does not fit."""

import io

import numpy as np
import pytest
from PIL import Image

from unshuffle.report.sheet import draw_sheet


def drawn(count: int, *, heat: bool = False, colour: bool = True) -> np.ndarray:
    images = np.linspace(0.2, 1, count)[:, None, None] * np.ones((count, 8, 8))
    images = images[..., None].repeat(3, -1) if colour else images
    maps = np.ones((count, 8, 8)) if heat else None
    png = draw_sheet(images, [f"{'long/' * 9}{k}.png" for k in range(count)], np.arange(count) / 3, heat=maps)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_eight_pictures_stand_in_a_row_and_the_next_ones_below():
    one, eight, nine = (drawn(count) for count in (1, 8, 9))

    assert eight.shape[1] > 5 * one.shape[1]
    assert nine.shape[1] == pytest.approx(eight.shape[1], abs=20)
    assert nine.shape[0] > 1.6 * eight.shape[0]


def test_maps_stand_below_their_pictures():
    plain, mapped = drawn(3), drawn(3, heat=True)

    assert mapped.shape[0] > 1.5 * plain.shape[0]
    opaque = mapped[..., 3] == 255
    colourful = np.ptp(mapped[..., :3].astype(int), axis=-1) > 40
    assert (opaque & colourful).mean() > 0.2  # heat is drawn in colours; the pictures are grey
    assert (colourful & (plain[..., 3].mean() > 0)).any()


@pytest.mark.parametrize("colour", [True, False])
def test_grey_pictures_and_coloured_ones_are_drawn(colour):
    assert drawn(2, colour=colour)[..., 3].max() == 255


@pytest.mark.errors
@pytest.mark.parametrize(("pictures", "names", "maps"), [(0, 0, None), (2, 1, None), (2, 2, 3)])
def test_numbers_that_differ_are_refused(pictures, names, maps):
    heat = None if maps is None else np.zeros((maps, 8, 8))

    with pytest.raises(ValueError, match="as many names, scores and maps as pictures, one at least"):
        draw_sheet(np.zeros((pictures, 8, 8)), ["a"] * names, np.zeros(pictures), heat=heat)
