"""``unshuffle eval`` on two textures that anything can tell apart: tables, lines, page, and clear refusals."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import TINY, pictures

import unshuffle
from unshuffle.cli import main
from unshuffle.data import ImageFolder, Images
from unshuffle.evals import supervised
from unshuffle.nets import SmallConv
from unshuffle.recipes import order_digits
from unshuffle.train.progress import Silent

LABELS = ("--labels", "8", "--draws", "2")
LAYERS = ("raw", "random", "pretrained")


def textures(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Two classes of pictures: broad stripes that lie, and broad stripes that stand; noise over both."""
    rng = np.random.default_rng(seed)
    for name, axis in (("lying", 0), ("standing", 1)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            stripes = 160 * (np.indices((20, 20))[axis] // 5 % 2)
            noisy = stripes[..., None] + rng.integers(0, 80, (20, 20, 3))
            Image.fromarray(noisy.astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def stripes(tmp_path_factory) -> Path:
    """Forty pictures."""
    return textures(tmp_path_factory.mktemp("data") / "stripes", 20)


@pytest.fixture(scope="module")
def finished(stripes, tmp_path_factory) -> Path:
    """A run trained on them by the command line; to be copied."""
    out = tmp_path_factory.mktemp("runs") / "stripes-run"
    assert main(["train", "shuffle", "--data", str(stripes), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy, to write into."""
    return Path(shutil.copytree(finished, tmp_path / "a"))


def test_it_prints_tables_and_leaves_lines_pictures_and_a_page(run, stripes, call):
    done = call("eval", run, "--data", stripes, *LABELS)

    assert done.status == 0, done.err
    for words in ("class, linear probe", "class, knn probe", "n = 8", "n = 32", *LAYERS, "chance"):
        assert words in done.out
    assert f"\npage: {run}/report.html\n" in done.out  # on one line, however long, to be copied
    results = [line for line in lines(run) if line["record"] == "result"]
    expected = {
        (f"class, {probe} probe", layer, n, draw): 1
        for probe in ("linear", "knn")
        for layer in LAYERS
        for n, draws in ((8, 2), (32, 1))
        for draw in range(draws)
    }
    pretext = product(("pretext: partial ranks", "pretext: exact order"), ("pretrained", "chance"), [8], [0])
    assert Counter((r["task"], r["layer"], r["n"], r["seed"]) for r in results) == expected | dict.fromkeys(pretext, 1)
    assert {(r["data"], r["split"], r["recipe"]) for r in results} == {("stripes", "test", "a")}
    assert [line["kind"] for line in lines(run) if line["record"] == "figure"] == ["map", "puzzle", "filters"]
    assert sorted(p.name for p in (run / "figures").iterdir()) == ["filters.npz", "map.npz", "puzzles.npz"]
    page = (run / "report.html").read_text()
    assert page.count("<table>") == 4
    assert page.count("<img ") >= 2


def test_a_run_that_predicts_matrices_is_measured_by_their_metrics_and_shows_what_it_looks_at(stripes, tmp_path, call):
    out = tmp_path / "a"
    assert call("train", "deepperm", "--data", stripes, "--out", out, *TINY).status == 0

    done = call("eval", out, "--data", stripes, "--probes", "knn", "--labels", "8", "--draws", "1")

    assert done.status == 0, done.err
    results = [line for line in lines(out) if line.get("task", "").startswith("order: ")]
    assert {(r["metric"], r["layer"]) for r in results} == {
        ("tau", "pretrained"), ("tau", "chance"), ("accuracy", "pretrained"), ("accuracy", "chance"),
        ("similarity", "pretrained"), ("similarity", "chance"), ("similarity", "pretrained, row by row"),
        ("share", "pretrained, row by row"), ("error", "pretrained"),
    }  # fmt: skip
    assert [line["kind"] for line in lines(out) if line["record"] == "figure"] == [
        "map",
        "puzzle",
        "saliency",
        "filters",
    ]
    assert (out / "report.html").read_text().count("<img ") >= 4


def test_a_run_on_sets_is_measured_by_the_order_of_held_out_ones(tmp_path, call):
    """Three shades of grey, weak to strong; a score for each picture puts them in order."""
    data, out = tmp_path / "shades", tmp_path / "a"
    for number, shade in enumerate((20, 120, 220)):
        for i, noise in enumerate(np.random.default_rng(number).integers(0, 30, (16, 16, 16, 1))):
            (data / f"{number}").mkdir(parents=True, exist_ok=True)
            Image.fromarray((shade + noise.repeat(3, -1)).astype(np.uint8)).save(data / f"{number}" / f"{i:02}.png")
    encoder = unshuffle.fit(
        replace(order_digits(), batch_size=10, epochs=30, holdout=0.0, backbone=SmallConv(4)),
        ImageFolder(data, Images(size=16)), out=out, machine=unshuffle.Machine(device="cpu"), progress=Silent(),
    )  # fmt: skip

    done = call("eval", out, "--data", data, "--probes", "knn", "--labels", "8", "--draws", "1")

    assert done.status == 0, done.err
    assert encoder.item_shape == (3, 16, 16)
    pairs = {r["layer"]: r["value"] for r in lines(out) if r.get("task") == "order: pairs"}
    assert pairs["pretrained"] > 0.95 > pairs["chance"]
    assert [line["kind"] for line in lines(out) if line["record"] == "figure"] == ["map", "saliency", "filters"]


def test_what_anything_can_tell_apart_is_told_apart_by_all(run, stripes, call):
    call("eval", run, "--data", stripes, "--probes", "linear", *LABELS)

    best = {r["layer"]: r["value"] for r in lines(run) if r.get("task") == "class, linear probe" and r["n"] == 32}
    assert best.keys() == set(LAYERS)
    assert best["raw"] == 1
    assert min(best.values()) >= 0.75


def test_evaluating_twice_leaves_the_lines_of_once(run, stripes, call):
    def told() -> list[dict]:
        return [{k: v for k, v in line.items() if k not in ("command", "date")} for line in lines(run)]

    call("eval", run, "--data", stripes, *LABELS)
    first = told()
    call("eval", run, "--data", stripes, *LABELS)

    assert told() == first


def test_other_probes_join_what_was_measured_before(run, stripes, call, monkeypatch):
    monkeypatch.setattr("unshuffle.evals.probes.MLP_STEPS", 20)
    call("eval", run, "--data", stripes, "--probes", "knn", *LABELS)
    done = call("eval", run, "--data", stripes, "--probes", "knn", "mlp", "--labels", "8", "--draws", "1")

    assert done.status == 0, done.err
    counts = Counter(line["task"] for line in lines(run) if "task" in line)
    assert counts["class, knn probe"] == counts["class, mlp probe"] == 3 * 2
    assert "class, linear probe" not in counts


def test_a_folder_for_testing_is_tested_on_and_all_else_is_training(run, stripes, tmp_path, call):
    apart = textures(tmp_path / "apart", 3, seed=9)

    done = call("eval", run, "--data", stripes, "--test", apart, "--probes", "knn", *LABELS)

    assert done.status == 0, done.err
    assert {line["n"] for line in lines(run) if line.get("task") == "class, knn probe"} == {8, 40}
    assert {line["n"] for line in lines(run) if line.get("task") == "pretext: exact order"} == {6}


def test_a_data_set_that_is_given_as_a_dot_has_its_name(run, stripes, call, monkeypatch):
    monkeypatch.chdir(stripes)

    done = call("eval", run, "--data", ".", "--probes", "knn", "--labels", "8", "--draws", "1")

    assert done.status == 0, done.err
    assert {line["data"] for line in lines(run) if "data" in line} == {"stripes"}


def test_a_picture_that_cannot_be_read_is_skipped_and_named(run, tmp_path, call):
    data = textures(tmp_path / "torn", 10)
    (data / "lying" / "03.png").write_bytes(b"no picture")

    done = call("eval", run, "--data", data, "--probes", "knn", *LABELS)

    assert done.status == 0, done.err
    assert "1 unreadable: lying/03.png" in " ".join(done.err.split())
    assert call("eval", run, "--data", data, "--max-unreadable", "0").status == 1


def test_one_label_and_more_labels_than_there_are_are_answered(run, stripes, call):
    done = call("eval", run, "--data", stripes, "--labels", "1", "5000", "--draws", "1")

    assert done.status == 0, done.err
    assert {line["n"] for line in lines(run) if line.get("task") == "class, linear probe"} == {1, 32}


@pytest.mark.errors
def test_pictures_without_classes_are_refused(run, tmp_path, call):
    done = call("eval", run, "--data", pictures(tmp_path / "flat", 4))

    assert (done.status, done.out) == (1, "")
    assert "flat has no labels: put the images of each class into a sub-folder of its name" in done.err
    assert not (run / "results.jsonl").exists()


@pytest.mark.errors
def test_a_class_of_one_picture_is_refused(run, tmp_path, call):
    pictures(tmp_path / "few" / "a", 1)
    pictures(tmp_path / "few" / "b", 5)

    done = call("eval", run, "--data", tmp_path / "few")

    assert done.status == 1
    assert "at least two classes with two samples each" in done.err


@pytest.mark.errors
def test_other_classes_for_testing_are_refused_by_name(run, stripes, tmp_path, call):
    pictures(tmp_path / "other" / "lying", 2)
    pictures(tmp_path / "other" / "leaning", 2)

    done = call("eval", run, "--data", stripes, "--test", tmp_path / "other")
    flat = call("eval", run, "--data", stripes, "--test", pictures(tmp_path / "flat", 2))

    assert (done.status, flat.status) == (1, 1)
    assert "must have the same sub-folders; got lying, standing and leaning, lying." in done.err
    assert "got lying, standing and none." in flat.err


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--labels", "0"], "--labels must hold numbers from 1 to 1,000,000,000; got 0"),
        (["--draws", "0"], "--draws must be from 1 to 10,000; got 0"),
        (["--batch-size", "0"], "--batch-size must be from 1 to 1,000,000; got 0"),
        (["--device", "abacus"], "--device abacus cannot be had here"),
    ],
)
def test_a_number_that_cannot_be_is_told_and_nothing_is_written(run, stripes, flags, words, call):
    done = call("eval", run, "--data", stripes, *flags)

    assert done.status == (1 if "--device" in flags else 2)
    assert words in done.err
    assert not (run / "results.jsonl").exists()


@pytest.mark.errors
def test_no_run_and_no_folder_are_told(run, tmp_path, call):
    missing = call("eval", tmp_path, "--data", tmp_path)
    empty = call("eval", run, "--data", tmp_path / "nowhere")

    assert (missing.status, empty.status) == (1, 1)
    assert "no encoder in" in missing.err
    assert "no folder" in empty.err


def test_the_whole_network_trained_on_labels_is_a_row_of_every_table(run, stripes, call, monkeypatch):
    quick = partial(supervised.Supervised, rates=(3e-3,), steps=20)
    monkeypatch.setattr(supervised, "Supervised", quick)

    done = call("eval", run, "--data", stripes, *LABELS, "--supervised", "fresh", "tuned")

    assert done.status == 0, done.err
    results = [line for line in lines(run) if line["record"] == "result" and "probe" in line["task"]]
    keys = Counter((r["task"], r["layer"], r["n"], r["seed"]) for r in results)
    for task, layer in product(("class, linear probe", "class, knn probe"), ("supervised", "fine-tuned")):
        assert [keys[task, layer, n, draw] for n, draw in ((8, 0), (8, 1), (32, 0))] == [1, 1, 1]
    whole = {r["layer"]: r["value"] for r in results if r["n"] == 32}
    assert whole["fine-tuned"] >= 0.5
    assert "supervised" in done.out
    assert "by number of labels" in (run / "report.html").read_text()
