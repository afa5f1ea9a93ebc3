"""Commands on data that lie in archives, have their labels in a table, or are known by name."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small import TINY, pictures

from unshuffle import values
from unshuffle.data.named import Labelled
from unshuffle.data.named.voc import CLASSES

FEW = ("--labels", "8", "--draws", "1", "--probes", "linear")


def packed(folder: Path, kind: str, place: Path) -> Path:
    """The folder's content as a zip, a tar, or two shards."""
    target = place / "packed"
    if kind == "shards":
        target.mkdir(parents=True)
        for number, part in enumerate(sorted(folder.iterdir())):
            shutil.make_archive(str(target / f"{number}"), "tar", folder, part.name)
        return target
    return Path(shutil.make_archive(str(target), kind, folder))


def told(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def two(tmp_path) -> Path:
    """Two classes of eight pictures each."""
    for seed, name in enumerate(("cat", "dog")):
        pictures(tmp_path / "two" / name, 8, seed=seed)
    return tmp_path / "two"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A trained run to write into."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def voc(folder: Path, count: int = 12) -> Path:
    """A tiny copy of PASCAL VOC: cats are dark, dogs are striped, both may be there; one cat is hard to see."""
    rng = np.random.default_rng(0)
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for part in ("train", "val"):
        ids = [f"{part}_{i:02}" for i in range(count)]
        cats, dogs = ([(i // k) % 2 for i in range(count)] for k in (1, 2))
        for name, cat, dog in zip(ids, cats, dogs):
            pixels = rng.integers(0, 60, (24, 24, 3)) + (20 if cat else 160) + dog * 30 * (np.arange(24) % 2)[:, None]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "JPEGImages" / f"{name}.jpg")
        marks = {"cat": [1 if c else -1 for c in cats], "dog": [1 if d else -1 for d in dogs]}
        marks["cat"][0] = 0
        lists = folder / "ImageSets" / "Main"
        (lists / f"{part}.txt").write_text("\n".join(ids))
        for name in CLASSES:
            column = marks.get(name, [-1] * count)
            (lists / f"{name}_{part}.txt").write_text("".join(f"{i} {mark:2}\n" for i, mark in zip(ids, column)))
    (folder / "SegmentationClass").mkdir()
    Image.new("L", (24, 24)).save(folder / "SegmentationClass" / "train_00.png")
    return folder


# ------------------------------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize(("kind", "workers"), [("zip", 2), ("tar", 0), ("shards", 2)])
def test_archives_are_trained_on_and_embedded_as_the_folder_is(kind, workers, trained, classes, tmp_path, call):
    archive, run = packed(classes, kind, tmp_path), tmp_path / "run"

    assert call("train", "shuffle", "--data", archive, "--out", run, *TINY, "--workers", workers).status == 0
    for out, data in ((run, archive), (trained, classes)):
        flags = ("--out", tmp_path / f"{data.name}.parquet", "--workers", workers)
        assert call("embed", out, "--data", data, *flags).status == 0

    assert (run / "encoder.safetensors").read_bytes() == (trained / "encoder.safetensors").read_bytes()
    folder, archived = (pq.read_table(tmp_path / f"{data.name}.parquet") for data in (classes, archive))
    assert archived.drop(["name"]).equals(folder.drop(["name"]))
    assert [name.rpartition(".tar/")[2] for name in archived["name"].to_pylist()] == folder["name"].to_pylist()


def test_a_zip_is_judged_by_the_folders_in_it(run, two, tmp_path, call):
    done = call("eval", run, "--data", packed(two, "zip", tmp_path), *FEW)

    assert done.status == 0, done.err
    assert {line["data"] for line in told(run) if "data" in line} == {"packed"}


def test_a_damaged_entry_is_named_and_skipped(two, tmp_path, call):
    archive = tmp_path / "two.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(two.rglob("*.png")):
            data = path.read_bytes()
            file.writestr(f"two/{path.relative_to(two)}", data[:100] if path.name == "03.png" else data)

    done = call("train", "shuffle", "--data", archive, "--out", tmp_path / "run", *TINY)

    assert done.status == 0, done.err
    text = " ".join(done.err.split())
    assert "2 unreadable: " in text
    assert "skipped two/cat/03.png: " in text


# --------------------------------------------------------------------------------------------------------------- tables


def test_labels_come_from_a_table(run, tmp_path, call):
    data = pictures(tmp_path / "flat", 16)
    table = tmp_path / "kinds.csv"
    table.write_text(
        "file,kind,weight\n" + "".join(f"{i:02},{'even' if i % 2 == 0 else 'odd'},{i}\n" for i in range(16))
    )
    flags = ("--label-table", table, "--label-column", "kind")

    done = call("eval", run, "--data", data, *flags, *FEW)
    assert done.status == 0, done.err
    assert {line["n"] for line in told(run) if line.get("task") == "class, linear probe"} == {8, 12}

    assert call("embed", run, "--data", data, *flags, "--out", tmp_path / "f.parquet").status == 0
    assert pq.read_table(tmp_path / "f.parquet")["label"].to_pylist() == ["even", "odd"] * 8


def test_a_table_that_embed_wrote_is_a_table_of_labels(run, two, tmp_path, call):
    call("embed", run, "--data", two, "--out", tmp_path / "f.parquet")

    done = call("eval", run, "--data", two, "--label-table", tmp_path / "f.parquet", *FEW)

    assert done.status == 0, done.err


@pytest.mark.errors
def test_a_file_without_a_row_is_named_and_counted(run, tmp_path, call):
    (tmp_path / "kinds.csv").write_text("name,kind\n00.png,a\n")

    done = call("eval", run, "--data", pictures(tmp_path / "flat", 4), "--label-table", tmp_path / "kinds.csv")

    assert done.status == 1
    assert "no label for '01.png' and 2 others of 4 files" in " ".join(done.err.split())


# -------------------------------------------------------------------------------------------------------- known by name


def test_voc_is_trained_on_resumed_and_judged_by_areas_on_its_own_test_part(tmp_path, call):
    data, out = voc(tmp_path / "VOC2012"), tmp_path / "run"

    assert call("train", "shuffle", "--data", data, "--dataset", "voc", "--out", out, *TINY).status == 0
    assert call("train", "--resume", out).status == 0
    done = call("eval", out, "--data", data, "--dataset", "voc", "--labels", "8", "--draws", "2")

    assert done.status == 0, done.err
    assert "left out: knn, as the labels are several classes a sample" in " ".join(done.err.split())
    recipe = values.from_json(json.loads((out / "recipe.json").read_text())["recipe"])
    assert isinstance(recipe.source, Labelled)
    assert json.loads((out / "encoder.json").read_text())["source"]["type"] == "Images"
    results = [line for line in told(out) if line.get("task") == "class, linear probe"]
    assert {(line["data"], line["split"]) for line in results} == {("VOC", "val")}
    assert {line["metric"] for line in results} == {"mean AUC", "spread of AUC over 2 classes"}
    best = {line["layer"]: line["value"] for line in results if line["metric"] == "mean AUC" and line["n"] == 12}
    assert best["raw"] > 0.9
    assert "mean AUC ↑ on VOC (val)" in (out / "report.html").read_text()


def test_an_encoder_of_one_data_set_embeds_another(run, tmp_path, call):
    done = call("embed", run, "--data", voc(tmp_path / "voc"), "--dataset", "voc", "--out", tmp_path / "f.parquet")

    assert done.status == 0, done.err
    table = pq.read_table(tmp_path / "f.parquet")
    assert table["name"].to_pylist()[:2] == ["JPEGImages/train_00.jpg", "JPEGImages/train_01.jpg"]
    assert table["label"].to_pylist()[:4] == [[], ["cat"], ["dog"], ["cat", "dog"]]


def notes(folder: Path) -> Path:
    """A tiny copy of NSynth: sixteen notes a part, of four instruments in two families."""
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (folder / f"nsynth-{part}" / "audio").mkdir(parents=True)
        listed = {}
        for i in range(16):
            pitch, instrument = 40 + 2 * i, f"{'bass' if i % 2 else 'flute'}_{part}_{i // 2 % 2:03}"
            key = f"{instrument}-{pitch:03}-100"
            listed[key] = {"instrument_str": instrument, "instrument_family": 0 if i % 2 else 2, "pitch": pitch}
            tone = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(3200) / 16000)
            noisy = 0.5 * tone + 0.01 * rng.standard_normal(3200)
            soundfile.write(folder / f"nsynth-{part}" / "audio" / f"{key}.wav", noisy, 16000)
        (folder / f"nsynth-{part}" / "examples.json").write_text(json.dumps(listed))
    return folder


def test_nsynth_is_asked_for_pitch_as_a_number_and_for_instrument_as_a_class(tmp_path, call):
    data, run = notes(tmp_path / "nsynth"), tmp_path / "run"
    flags = ("--data", data, "--dataset", "nsynth")
    tiny = (
        "--epochs",
        2,
        "--batch-size",
        8,
        "--backbone.width",
        4,
        "--hidden",
        16,
        "--patches.number",
        4,
        "--front.bands",
        20,
    )
    done = call("train", "shuffle-audio", *flags, "--out", run, *tiny, "--device", "cpu")
    assert done.status == 0, done.err
    assert json.loads((run / "recipe.json").read_text())["recipe"]["source"]["items"]["rate"] == 16000

    for target in ("pitch", "instrument"):
        done = call("eval", run, *flags, "--target", target, "--labels", "8", "--draws", "1")
        assert done.status == 0, done.err

    lines = [line for line in told(run) if line["record"] == "result"]
    found = {(line["task"], line["metric"], line["n"]) for line in lines if "pretext" not in line["task"]}
    both = {("pitch", "mse", 16), ("instrument", "accuracy", 12)}
    assert {(task.partition(",")[0], metric, n) for task, metric, n in found if n > 8} == both
    assert "pitch, knn probe" not in {task for task, *_ in found}
    assert {line["data"] for line in lines} == {"NSynth"}
    assert call("embed", run, *flags, "--target", "pitch", "--out", tmp_path / "f.parquet").status == 0
    assert set(pq.read_table(tmp_path / "f.parquet")["label"].to_pylist()) == set(range(40, 72, 2))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split", "val"], "--split needs --dataset"),
        (["--target", "pitch"], "--target needs --dataset"),
        (["--label-column", "kind"], "--label-column needs --label-table"),
        (["--dataset", "voc", "--label-table", "t.csv"], "leave --label-table out"),
        (["--dataset", "voc", "--target", "pitch"], "voc has labels of one kind only"),
        (["--dataset", "voc", "--split", "half"], "`split` must be one of 'train', 'val', 'trainval'; got 'half'"),
        (["--dataset", "nsynth", "--target", "colour"], "`target` must be one of 'family', 'instrument', 'pitch'"),
        (["--dataset", "fsdd"], "SpokenDigits holds sounds, and Images reads images: use a recipe for sounds"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_told(run, two, flags, words, call):
    for command in ("embed", "eval"):
        done = call(command, run, "--data", two, *flags)
        assert done.status == 1
        assert words in " ".join(done.err.split())
