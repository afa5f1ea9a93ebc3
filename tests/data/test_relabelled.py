"""Labels of a table replace those of the data, for one head or several, whoever wrote the table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data.image import Images
from unshuffle.data.loaders import ordered_loader
from unshuffle.data.pixels import Pixels
from unshuffle.data.relabelled import Relabelled, read_heads
from unshuffle.nets import SmallConv
from unshuffle.recipes import supervised
from unshuffle.recipes.sela import changed_view


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def written(folder: Path, text: str) -> Path:
    table = folder / "labels.csv"
    table.write_text(text)
    return table


def test_every_sample_has_a_label_a_head(photos, tmp_path):
    table = written(tmp_path, "file,head,label,confidence\ncat/1.png,0,2,0.5\ncat/1.png,1,0,1\ndog/1.png,0,1,1\n")

    data = Relabelled(Images(size=16), str(table)).open(photos)

    heads = read_heads(table, ["cat/1.png", "cat/2.png", "dog/1.png"])
    assert heads.classes == (3, 1)
    assert heads.labels.tolist() == [[2, 0], [-1, -1], [1, -1]]  # cat/1, cat/2, dog/1
    loaded = next(iter(ordered_loader(data, batch_size=3)))
    assert loaded.raw.label.tolist() == [[2, 0], [1, -1]]  # cat/2 is left out
    assert len(data) == 2


def test_a_table_says_what_a_recipe_learns(photos, tmp_path):
    table = written(tmp_path, "file,head,label\ncat/1.png,0,2\ncat/1.png,1,0\ndog/1.png,0,1\n")
    views = changed_view(16)

    recipe, told = replace(supervised(), labels=str(table), backbone=SmallConv(4), views=views).settle(photos)

    assert recipe.classes == (3, 1)
    assert told[-1] == "labels: of 2 of 3 samples, heads of 3, 1 classes"
    raw = next(iter(ordered_loader(recipe.source.open(photos), batch_size=3))).raw
    plan = recipe.build(tuple(raw.items.shape[1:]))
    assert plan.transform(raw, torch.Generator().manual_seed(0)).label.tolist() == [[2, 0], [1, -1]]


def test_words_of_a_table_from_anywhere_are_numbered(tmp_path):
    table = written(tmp_path, "path,label\nphotos/cat/1.png,tabby\nphotos/dog/1.png,beagle\n")

    heads = read_heads(table, ["cat/1.png", "cat/2.png", "dog/1.png"])

    assert (heads.labels.tolist(), heads.classes) == ([[1], [-1], [0]], (2,))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a.png,2\nb.png,\nc.png,0\n", [2, -1, 0]),
        ("a.png,2.0\nb.png,-1\nc.png,0.0\n", [2, -1, 0]),
        ("a.png,tabby\nb.png,\nc.png,2\n", [1, -1, 0]),
    ],
)
def test_a_sample_may_have_no_label_and_numbers_any_form(tmp_path, text, labels):
    heads = read_heads(written(tmp_path, "file,label\n" + text), ["a.png", "b.png", "c.png"])

    assert heads.labels[:, 0].tolist() == labels
    assert heads.classes == (max(labels) + 1,)


def test_files_that_are_no_samples_are_counted_and_equal_rows_are_one(tmp_path):
    table = written(tmp_path, "file,head,label\na.png,0,1\na.png,0,1\na.png,7,0\nz.png,0,2\n")

    heads = read_heads(table, ["a.png", "b.png"])

    assert heads.labels.tolist() == [[1, 0], [-1, -1]]
    assert (heads.classes, heads.strangers) == ((3, 1), 1)


def test_images_without_names_are_labelled_by_their_numbers(tmp_path):
    table = written(tmp_path, "file,label\n1,4\n0,3\n")
    pixels = np.zeros((3, 3, 8, 8), np.uint8)
    data = Pixels(pixels, np.arange(3), "abc", Images(size=8), name="tiny")
    heads = read_heads(table, data.names)
    data.labels = heads.labels

    assert heads.labels.tolist() == [[3], [4], [-1]]
    assert data[1][1].tolist() == [4]
    assert data.take([2, 0])[1].equal(torch.tensor([[-1], [3]]))


@pytest.mark.errors
def test_tables_that_do_not_fit_say_so(tmp_path):
    with pytest.raises(ValueError, match=r"has no label for any of 1 samples, such as 'a.png': its names are such as"):
        read_heads(written(tmp_path, "file,label\nb.png,1\n"), ["a.png"])
    with pytest.raises(ValueError, match="has no column 'label'; its columns: kind"):
        read_heads(written(tmp_path, "file,kind\na.png,1\n"), ["a.png"])
    with pytest.raises(ValueError, match=r"it is empty\. Give the data"):
        read_heads(written(tmp_path, "file,label\n"), ["a.png"])
    with pytest.raises(ValueError, match=r"two labels of head 0 for 'a\.png': leave one"):
        read_heads(written(tmp_path, "file,label\na.png,1\na.png,2\n"), ["a.png"])
    with pytest.raises(ValueError, match="heads must be whole numbers; got 'first'"):
        read_heads(written(tmp_path, "file,head,label\na.png,first,2\n"), ["a.png"])
    with pytest.raises(ValueError, match="from 0 to below 1,000,000, one output each; got 3 to 100080576"):
        read_heads(written(tmp_path, "file,label\na.png,3\nb.png,100080576\n"), ["a.png"])
    with pytest.raises(ValueError, match="a head without a single label"):
        read_heads(written(tmp_path, "file,label\na.png,\n"), ["a.png"])
    with pytest.raises(FileNotFoundError, match="no table"):
        read_heads(tmp_path / "no.csv", ["a.png"])
