"""Maps of embeddings: arrays that the report draws, near points near, and no input too small for one."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from unshuffle.evals.maps import map_figure
from unshuffle.report.figures import draw


def clusters(count: int, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Three groups, far apart."""
    labels = np.arange(count) % 3
    return np.random.default_rng(0).normal(size=(count, width)) + 30 * np.eye(3, width)[labels], labels


def arrays_of(folder, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / "figures" / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


def not_blank(kind: str, arrays: dict[str, np.ndarray]) -> bool:
    pixels = np.asarray(Image.open(io.BytesIO(draw(kind, arrays))).convert("RGBA"))
    return min(pixels.shape[:2]) > 100 and bool(pixels[..., 3].std() > 1)


def test_a_map_holds_what_the_report_draws(tmp_path):
    features, labels = clusters(90)

    figure = map_figure(tmp_path, features, labels, name="map-a", title="A map", names=["x", "y", "z"])

    arrays = arrays_of(tmp_path, "map-a")
    assert (figure.kind, figure.file, figure.title) == ("map", "map-a.npz", "A map")
    assert set(arrays) == {"xy", "label", "names", "continuous"}
    assert arrays["xy"].shape == (90, 2)
    assert arrays["names"].tolist() == ["x", "y", "z"]
    assert not arrays["continuous"]
    assert sorted(arrays["label"].tolist()) == sorted(labels.tolist())
    assert not_blank("map", arrays)
    assert list((tmp_path / "figures").iterdir()) == [tmp_path / "figures" / "map-a.npz"]


def test_groups_of_the_embedding_stay_groups_and_keep_their_labels(tmp_path):
    map_figure(tmp_path, *clusters(90), name="map", title="")

    arrays = arrays_of(tmp_path, "map")
    distance = ((arrays["xy"][:, None] - arrays["xy"]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    assert (arrays["label"][distance.argmin(1)] == arrays["label"]).all()


def test_values_are_kept_as_values(tmp_path):
    features, _ = clusters(30)
    pitch = np.linspace(36.5, 83.5, 30)

    figure = map_figure(tmp_path, features, pitch, name="map", title="", continuous=True)

    arrays = arrays_of(tmp_path, "map")
    assert sorted(arrays["label"].tolist()) == pitch.tolist()
    assert "by value" in figure.caption
    assert not_blank("map", arrays)


def test_of_many_rows_some_are_drawn_the_same_every_time(tmp_path):
    features, labels = clusters(60)

    figure = map_figure(tmp_path, features, labels, name="a", title="", most=20)
    map_figure(tmp_path, features, labels, name="b", title="", most=20)

    assert "20 held-out samples" in figure.caption
    assert arrays_of(tmp_path, "a")["xy"].shape == (20, 2)
    assert np.array_equal(arrays_of(tmp_path, "a")["xy"], arrays_of(tmp_path, "b")["xy"])
    assert set(arrays_of(tmp_path, "a")["label"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    "features",
    [np.ones((1, 4)), np.eye(2), np.eye(5), np.eye(6), np.arange(9.0)[:, None], np.ones((9, 4))],
    ids=["one row", "two", "five", "six", "one feature", "all equal"],
)
def test_no_input_is_too_small_or_too_flat_for_a_map(tmp_path, features):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        map_figure(tmp_path, features, np.arange(len(features)), name="map", title="")

    arrays = arrays_of(tmp_path, "map")
    assert arrays["xy"].shape == (len(features), 2)
    assert np.isfinite(arrays["xy"]).all()
    assert not_blank("map", arrays)
