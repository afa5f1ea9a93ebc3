"""From a folder of sounds to a table of features and a page, on the command line."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import unshuffle
from unshuffle.data import Sounds

soundfile = pytest.importorskip("soundfile")

TINY = shlex.split(
    "--epochs 2 --batch-size 8 --front.bands 20 --patches.number 4 --backbone.width 4 --patch-features 8 --hidden 16 "
    "--log-every 1 --device cpu"
)
CHEAP = shlex.split("--labels 8 --draws 2 --probes knn")


def sounds(folder: Path, count: int, *, hertz: float = 300.0, rate: int = 4000) -> Path:
    """Makes a folder of tones near a pitch, ``00.wav`` and so on, of 0.2 to 0.3 s."""
    rng = np.random.default_rng(round(hertz))
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        time = np.arange(round(rng.uniform(0.2, 0.3) * rate)) / rate
        wave = np.sin(2 * np.pi * hertz * rng.uniform(0.95, 1.05) * time) + 0.1 * rng.standard_normal(len(time))
        soundfile.write(folder / f"{k:02}.wav", 0.4 * wave, rate)
    return folder


@pytest.fixture(scope="module")
def pitches(tmp_path_factory) -> Path:
    """Two classes of ten tones each, and a file that is none."""
    folder = tmp_path_factory.mktemp("pitches")
    for name, hertz in (("high", 1200.0), ("low", 300.0)):
        sounds(folder / name, 10, hertz=hertz)
    (folder / "low" / "broken.wav").write_bytes(b"RIFF and no more")
    return folder


@pytest.mark.parametrize("recipe", ["shuffle-audio", "shuffle-audio-linear"])
def test_a_folder_of_sounds_needs_no_other_flag_and_tells_what_was_chosen(recipe, pitches, tmp_path, call):
    """Rate, length, spectrogram and patches; a file that is no sound is named and skipped."""
    out = tmp_path / "run"

    done = call("train", recipe, "--data", pitches, "--out", out, *TINY)

    assert done.status == 0, done.err
    assert "Chosen from the data:" in done.out
    assert "sample rate: 4000 Hz, that of 20 of the 20 files looked at (of 21)" in done.out
    assert "length: 0.2" in done.out
    assert "spectrogram: 20 " in done.out
    assert "patches: 4 of 1 x 5 x " in done.out
    assert "1 unreadable: low/broken.wav (not a sound that can be read: " in done.err
    stored = json.loads((out / "recipe.json").read_text())
    assert stored["title"] == recipe
    assert stored["recipe"]["source"]["rate"] == stored["recipe"]["front"]["rate"] == 4000
    assert stored["recipe"]["source"]["seconds"] == unshuffle.load(out).source.seconds
    assert stored["recipe"]["front"]["hop"] == pytest.approx(stored["recipe"]["source"]["seconds"] / 50)
    encoder = json.loads((out / "encoder.json").read_text())
    assert encoder["transform"]["front"] == stored["recipe"]["front"]
    assert encoder["source"] == stored["recipe"]["source"]


@pytest.fixture(scope="module")
def run(pitches, tmp_path_factory) -> Path:
    from unshuffle.cli import main

    out = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "shuffle-audio", "--data", str(pitches), "--out", str(out), *TINY]) == 0
    return out


def test_embed_writes_what_the_encoder_says(run, pitches, tmp_path, call):
    done = call("embed", run, "--data", pitches, "--out", tmp_path / "f.parquet")

    assert done.status == 0, done.err
    assert f"20 sounds x 16 features in {tmp_path}/f.parquet. 1 unreadable: low/broken.wav" in done.out
    table = pq.read_table(tmp_path / "f.parquet")
    names = sorted(str(p.relative_to(pitches)) for p in pitches.rglob("[0-9]*.wav"))
    assert table["name"].to_pylist() == names
    assert table["label"].to_pylist() == [name.split("/")[0] for name in names]
    waves = [soundfile.read(pitches / name, dtype="float32")[0] for name in names]
    expected = unshuffle.load(run).embed(waves)
    np.testing.assert_allclose(np.array(table["features"].to_pylist(), np.float32), expected.numpy(), rtol=0, atol=1e-6)


def test_eval_compares_spectrograms_untrained_and_trained_and_shows_puzzles(run, pitches, call):
    done = call("eval", run, "--data", pitches, *CHEAP)

    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    assert {line["layer"] for line in lines if line.get("task") == "class, knn probe"} == {
        "raw", "random", "pretrained",
    }  # fmt: skip
    # Two pitches are told apart by their spectrograms, which waveforms of any phase would not allow.
    assert max(line["value"] for line in lines if line.get("layer") == "raw") == 1
    assert "pretext: partial ranks" in {line.get("task") for line in lines}
    with np.load(run / "figures" / "puzzles.npz") as shown:
        assert bool(shown["spectrogram"])
        assert shown["truth"].shape[1] == 20
    assert (run / "report.html").read_text().count("<img ") >= 3


def test_a_run_goes_on_with_the_rate_that_was_chosen_and_not_with_other_sounds(pitches, tmp_path, call):
    whole, more = tmp_path / "whole", sounds(tmp_path / "more", 12)
    assert call("train", "shuffle-audio", "--data", more, "--out", whole, *TINY).status == 0
    before = (whole / "encoder.safetensors").read_bytes()

    assert call("train", "--resume", whole).status == 0
    assert (whole / "encoder.safetensors").read_bytes() == before
    assert json.loads((whole / "recipe.json").read_text())["recipe"]["source"]["rate"] == 4000

    for path in more.iterdir():  # the same number of other sounds, of which another rate would be chosen
        wave, rate = soundfile.read(path)
        soundfile.write(path, np.repeat(wave, 2), 2 * rate)
    refused = call("train", "--resume", whole)
    assert refused.status == 1
    assert "12 with another size" in refused.err


def test_python_learns_the_same_from_a_source_that_is_left_open(run, pitches, tmp_path):
    from unshuffle.train import folder

    stored = folder.read(run)
    left_open = unshuffle.recipes.shuffle_audio()
    recipe = stored.recipe.__class__(
        **{**vars(stored.recipe), "source": Sounds(), "front": left_open.front.__class__(bands=20)}
    )

    encoder = unshuffle.fit(recipe, Sounds().open(pitches), out=tmp_path / "run", machine=stored.machine)

    waves = np.random.default_rng(0).standard_normal((2, *encoder.item_shape)).astype(np.float32)
    assert encoder.embed(waves).equal(unshuffle.load(run).embed(waves))
    assert folder.read(tmp_path / "run").recipe.source == stored.recipe.source


def test_every_step_is_logged(run):
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    assert [int(r["step"]) for r in rows if r["split"] == "train"] == [1, 2, 3, 4]
    assert all(np.isfinite(float(r["loss"])) for r in rows)


@pytest.mark.errors
def test_a_missing_decoder_is_named_with_the_command_that_installs_it(pitches, tmp_path, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)

    for flags in ([], ["--source.rate", "4000", "--source.seconds", "0.2"]):
        done = call("train", "shuffle-audio", "--data", pitches, "--out", tmp_path / "run", *flags)

        assert (done.status, done.out) == (1, "")
        assert done.err == "unshuffle train: needs 'soundfile': pip install soundfile\n"


@pytest.mark.errors
def test_what_cannot_be_is_told_before_a_run_is_made(pitches, tmp_path, call):
    out = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    for flags, words in [
        (["--data", tmp_path / "empty"], "no sound in"),
        (["--data", pitches, "--front.rate", "8000"], "`rate` must be that of the source, 4000 Hz; got 8000 Hz"),
        (["--data", pitches, "--front.highest", "3000"], "half the sample rate at most, 2000 Hz; got 3000 Hz"),
        (["--data", pitches, "--patches.number", "90"], "too small for 90 bands"),
    ]:
        done = call("train", "shuffle-audio", "--out", out, *flags)
        assert (done.status, done.out) == (1, "")
        assert words in " ".join(done.err.split())
        assert not out.exists()
    assert "needs --data FOLDER, the folder that holds your sounds" in call("train", "shuffle-audio").err
