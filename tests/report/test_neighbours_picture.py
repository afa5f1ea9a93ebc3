import io

import numpy as np
import pytest
from PIL import Image

from unshuffle.report.figures import draw
from unshuffle.report.neighbours import draw_neighbours


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def red(png: bytes) -> int:
    """Pixels of the colour of what is wrong."""
    return int((np.abs(pixels(png)[..., :3] - [0xDD, 0x4B, 0x3E]).max(-1) < 4).sum())


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "queries": np.full((2, 6, 6), 0.5),
        "found": np.full((2, 3, 6, 6), 0.5),
        "similarity": rng.random((2, 3)),
        "same": np.ones((2, 3), bool),
        "names": np.array(["cat", "dog"]),
    }


def test_what_is_of_another_class_is_framed_in_red(arrays):
    assert red(draw("neighbours", arrays)) == 0
    arrays["same"][0, 1] = False
    one = red(draw("neighbours", arrays))
    arrays["same"][1] = False
    assert red(draw("neighbours", arrays)) > 3 * one > 0


def test_more_neighbours_make_a_wider_picture_and_more_queries_a_higher_one(arrays):
    height, width = pixels(draw("neighbours", arrays)).shape[:2]
    fewer = {name: part[:, :2] if name in ("found", "similarity", "same") else part for name, part in arrays.items()}
    assert pixels(draw("neighbours", fewer)).shape[1] < width
    assert pixels(draw("neighbours", {name: part[:1] for name, part in arrays.items()})).shape[0] < height


def test_nothing_is_drawn_where_there_is_nothing(arrays):
    arrays["similarity"][:, 2] = np.nan
    full = draw_neighbours(arrays["queries"], arrays["found"], np.ones((2, 3)))
    gaps = draw_neighbours(arrays["queries"], arrays["found"], arrays["similarity"])
    assert (pixels(gaps)[..., 3] > 0).sum() < (pixels(full)[..., 3] > 0).sum()


@pytest.mark.errors
@pytest.mark.parametrize("change", [{"found": np.ones((2, 3, 5, 6))}, {"similarity": np.ones((2, 2))}])
def test_shapes_that_do_not_fit_are_refused(arrays, change):
    with pytest.raises(ValueError, match="neighbours' pictures must be"):
        draw("neighbours", {**arrays, **change})
