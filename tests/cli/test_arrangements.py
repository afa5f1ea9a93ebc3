"""Sorting and mosaics from the command line, from training to a page with pictures and a solved puzzle."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import pictures

from unshuffle.cli import main

TINY = shlex.split(
    "--epochs 1 --batch-size 4 --source.size 16 --width 2 --hidden 4 --holdout 0.3 --log-every 1 --device cpu"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("photos"), 12)


@pytest.fixture(scope="module")
def mosaic(photos, tmp_path_factory) -> Path:
    """A finished run of mosaics of 2 × 3 tiles."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("mosaic") / "run"
    assert main(["train", "mosaic", "--data", str(photos), "--grid", "2", "3", "--out", str(out), *TINY]) == 0
    return out


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


def test_numbers_are_sorted_without_any_data(call, tmp_path, monkeypatch):
    monkeypatch.setattr("unshuffle.evals.sorting.SIZES", (5, 8))
    run = tmp_path / "run"
    flags = shlex.split("--source.sets 64 --source.size 5 --batch-size 16 --epochs 1 --device cpu --log-every 1")

    trained = call("train", "sort-numbers", "--out", run, *flags)
    measured = call("eval", run)

    assert (trained.status, measured.status) == (0, 0)
    found = [line for line in lines(run) if line["record"] == "result"]
    assert {line["layer"] for line in found} >= {"[0, 1]", "[1000, 1001]"}
    assert {line["n"] for line in found} == {64}
    assert {line["task"].split()[2] for line in found} == {"5", "8"}
    assert [line["kind"] for line in lines(run) if line["record"] == "figure"] == ["heat"]
    assert "step_size" in (run / "metrics.csv").read_text().splitlines()[0]


def test_training_tells_what_was_chosen_from_the_photographs(call, photos, tmp_path):
    done = call("train", "mosaic", "--data", photos, "--grid", "2", "3", "--out", tmp_path / "run", *TINY)

    assert done.status == 0
    assert "tiles: 2 x 3 of 8 x 6 pixels, images of 16 x 18" in done.out
    assert "(12 images looked at)" in done.out
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert recipe["grid"] == [2, 3]
    assert len(recipe["mean"]) == len(recipe["deviation"]) == 3


def test_what_training_held_out_is_measured_on(call, mosaic, photos):
    done = call("eval", mosaic, "--data", photos)

    assert done.status == 0
    found = [line for line in lines(mosaic) if line["record"] == "result"]
    assert {(line["split"], line["n"]) for line in found} == {("held out", 3)}
    assert {line["metric"] for line in found} == {"mse", "accuracy"}
    kinds = [line["kind"] for line in lines(mosaic) if line["record"] == "figure"]
    assert kinds == ["puzzle", "stages", "costs", "heat"]
    assert "could not be drawn" not in (mosaic / "report.html").read_text()


def test_other_images_are_all_measured_on(call, mosaic, tmp_path):
    assert call("eval", mosaic, "--data", pictures(tmp_path / "others", 5, seed=9)).status == 0

    assert {line["n"] for line in lines(mosaic) if line.get("split") == "all"} == {5}


def test_a_puzzle_is_solved_into_a_picture_of_its_own_size(call, mosaic, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "puzzle.png")

    done = call("solve", mosaic, tmp_path / "puzzle.png", "--out", tmp_path / "made" / "solved.png")

    assert done.status == 0
    rows = [line.split() for line in done.out.splitlines() if line.startswith("  ")]
    order = [int(number) - 1 for row in rows for number in row]
    assert [len(row) for row in rows] == [3, 3]
    solved = np.asarray(Image.open(tmp_path / "made" / "solved.png"))
    tiles = [pixels[10 * (k // 3) : 10 * (k // 3) + 10, 10 * (k % 3) : 10 * (k % 3) + 10] for k in order]
    assert np.array_equal(solved, np.block([[[tiles[3 * r + c]] for c in range(3)] for r in range(2)]))


def test_a_run_of_shuffle_solves_puzzles_too(call, trained, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "puzzle.png")

    done = call("solve", trained, tmp_path / "puzzle.png", "--out", tmp_path / "solved.png")

    assert done.status == 0
    assert "2 x 2 tiles put together" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{mosaic}"], "give a PUZZLE"),
        (["{mosaic}", "{nothing}"], "give a shuffled picture, or a folder of tiles"),
        (["{nothing}", "{nothing}"], "no encoder in"),
        (["{mosaic}", "{nothing}", "--out", "solved.txt"], "--out solved.txt must be a picture"),
    ],
)
def test_wrong_calls_of_solve_say_what_to_do(arguments, said, call, mosaic, tmp_path):
    given = [argument.format(mosaic=mosaic, nothing=tmp_path / "nothing.png") for argument in arguments]

    done = call("solve", *given)

    assert done.status == 1
    assert said in done.err


def test_mosaics_cannot_be_measured_without_images(call, mosaic):
    done = call("eval", mosaic)

    assert (done.status, "mosaics are measured on images: give --data" in done.err) == (1, True)


def test_mosaics_are_learnt_through_a_classifier_and_measured_by_it(call, tmp_path):
    """The whole of the implicit experiment, on a few images of CIFAR's layout."""
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (12, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        (tmp_path / name).write_bytes(records.tobytes())
    short = shlex.split("--epochs 1 --batch-size 30 --device cpu --grid 2 2 --log-every 1")
    known, run = tmp_path / "known", tmp_path / "run"

    first = call("train", "classify_cifar10", "--data", tmp_path, "--out", known, "--backbone.width", "2", *short)
    name, width = "mosaic_classify_cifar10_po_u", ["--width", "2", "--hidden", "4"]
    untaught = call("train", name, "--data", tmp_path, "--out", tmp_path / "no", *short, *width)
    wrong = [*short, "--grid", "1", "2"]
    other = call("train", name, "--data", tmp_path, "--out", tmp_path / "no", "--classifier", known, *wrong, *width)
    second = call("train", name, "--data", tmp_path, "--out", run, "--classifier", known, *short, *width)
    measured = call("eval", run, "--data", tmp_path, "--dataset", "cifar10")

    assert (first.status, second.status, measured.status) == (0, 0, 0)
    assert "`classifier` must name a finished run" in untaught.err
    assert other.status == 1
    assert "must know the same images" in other.err
    layers = {line["layer"] for line in lines(run) if line.get("task") == "classified, softly arranged"}
    assert layers == {"max", "min", "pretrained"}
    assert {line["n"] for line in lines(run) if line["record"] == "result"} == {12}
