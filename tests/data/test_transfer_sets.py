"""The data sets of transfer, on tiny copies of their real layouts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from held import hold
from PIL import Image
from scipy.io import savemat

from unshuffle import values
from unshuffle.data import Images
from unshuffle.data.named import (
    CIFAR100,
    DTD,
    SUN397,
    Aircraft,
    Caltech101,
    Cars,
    Flowers102,
    Food101,
    Labelled,
    Pets,
)

TINY = Images(size=16)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), 90, np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


def mat(**tables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, tables)
    return buffer.getvalue()


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def photos(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, photo())


def told(data) -> dict[str, str]:
    """Class by file."""
    return {name: data.classes[label] for name, label in zip(data.names, data.labels)}


def aircraft() -> dict[str, bytes]:
    base = "fgvc-aircraft-2013b/data/"
    return {
        f"{base}variants.txt": lines("707-320", "727-200", "Cessna 172"),
        f"{base}images_variant_trainval.txt": lines("0056978 727-200", "1025794 Cessna 172"),
        f"{base}images_variant_test.txt": lines("1514522 707-320"),
        **photos(*(f"{base}images/{i}.jpg" for i in ("0056978", "1025794", "1514522"))),
    }


def dtd() -> dict[str, bytes]:
    return {
        "dtd/labels/train1.txt": lines("banded/banded_0002.jpg"),
        "dtd/labels/val1.txt": lines("dotted/dotted_0001.jpg"),
        "dtd/labels/test1.txt": lines("banded/banded_0005.jpg"),
        "dtd/labels/train2.txt": lines("banded/banded_0005.jpg"),
        **photos(*(f"dtd/images/{x}.jpg" for x in ("banded/banded_0002", "dotted/dotted_0001", "banded/banded_0005"))),
    }


def food() -> dict[str, bytes]:
    return {
        "food-101/meta/classes.txt": lines("apple_pie", "waffles"),
        "food-101/meta/train.txt": lines("waffles/1005649", "apple_pie/14"),
        "food-101/meta/test.txt": lines("apple_pie/7"),
        **photos(*(f"food-101/images/{x}.jpg" for x in ("waffles/1005649", "apple_pie/14", "apple_pie/7"))),
    }


def pets() -> dict[str, bytes]:
    return {
        "annotations/trainval.txt": lines("Abyssinian_100 1 1 1", "american_bulldog_10 2 2 1"),
        "annotations/test.txt": lines("Abyssinian_2 1 1 1"),
        "annotations/list.txt": lines("#Image CLASS-ID SPECIES BREED ID", "Abyssinian_100 1 1 1"),
        **photos(*(f"images/{x}.jpg" for x in ("Abyssinian_100", "american_bulldog_10", "Abyssinian_2"))),
    }


def sun() -> dict[str, bytes]:
    names = ("/a/abbey/sun_1.jpg", "/b/bakery/shop/sun_2.jpg", "/a/abbey/sun_3.jpg")
    return {
        "SUN397/ClassName.txt": lines("/a/abbey", "/b/bakery/shop"),
        "SUN397/Training_01.txt": lines(*names[:2]),
        "SUN397/Testing_01.txt": lines(names[2]),
        **photos(*(f"SUN397{name}" for name in names)),
    }


def flowers() -> dict[str, bytes]:
    return {
        "imagelabels.mat": mat(labels=np.array([[3, 1, 2, 1]])),
        "setid.mat": mat(trnid=np.array([[3]]), valid=np.array([[1]]), tstid=np.array([[2, 4]])),
        **photos(*(f"jpg/image_0000{i}.jpg" for i in range(1, 5))),
    }


def cars() -> dict[str, bytes]:
    names = np.empty((1, 2), object)
    names[0] = ["Acura Integra", "Fiat 500"]

    def rows(*pairs: tuple[str, int]) -> np.ndarray:
        table = np.empty((1, len(pairs)), [(field, object) for field in ("bbox_x1", "class", "fname")])
        table[0] = [(5, number, name) for name, number in pairs]
        return table

    return {
        "devkit/cars_meta.mat": mat(class_names=names),
        "devkit/cars_train_annos.mat": mat(annotations=rows(("00001.jpg", 2), ("00002.jpg", 1))),
        "cars_test_annos_withlabels.mat": mat(annotations=rows(("00001.jpg", 1))),
        **photos("cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg"),
    }


CASES = {
    Aircraft: (
        aircraft,
        {"images/0056978.jpg": "727-200", "images/1025794.jpg": "Cessna 172"},
        {"images/1514522.jpg": "707-320"},
    ),
    DTD: (
        dtd,
        {"images/banded/banded_0002.jpg": "banded", "images/dotted/dotted_0001.jpg": "dotted"},
        {"images/banded/banded_0005.jpg": "banded"},
    ),
    Food101: (
        food,
        {"images/waffles/1005649.jpg": "waffles", "images/apple_pie/14.jpg": "apple_pie"},
        {"images/apple_pie/7.jpg": "apple_pie"},
    ),
    Pets: (
        pets,
        {"images/Abyssinian_100.jpg": "Abyssinian", "images/american_bulldog_10.jpg": "american_bulldog"},
        {"images/Abyssinian_2.jpg": "Abyssinian"},
    ),
    SUN397: (
        sun,
        {"a/abbey/sun_1.jpg": "/a/abbey", "b/bakery/shop/sun_2.jpg": "/b/bakery/shop"},
        {"a/abbey/sun_3.jpg": "/a/abbey"},
    ),
    Flowers102: (
        flowers,
        {"jpg/image_00003.jpg": "2", "jpg/image_00001.jpg": "3"},
        {"jpg/image_00002.jpg": "1", "jpg/image_00004.jpg": "1"},
    ),
    Cars: (
        cars,
        {"cars_train/00001.jpg": "Fiat 500", "cars_train/00002.jpg": "Acura Integra"},
        {"cars_test/00001.jpg": "Acura Integra"},
    ),
}


@pytest.mark.parametrize("place", ["folder", "tar"])
@pytest.mark.parametrize("layout", CASES, ids=lambda layout: layout.__name__)
def test_each_part_holds_its_files_with_their_classes(layout, place, tmp_path):
    content, learnt, asked = CASES[layout]
    root = hold(place, tmp_path, content())

    train, test = layout().open(root, TINY), layout().tested().open(root, TINY)

    assert (told(train), told(test)) == (learnt, asked)
    assert train.classes == test.classes
    assert train[0][0].shape == (3, 16, 16)
    assert layout("test").tested() is None


@pytest.mark.parametrize("layout", [*CASES, Caltech101, CIFAR100], ids=lambda layout: layout.__name__)
def test_each_travels_as_json_with_a_source(layout):
    source = Labelled(TINY, layout())
    assert values.from_json(values.to_json(source)) == source


@pytest.mark.errors
@pytest.mark.parametrize("layout", [*CASES, Caltech101, CIFAR100], ids=lambda layout: layout.__name__)
def test_a_folder_of_something_else_is_refused(layout, tmp_path):
    root = hold("folder", tmp_path, {"a.jpg": photo(), "b.txt": b"", "c.mat": b"", "d.bin": b""})
    with pytest.raises(FileNotFoundError, match=r"is missing\. Expected"):
        layout().open(root, TINY)


def test_thirty_images_of_each_class_of_caltech_are_there_to_learn_from(tmp_path):
    names = [
        f"101_ObjectCategories/{kind}/image_{i:04}.jpg"
        for kind, count in (("anchor", 33), ("wrench", 31), ("BACKGROUND_Google", 5))
        for i in range(count)
    ]
    root = hold("folder", tmp_path, photos(*names))
    train, test = Caltech101().open(root, TINY), Caltech101().tested().open(root, TINY)
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(test.labels).tolist() == [3, 1]
    assert sorted(train.names + test.names) == sorted(names[:64])
    assert set(Caltech101(seed=1).open(root, TINY).names) != set(train.names)


def test_the_fine_labels_of_cifar_100_are_read(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
    records = np.hstack([np.array([[9, 1], [9, 0], [9, 1]], np.uint8), pixels])
    content = {
        "cifar-100-binary/train.bin": records.tobytes(),
        "cifar-100-binary/test.bin": records[:1].tobytes(),
        "cifar-100-binary/fine_label_names.txt": lines("apple", "worm"),
        "cifar-100-binary/coarse_label_names.txt": lines("fruit"),
    }
    root = hold("folder", tmp_path, content)
    data = CIFAR100().open(root, Images(size=32))
    assert (data.classes, data.labels.tolist()) == (("apple", "worm"), [1, 0, 1])
    assert (data[2][0].flatten().numpy() == pixels[2]).all()
    assert len(CIFAR100().tested().open(root, Images(size=32))) == 1


@pytest.mark.errors
def test_torn_tables_are_refused(tmp_path):
    torn = hold("folder", tmp_path / "a", flowers() | {"setid.mat": b"no table"})
    with pytest.raises(ValueError, match=r"setid.mat of .* has no table 'trnid' to be read"):
        Flowers102().open(torn, TINY)
    short = {"c/train.bin": b"1234", "c/fine_label_names.txt": lines("apple")}
    with pytest.raises(ValueError, match="holds no whole records of 3,074 bytes"):
        CIFAR100().open(hold("folder", tmp_path / "b", short), TINY)
    empty = hold("folder", tmp_path / "c", food() | {"food-101/meta/train.txt": b"\n"})
    with pytest.raises(ValueError, match=r"a list of Food-101 in .* is empty"):
        Food101().open(empty, TINY)
