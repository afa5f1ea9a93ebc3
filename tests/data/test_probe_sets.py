"""The data sets on which self-labelling is judged, on tiny copies of their real layouts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from held import hold
from PIL import Image
from scipy.io import savemat

from unshuffle import values
from unshuffle.data import Images
from unshuffle.data.named import SVHN, Labelled, Places205


def mat(**tables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, tables)
    return buffer.getvalue()


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), 90, np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


def house_numbers() -> tuple[dict[str, bytes], np.ndarray]:
    """Three training images, one test image, and the pixels (32, 32, 3, N) of the former."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    train = mat(X=pixels, y=np.array([[10], [1], [9]], np.uint8))
    return {"svhn/train_32x32.mat": train, "svhn/test_32x32.mat": mat(X=pixels[..., :1], y=np.array([[10]]))}, pixels


def scenes(images: str = "") -> dict[str, bytes]:
    names = ("a/abbey/gsun_1.jpg", "b/bar/gsun_2.jpg", "a/abbey/gsun_3.jpg")
    return {
        "places/train_places205.csv": f"{names[0]} 0\n{names[1]} 1\n".encode(),
        "places/val_places205.csv": f"{names[2]} 0\n".encode(),
        **{f"places/{images}{name}": photo() for name in names},
    }


def test_pixels_of_house_numbers_stand_upright_and_class_10_is_the_digit_0(tmp_path):
    content, pixels = house_numbers()

    data = SVHN().open(hold("folder", tmp_path, content), Images(size=32))

    assert (data.classes[0], data.labels.tolist()) == ("0", [0, 1, 9])
    assert all((data[k][0].permute(1, 2, 0).numpy() == pixels[..., k]).all() for k in range(3))
    tested = SVHN().tested()
    assert tested is not None
    assert tested.open(tmp_path, Images(size=32)).labels.tolist() == [0]
    assert (SVHN("extra").tested(), tested.tested()) == (tested, None)


@pytest.mark.parametrize("images", ["", "images256/", "data/vision/torralba/deeplearning/images256/"])
def test_scenes_are_found_beside_their_lists_and_where_they_are_unpacked(images, tmp_path):
    root = hold("folder", tmp_path, scenes(images))

    train, tested = Places205().open(root, Images(size=16)), Places205().tested()

    assert [(name.rpartition("/")[2], label) for name, label in zip(train.names, train.labels)] == [
        ("gsun_1.jpg", 0), ("gsun_2.jpg", 1),
    ]  # fmt: skip
    assert train[0][0].shape == (3, 16, 16)
    assert tested is not None
    assert list(tested.open(root, Images(size=16)).labels) == [0]
    assert tested.tested() is None


@pytest.mark.parametrize("layout", [SVHN, Places205])
def test_each_travels_as_json_with_a_source(layout):
    source = Labelled(Images(size=16), layout())

    assert values.from_json(values.to_json(source)) == source


@pytest.mark.errors
def test_what_is_missing_or_torn_is_refused(tmp_path):
    content, pixels = house_numbers()
    root = hold("folder", tmp_path / "a", {"svhn/train_32x32.mat": mat(X=pixels, y=np.array([[11], [1], [2]]))})
    with pytest.raises(ValueError, match=r"as many `y` from 1 to 10; got \(32, 32, 3, 3\) of uint8 and 3"):
        SVHN().open(root, Images(size=32))
    with pytest.raises(FileNotFoundError, match=r"no SVHN in .*test_32x32\.mat is missing\. Expected train_32x32"):
        SVHN("test").open(root, Images(size=32))
    torn = hold("folder", tmp_path / "b", content | {"svhn/train_32x32.mat": b"no table"})
    with pytest.raises(ValueError, match="has no table 'X' to be read"):
        SVHN().open(torn, Images(size=32))
    places = hold("folder", tmp_path / "c", scenes() | {"places/train_places205.csv": b"a/abbey/gsun_1.jpg\n"})
    with pytest.raises(ValueError, match="must hold a path and a number a line"):
        Places205().open(places, Images(size=16))
    with pytest.raises(FileNotFoundError, match="Places205"):
        Places205().open(root, Images(size=16))
