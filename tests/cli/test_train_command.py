"""From a folder of pictures to a table of features and a page."""

import csv
import json
import shlex
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from small import TINY

import unshuffle
from unshuffle.cli import main
from unshuffle.train import folder


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "tensorboard" not in p.parts}


def test_a_run_has_all_its_files(trained):
    expected = {
        "recipe.json",
        "samples.jsonl.gz",
        "metrics.csv",
        "checkpoints/last.pt",
        "encoder.json",
        "encoder.safetensors",
        "report.html",
        ".train.lock",
    }
    assert files(trained) == expected


def test_the_recipe_says_how_to_do_it_again(trained, classes):
    written = json.loads((trained / "recipe.json").read_text())
    assert written["title"] == "shuffle"
    assert written["data"] == str(classes)
    assert written["recipe"]["epochs"] == 2
    assert written["recipe"]["backbone"] == {"type": "SmallConv", "width": 4}


def test_every_step_is_logged(trained):
    with open(trained / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(float(r["loss"])) for r in rows)


def test_flags_take_effect(photos, tmp_path, call):
    flags = shlex.split("--patches.rows 3 --optim.lr 0.02 --loss.sigma 0.7 --seed 5 --precision 64-true")
    done = call("train", "shuffle", "--data", photos, "--out", tmp_path / "run", *TINY, *flags)
    assert done.status == 0
    recipe = json.loads((tmp_path / "run/recipe.json").read_text())["recipe"]
    assert (recipe["patches"]["rows"], recipe["patches"]["columns"]) == (3, 2)
    assert (recipe["optim"]["lr"], recipe["loss"]["sigma"], recipe["seed"]) == (0.02, 0.7, 5)
    weights = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["method"]
    assert weights["scorer.score.2.weight"].shape == (6, 16)  # six patches have six scores
    assert weights["scorer.score.2.weight"].dtype == torch.float64
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        assert max(float(row["lr"]) for row in csv.DictReader(file)) == 0.02


def test_the_end_says_what_to_do_next(photos, tmp_path, call):
    done = call("train", "shuffle", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert f"unshuffle eval {tmp_path}/run --data" in done.out
    assert "training: 2 of 2" in done.err


def test_a_run_without_a_name_takes_the_next_free_one(photos, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", "shuffle", "--data", "photos", *TINY).status == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "encoder.json").is_file()


def test_a_finished_run_may_be_resumed(photos, tmp_path, call, monkeypatch):
    """And from another folder: the run remembers where its data are."""
    monkeypatch.chdir(tmp_path)
    call("train", "shuffle", "--data", "photos", "--out", "run", *TINY)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in files(tmp_path / "run") - {"report.html"}}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for resume in (["--resume", str(tmp_path / "run")], [f"--resume={tmp_path / 'run'}"]):
        assert call("train", *resume).status == 0
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


def test_a_recipe_with_data_of_its_own_needs_no_folder(tmp_path, call):
    flags = shlex.split("--epochs 1 --backbone.width 2 --hidden 8 --device cpu")
    assert call("train", "order_digits", "--out", tmp_path / "run", *flags).status == 0
    assert (tmp_path / "run/encoder.json").is_file()


@pytest.mark.parametrize("workers", [0, 2])
def test_embed_writes_what_the_encoder_says(workers, trained, classes, tmp_path, call):
    out = tmp_path / "deep" / "features.parquet"
    done = call("embed", trained, "--data", classes, "--out", out, "--workers", workers, "--batch-size", 5)
    assert done.status == 0
    assert f"16 images x 16 features in {out}. Nothing was skipped." in done.out

    table = pq.read_table(out)
    names = sorted(str(p.relative_to(classes)) for p in classes.rglob("*.png"))
    assert table.column_names == ["name", "label", "features"]
    assert table["name"].to_pylist() == names
    assert table["label"].to_pylist() == [name.split("/")[0] for name in names]
    pictures = [Image.open(classes / name) for name in names]
    expected = unshuffle.load(trained).embed(pictures)
    np.testing.assert_allclose(np.array(table["features"].to_pylist(), np.float32), expected.numpy(), rtol=0, atol=1e-6)


def test_pictures_without_classes_have_no_label_column(trained, photos, tmp_path, call):
    call("embed", trained, "--data", photos, "--out", tmp_path / "f.parquet")
    assert pq.read_table(tmp_path / "f.parquet").column_names == ["name", "features"]


def test_a_picture_that_cannot_be_read_is_left_out_of_the_table(trained, photos, tmp_path, call):
    (photos / "03.png").write_bytes(b"no picture")
    done = call("embed", trained, "--data", photos, "--out", tmp_path / "f.parquet")
    assert done.status == 0
    assert "11 images x 16 features" in done.out
    assert "1 unreadable: 03.png (not an image that can be identified)" in done.out
    assert "03.png" not in pq.read_table(tmp_path / "f.parquet")["name"].to_pylist()


def test_the_page_can_be_written_again(trained, tmp_path, call):
    (tmp_path / "metrics.csv").write_bytes((trained / "metrics.csv").read_bytes())
    done = call("report", tmp_path)
    assert (done.status, done.out) == (0, f"page: {tmp_path}/report.html\n")
    assert "<html" in (tmp_path / "report.html").read_text()


def test_python_and_the_command_learn_the_same(trained, classes, tmp_path):
    stored = folder.read(trained)
    encoder = unshuffle.fit(
        stored.recipe, stored.recipe.source.open(classes), out=tmp_path / "run", machine=stored.machine
    )
    items = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    assert torch.equal(encoder.embed(items), unshuffle.load(trained).embed(items))


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "unshuffle", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"unshuffle {unshuffle.__version__}\n")
    assert main(["--version"]) == 0
