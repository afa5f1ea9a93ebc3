"""``unshuffle eval --suite``: neighbours, retrieval and transfer on small pictures."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import pictures

from unshuffle.evals import knn_predict
from unshuffle.evals.encoder import load
from unshuffle.report import read_run, tables


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "a"))


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


def test_neighbours_vote_and_are_shown(run, classes, call):
    done = call("eval", run, "--data", classes, "--test", classes, "--suite", "neighbours", "--k", "1", "5")

    assert done.status == 0, done.err
    assert "class, 5 neighbours" in done.out
    results = [line for line in lines(run) if line["record"] == "result"]
    assert {(r["task"], r["layer"]) for r in results} == {
        (f"class, {k}", layer) for k in ("1 neighbour", "5 neighbours") for layer in ("raw", "random", "pretrained")
    }
    encoder = load(run)
    data = encoder.open(classes)
    vectors = encoder.embed([data[i][0] for i in range(16)]).numpy()
    right = knn_predict(vectors, np.array(data.labels), vectors, k=5) == data.labels
    told = {(r["task"], r["layer"]): r["value"] for r in results}
    assert told["class, 5 neighbours", "pretrained"] == right.mean()
    assert told["class, 1 neighbour", "pretrained"] == 1  # each is its own nearest
    with np.load(run / "figures" / "neighbours.npz") as drawn:
        assert drawn["found"].shape == (8, 8, 16, 16, 3)
        assert np.array_equal(drawn["found"][:, 0], drawn["queries"])
        assert drawn["same"][:, 0].all()
        assert set(drawn["names"]) <= {"cat", "dog"}
    assert [line["kind"] for line in lines(run) if line["record"] == "figure"] == ["neighbours", "map"]
    assert (run / "report.html").read_text().count("<img ") >= 2


def test_no_neighbourhoods_are_drawn_where_none_are_wanted(run, classes, call):
    assert call("eval", run, "--data", classes, "--suite", "neighbours", "--shown", "0").status == 0
    assert [line["kind"] for line in lines(run) if line["record"] == "figure"] == ["map"]


def landmarks(folder: Path) -> tuple[Path, Path]:
    """Twelve pictures of three buildings, a building a colour; and who shows what."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = [f"{building}_{i}" for building in ("abbey", "bridge", "tower") for i in range(4)]
    for number, name in enumerate(names):
        pixels = np.zeros((24, 30, 3)) + 200 * np.eye(3)[number // 4]
        Image.fromarray((pixels + rng.integers(0, 40, pixels.shape)).astype(np.uint8)).save(folder / f"{name}.png")
    images, queries = [n for n in names if not n.endswith("0")], [n for n in names if n.endswith("0")]
    gnd = [
        {"bbx": [2, 2, 28, 22], "easy": [3 * q, 3 * q + 1], "hard": [3 * q + 2], "junk": [(3 * q + 4) % 9]}
        for q in range(3)
    ]
    truth = folder.parent / "gnd_rsmall.json.gz"
    truth.write_bytes(gzip.compress(json.dumps({"imlist": images, "qimlist": queries, "gnd": gnd}).encode()))
    return folder, truth


def test_landmarks_are_found_again(run, tmp_path, call):
    folder, truth = landmarks(tmp_path / "jpg")
    done = call("eval", run, "--suite", "retrieval", "--data", folder, "--ground-truth", truth)

    assert done.status == 0, done.err
    results = lines(run)
    assert {(r["task"], r["layer"]) for r in results if r["metric"] == "mAP"} == {
        (f"retrieval, {protocol}", layer)
        for protocol in ("Easy", "Medium", "Hard")
        for layer in ("random", "pretrained")
    }
    assert {(r["data"], r["n"]) for r in results} == {("rsmall", 9)}
    assert all(0 < r["value"] <= 1 for r in results if r["metric"] == "mAP")
    assert "retrieval, Hard" in done.out


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give --ground-truth"),
        (["--ground-truth", "{truth}", "--longest", "32"], "give no longest side"),
        (["--ground-truth", "{truth}", "--scales", "1", "0.5"], "into patches: give one scale"),
        (["--ground-truth", "{truth}", "--data", "{classes}"], "lacks 9 of 9 pictures"),
    ],
)
def test_what_cannot_be_searched_is_told(flags, words, run, classes, tmp_path, call):
    folder, truth = landmarks(tmp_path / "jpg")
    filled = [flag.format(truth=truth, classes=classes) for flag in flags]
    done = call("eval", run, "--suite", "retrieval", "--data", folder, *filled)
    assert done.status == 1
    assert words in " ".join(done.err.split())


def test_transfer_is_one_table_over_data_sets_and_runs(run, trained, classes, tmp_path, call):
    birds = tmp_path / "birds"
    for seed, name in enumerate(("crow", "wren", "owl")):
        pictures(birds / name, 5, seed=10 + seed)
    other = Path(shutil.copytree(trained, tmp_path / "b"))
    done = call(
        "eval", run, "--suite", "transfer", "--data", classes, birds, "--beside", other, "--probes", "knn", "ridge"
    )

    assert done.status == 0, done.err
    found = [table for table in tables(read_run(run).results) if table.title.startswith("transfer")]
    assert [table.title.partition(":")[0] for table in found] == ["transfer, knn probe", "transfer, ridge probe"]
    for table in found:
        assert table.columns == ["layer", classes.name, "birds", "average", "wins"]
        assert [row[0] for row in table.rows] == ["raw", "random", "a", "b"]
        assert table.rows[2][1:] == table.rows[3][1:]  # the same network
    assert "average" in done.out
    assert not (other / "results.jsonl").exists()


def test_layouts_of_transfer_sets_are_named(run, classes, tmp_path, call):
    rng = np.random.default_rng(0)
    digits = {f"x_{part}": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(20) % 4 for part in ("train", "test")}
    (tmp_path / "m").mkdir()
    np.savez(tmp_path / "m" / "mnist.npz", **digits, **labels)
    done = call(
        "eval", run, "--suite", "transfer", "--data", classes, tmp_path / "m", "--kinds", "folder", "mnist",
        "--probes", "knn",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert {r["data"] for r in lines(run)} == {classes.name, "mnist"}


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--suite", "transfer", "--kinds", "mnist", "folder"], "one layout for each --data, 1; got 2"),
        (["--suite", "transfer", "--data", "{classes}", "{classes}"], "two data sets are named"),
        (["--suite", "transfer", "--beside", "{run}"], "runs must have different names"),
        (["--data", "{classes}", "{classes}"], "the suite probes takes one; got 2"),
        (["--suite", "neighbours", "--data", "{classes}", "x"], "the suite neighbours takes one; got 2"),
    ],
)
def test_flags_that_do_not_fit_are_told(flags, words, run, classes, call):
    filled = [flag.format(classes=classes, run=run) for flag in flags]
    done = call("eval", run, "--data", classes, *filled)
    assert done.status == 1
    assert words in " ".join(done.err.split())
