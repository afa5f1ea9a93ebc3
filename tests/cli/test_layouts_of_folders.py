"""Commands on folders with files beside the class folders, split folders, links and classes at a depth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small import TINY, pictures

FEW = ("--labels", "8", "--draws", "1", "--probes", "knn")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A trained run to write into."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def strays(classes, tmp_path) -> Path:
    """Two classes of eight pictures, two pictures beside them, and a link that leads nowhere."""
    data = Path(shutil.copytree(classes, tmp_path / "data"))
    pictures(data, 2, seed=7)
    (data / "gone").symlink_to(tmp_path / "unmounted")
    return data


def counts(run: Path) -> set[int]:
    """Numbers of labelled samples that probes were given."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    return {line["n"] for line in lines if line.get("task") == "class, knn probe"}


def test_eval_measures_the_files_in_class_folders_and_names_the_others(run, strays, call):
    done = call("eval", run, "--data", strays, *FEW)

    assert done.status == 0, done.err
    assert counts(run) == {8, 12}  # of sixteen with a label; four are held out
    assert "no label: 2 of 18 files are in no class folder (00.png, 01.png)" in done.err
    assert "left out: 1 link that leads nowhere (gone)" in done.err


@pytest.mark.parametrize("suite", ["neighbours", "layers", "clustering"])
def test_every_suite_measures_the_rest(run, strays, suite, call):
    flags = ("--probe-epochs", 1, "--crops", "center") if suite == "layers" else ()

    done = call("eval", run, "--data", strays, "--suite", suite, *flags[:2])

    assert done.status == 0, done.err


def test_a_test_folder_may_have_strays_of_its_own(run, strays, classes, call):
    done = call("eval", run, "--data", classes, "--test", strays, *FEW)

    assert done.status == 0, done.err
    assert "no label: 2 of 18 files" in done.err


def test_embed_keeps_the_labels_and_writes_null_for_the_others(run, strays, tmp_path, call):
    done = call("embed", run, "--data", strays, "--out", tmp_path / "f.parquet")

    assert done.status == 0, done.err
    table = pq.read_table(tmp_path / "f.parquet")
    told = dict(zip(table["name"].to_pylist(), table["label"].to_pylist()))
    assert [told[name] for name in ("00.png", "01.png", "cat/00.png", "dog/07.png")] == [None, None, "cat", "dog"]
    assert done.err.count("no label: 2 of 18 files") == 1


def test_training_says_what_is_left_out_and_trains_on_all_that_is_there(strays, tmp_path, call):
    done = call("train", "shuffle", "--data", strays, "--out", tmp_path / "out", *TINY)

    assert done.status == 0, done.err
    assert done.err.count("left out: 1 link that leads nowhere (gone)") == 1


def test_split_folders_are_no_classes(run, classes, tmp_path, call):
    for part in ("train", "val"):
        shutil.copytree(classes, tmp_path / "set" / part)

    done = call("eval", run, "--data", tmp_path / "set", *FEW)

    assert done.status == 0, done.err
    assert "train, val are split folders" in done.err
    assert counts(run) == {8, 26}  # of thirty-two; three of each class and part would be held out, 20 % of sixteen


def test_classes_at_a_depth(run, tmp_path, call):
    for seed, name in enumerate(("a/abbey", "a/arch", "b/bar")):
        pictures(tmp_path / "set" / name, 5, seed=seed)

    done = call("embed", run, "--data", tmp_path / "set", "--class-depth", 2, "--out", tmp_path / "f.parquet")

    assert done.status == 0, done.err
    labels = pq.read_table(tmp_path / "f.parquet")["label"].to_pylist()
    assert labels == ["a/abbey"] * 5 + ["a/arch"] * 5 + ["b/bar"] * 5
    assert call("eval", run, "--data", tmp_path / "set", "--class-depth", 2, *FEW).status == 0


@pytest.mark.parametrize("depth", [None, 2])
def test_an_order_recipe_leaves_files_of_no_class_folder_out(depth, tmp_path, call):
    place = tmp_path / "set" / ("all" if depth else "")
    for seed, name in enumerate(("1-calm", "2-wild")):
        pictures(place / name, 8, seed=seed)
    pictures(tmp_path / "set", 1, seed=5)
    flags = ("--class-depth", 2) if depth else ()
    tiny = ("--epochs", 1, "--batch-size", 8, "--length", 2, "--source.items.size", 16, "--backbone.width", 4,
            "--jitter.crop", 0,
            "--hidden", 8, "--device", "cpu")  # fmt: skip

    done = call("train", "order", "--data", tmp_path / "set", *flags, "--out", tmp_path / "out", *tiny)

    assert done.status == 0, done.err
    assert "no label: 1 of 17 files are in no class folder (00.png)" in done.err


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--class-depth", "0"), "--class-depth must be 1 or more; got 0"),
        (("--class-depth", "2"), "--class-depth 2: .* has fewer than two class folders there; the first file is"),
        (("--class-depth", "1", "--dataset", "dtd"), "--class-depth reads labels from folders: leave it out, or --dat"),
        (("--class-depth", "1", "--label-table", "t.csv"), "leave it out, or --label-table"),
    ],
)
def test_a_depth_that_fits_nothing_is_refused(run, classes, flags, words, tmp_path, call):
    import re

    done = call("embed", run, "--data", classes, *flags, "--out", tmp_path / "f.parquet")

    assert done.status == 1
    assert re.search(words, " ".join(done.err.split())), done.err
