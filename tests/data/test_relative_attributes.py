"""Outdoor scenes and public figures on tiny copies of their published layout; damaged annotations are refused."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from held import hold
from PIL import Image
from scipy.io import savemat

from unshuffle.data import Images
from unshuffle.data.loaders import Unreadable
from unshuffle.data.named import OSR, Labelled, PubFig
from unshuffle.data.named.relative import read_facts

TINY = Images(size=16)
NAMES = ["coast_1.jpg", "coast_2.jpg", "forest_1.jpg", "street_1.jpg", "street_2.jpg"]


def cells(*texts: str) -> np.ndarray:
    """A column of texts as MATLAB's cells."""
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column


def facts(**changed: Any) -> dict[str, Any]:
    """Five images of three categories; coast and street tie in ``natural``."""
    return {
        "im_names": cells(*NAMES), "class_labels": np.array([[1], [1], [2], [3], [3]], dtype=np.uint8),
        "used_for_training": np.array([[1], [0], [1], [1], [0]], dtype=np.uint8),
        "attribute_names": cells("natural", "large-objects").T,
        "relative_ordering": np.array([[2, 5, 2], [1, 2, 3]], dtype=np.uint8),
        "class_names": cells("coast", "forest", "street").T, "feat": np.zeros((5, 4)),
    } | changed  # fmt: skip


def mat(**changed: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {name: value for name, value in facts(**changed).items() if value is not None}, do_compression=True)
    return buffer.getvalue()


def photo(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "jpeg")
    return buffer.getvalue()


def published(folder: str = "osr") -> dict[str, bytes]:
    images = {f"relative_attributes/{folder}/spatial/{name}": photo(i) for i, name in enumerate(NAMES)}
    return {f"relative_attributes/{folder}/data.mat": mat(), **images}


@pytest.mark.parametrize("place", ["folder", "zip", "tar"])
def test_images_of_a_part_come_with_the_strength_of_their_category(place, tmp_path):
    root = hold(place, tmp_path, published())

    train, test = (OSR(split, "natural").open(root, TINY) for split in ("train", "test"))

    assert [name.rpartition("/")[2] for name in train.names] == ["coast_1.jpg", "forest_1.jpg", "street_1.jpg"]
    assert np.asarray(train.labels).tolist() == [2, 5, 2]
    assert [name.rpartition("/")[2] for name in test.names] == ["coast_2.jpg", "street_2.jpg"]
    item, strength = test[1]
    assert (item.shape, float(strength)) == ((3, 16, 16), 2)


@pytest.mark.parametrize("target", ["large-objects", "Large Objects", "large_objects"])
def test_attributes_are_known_however_they_are_written(target, tmp_path):
    data = OSR(target=target).open(hold("folder", tmp_path, published()), TINY)

    assert np.asarray(data.labels).tolist() == [1, 2, 3]


def test_both_data_sets_may_lie_side_by_side(tmp_path):
    root = hold("folder", tmp_path, published("osr") | published("pubfig"))

    data = Labelled(TINY, PubFig(target="natural")).open(root)

    assert data.name == "PubFig"
    assert len(data) == 3
    assert PubFig().tested() == PubFig(split="test")
    assert OSR(split="test").tested() is None


def test_an_image_that_is_missing_is_unreadable(tmp_path):
    content = published()
    del content["relative_attributes/osr/spatial/forest_1.jpg"]

    data = OSR().open(hold("folder", tmp_path, content), TINY)

    assert isinstance(data[1], Unreadable)
    assert data[1].reason == "No such file or directory"


@pytest.mark.errors
def test_an_unknown_attribute_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"OSR has no attribute 'smiling' \(--target\); it has natural, large-objects"):
        OSR(target="smiling").open(hold("folder", tmp_path, published()), TINY)


@pytest.mark.errors
def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no OSR in .*: osr/data\.mat is missing"):
        OSR().open(hold("folder", tmp_path, {"a.jpg": photo(0)}), TINY)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"used_for_training": None},
            "cannot be read as the annotations of relative attributes: .*'used_for_training'",
        ),
        ({"class_labels": np.array([[1], [2]])}, "does not fit itself: 5 images"),
        ({"class_labels": np.array([[1], [1], [2], [3], [4]])}, "does not fit itself"),
        ({"class_labels": np.array([[0], [1], [2], [3], [3]])}, "does not fit itself"),
        ({"class_labels": np.array([[1], [1], [2], [3], [np.nan]])}, "does not fit itself"),
        ({"relative_ordering": np.ones((3, 3))}, "orders of shape \\(3, 3\\)"),
        ({"relative_ordering": np.full((2, 3), np.nan)}, "does not fit itself"),
        ({"relative_ordering": cells("a", "b")}, "cannot be read as"),
        ({"im_names": np.zeros((5, 0))}, "does not fit itself: 0 images"),
    ],
)
def test_annotations_whose_parts_do_not_fit_are_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        read_facts(io.BytesIO(mat(**changed)), "data.mat")


@pytest.mark.errors
@pytest.mark.parametrize("damage", ["empty", "cut short", "no mat", "hdf5", *range(12)])
def test_damaged_annotations_are_refused_and_nothing_else_happens(damage):
    """Bytes changed at random are read as something that fits itself, or are refused with a message."""
    whole = mat()
    rng = np.random.default_rng(damage if isinstance(damage, int) else 0)
    spoilt = bytearray(whole)
    spoilt[int(rng.integers(128, len(whole)))] ^= int(rng.integers(1, 256))
    content = {
        "empty": b"",
        "cut short": whole[:300],
        "no mat": b"hello" * 99,
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(600),
    }

    refused = pytest.raises(ValueError, match=r"^data\.mat ")
    with nullcontext() if isinstance(damage, int) else refused:
        try:
            found = read_facts(io.BytesIO(content.get(damage, bytes(spoilt))), "data.mat")
            assert len(found.images) == len(found.category) == len(found.training)
        except ValueError:
            if not isinstance(damage, int):
                raise
