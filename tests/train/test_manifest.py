"""What a run stores for each sample is matched with data by name: never renumbered, never without a word."""

import gzip
import os
import shutil
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch.utils.data import Subset

from unshuffle.data import ImageFolder, Images
from unshuffle.train import manifest, resuming
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.manifest import BadManifest, DataChanged, Manifest, Reordered

RECIPE = replace(tiny.RECIPE, epochs=2)
NAMES = ["a/0.png", "a/1.png", "b/é.png", "b/\udcff.png", "c/\n'\".png"]


def of(names: list[str], sizes: list[int] | None = None, labels: str = "") -> Manifest:
    return Manifest(len(names), (1, 2, 3), names, np.array(sizes or range(len(names))), labels)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for k in range(20):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "ab"[k % 2] / f"{k:02}.png")
    return folder


def images(root: Path) -> ImageFolder:
    return Images(size=16).open(root)


@pytest.mark.parametrize("names", [NAMES, []])
def test_a_list_comes_back_as_it_was_written(names, tmp_path):
    written = of(names)
    manifest.write(tmp_path, written)
    read = manifest.read(tmp_path)
    assert (read.names, read.samples, read.shape, read.labels) == (names, len(names), (1, 2, 3), "")
    assert read.sizes.tolist() == list(range(len(names)))
    assert manifest.read_head(tmp_path) == (written.digest(), len(names), (1, 2, 3))


def test_samples_without_names_are_counted(tmp_path):
    manifest.write(tmp_path, manifest.describe(tiny.arrays(7), shape=(1, 12, 12)))
    assert manifest.read(tmp_path)[:4] == (7, (1, 12, 12), None, None)


@pytest.mark.parametrize("spoil", ["cut", "flip", "text", "line", "name", "bomb"])
def test_a_damaged_list_is_refused_by_its_name(spoil, tmp_path, monkeypatch):
    path = manifest.write(tmp_path, of(NAMES))
    packed, text = path.read_bytes(), gzip.decompress(path.read_bytes())
    if spoil == "cut":
        path.write_bytes(packed[:-9])
    elif spoil == "flip":
        path.write_bytes(packed[:40] + bytes([packed[40] ^ 4]) + packed[41:])
    elif spoil == "bomb":
        monkeypatch.setattr(manifest, "LARGEST", 100)
    else:
        changed = {"text": b"[]", "line": text + b'["x", 1]\n', "name": text.replace(b"a/1", b"a/2")}
        path.write_bytes(gzip.compress(changed[spoil]))
    with pytest.raises(BadManifest, match=r"samples\.jsonl\.gz.*damaged"):
        manifest.read(tmp_path)


def test_every_change_is_counted_and_named():
    stored, now = of(["a", "b", "c", "d"], [1, 2, 3, 4]), of(["b", "c", "e", "f", "d"], [2, 9, 1, 1, 4])
    change = manifest.compare(stored, now)
    assert change.rows.tolist() == [-1, 0, -1, 4]
    assert str(change) == "1 missing (a), 2 new (e, f), 1 with another size (c)"


def test_an_unknown_size_is_no_change_and_other_labels_are():
    stored, now = of(["a", "b"], [1, 2], "x"), of(["a", "b"], [-1, 2], "x")
    assert not manifest.compare(stored, now)
    assert str(manifest.compare(stored, now._replace(labels="y"))) == "other labels"


def test_names_are_the_same_across_normal_forms_and_never_two_at_once():
    composed, parted = "é.png", unicodedata.normalize("NFD", "é.png")
    assert not manifest.compare(of([composed, "b"], [1, 2]), of([parted, "b"], [1, 2]))
    assert manifest.compare(of([composed, parted]), of([parted])).rows.tolist() == [-1, -1]
    assert manifest.compare(of([composed, parted], [1, 2]), of([parted], [2])).rows.tolist() == [-1, 0]


def test_parts_and_other_orders_list_what_they_hold(photos):
    data = images(photos)
    rows = [3, 1, 7]
    for part in (Subset(data, rows), Reordered(data, rows)):
        listed = manifest.describe(part)
        assert listed.names == [data.names[row] for row in rows]
        assert listed.sizes.tolist() == [os.path.getsize(photos / data.names[row]) for row in rows]
        assert torch.equal(part[2][0], data[7][0])


def rename(photos: Path) -> None:
    (photos / "a/00.png").rename(photos / "a/zz.png")


def resize(photos: Path) -> None:
    with open(photos / "b/03.png", "ab") as file:
        file.write(b"more")


def add(photos: Path) -> None:
    shutil.copy(photos / "a/00.png", photos / "b/new.png")


CHANGES = {
    rename: "1 missing .a/00.png., 1 new .a/zz.png.; 19 of 20",
    resize: "1 with another size .b/03.png.; 19 of 20",
    add: "1 new .b/new.png.; 20 of 20",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_refuses_data_that_have_changed(change, photos, tmp_path):
    tiny.job(tmp_path / "run", recipe=RECIPE, dataset=images(photos))
    change(photos)
    with pytest.raises(DataChanged, match=CHANGES[change]):
        tiny.job(tmp_path / "run", recipe=replace(RECIPE, epochs=3), dataset=images(photos), resume=True)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_run_goes_on_with_moved_data(form, photos, tmp_path):
    tiny.job(tmp_path / "whole", recipe=replace(RECIPE, epochs=3), dataset=images(photos))
    tiny.job(tmp_path / "run", recipe=RECIPE, dataset=images(photos))
    moved = tmp_path / "elsewhere"
    if form == "folder":
        photos.rename(moved)
    else:
        moved = tmp_path / "elsewhere.zip"
        with zipfile.ZipFile(moved, "w") as packed:
            for path in photos.rglob("*.png"):
                packed.write(path, path.relative_to(photos))
        shutil.rmtree(photos)
    assert resuming.changed(tmp_path / "run", images(moved)) is None
    tiny.job(tmp_path / "run", recipe=RECIPE, dataset=images(moved), resume=True)


def test_another_order_is_put_back(photos, tmp_path):
    data = images(photos)
    tiny.job(tmp_path / "run", recipe=RECIPE, dataset=data)
    turned = Reordered(data, list(range(len(data)))[::-1])
    again = resuming.as_stored(tmp_path / "run", turned, turned)
    assert [again.names[k] for k in range(20)] == data.names
    assert torch.equal(again[4][0], data[4][0])


def test_another_machine_goes_on_only_where_that_is_allowed(photos, tmp_path):
    run, data = tmp_path / "run", images(photos)
    tiny.job(run, recipe=RECIPE, dataset=data)
    state = tiny.last(run)
    state["step"] -= 1
    state["machines"][-1]["threads"] = 64  # as if it had been made there
    torch.save(state, run / "checkpoints/last.pt")
    with pytest.raises(resuming.OtherMachine, match=r"threads: 64, now 1.*--allow-different-machine"):
        tiny.job(run, recipe=RECIPE, dataset=data, resume=True)
    train(
        RECIPE, data, out=run, machine=Machine(device="cpu"), resume=True, allow_different_machine=True,
        progress=tiny.Silent(),
    )  # fmt: skip
    assert [known["threads"] for known in tiny.last(run)["machines"]] == [64, 1]


def test_a_list_that_was_cut_short_is_not_resumed_from(photos, tmp_path):
    path, data = manifest.write(tmp_path, manifest.describe(images(photos))), images(photos)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:12])))

    with pytest.raises(BadManifest, match="damaged"):
        resuming.as_stored(tmp_path, data, data)
