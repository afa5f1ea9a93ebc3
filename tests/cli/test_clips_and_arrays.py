"""From a folder of clips, or a file of arrays, to a table of features and a page, on the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import unshuffle
from moving import moving_square, write_clip
from unshuffle.data import Clips, Series, Slices

TINY = shlex.split("--epochs 2 --batch-size 8 --backbone.width 4 --patch-features 8 --hidden 16 --log-every 1")
CHEAP = shlex.split("--labels 8 --draws 2 --probes knn")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Two classes of eight clips of 10 frames each, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for k in range(8):
        write_clip(folder / "above" / f"{k}.mp4", moving_square(10, side=28, row=k % 3, seed=k))
        write_clip(folder / "below" / f"{k}.webm", moving_square(10, side=28, row=14 + k % 3, seed=k))
    (folder / "below" / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    """Two classes of twelve series of three channels, one of which is spoilt."""
    rng = np.random.default_rng(0)
    time, slow = np.linspace(0, 1, 60), np.arange(24) % 2 == 0
    turns = np.where(slow, 3, 9)[:, None, None]
    x = np.sin(2 * np.pi * turns * time + rng.uniform(0, 6, (24, 3, 1))) * (0.2 + time)
    x[5, 1, 7] = np.nan
    path = tmp_path_factory.mktemp("arrays") / "waves.npz"
    np.savez(path, x=x, y=np.where(slow, "slow", "fast"))
    return path


@pytest.fixture
def runs(clips, arrays, tmp_path, call) -> dict[str, tuple[Path, str]]:
    """A run of each, with what it said."""
    found = {}
    for recipe, data in (("shuffle-video", clips), ("shuffle-array", arrays)):
        done = call("train", recipe, "--data", data, "--out", tmp_path / recipe, *TINY)
        assert done.status == 0, done.err
        found[recipe] = (tmp_path / recipe, done.out + done.err)
    return found


def test_no_flag_is_needed_and_what_was_chosen_is_told_and_kept(runs):
    out, said = runs["shuffle-video"]
    assert "frames: 10; the clips have 10 to 10 (16 of 17 files looked at)" in said
    assert "size: 24 pixels; the clips' short sides have 28 to 28" in said
    assert "patches: 10 of 1 x 3 x 24 x 24" in said
    assert "1 unreadable: below/broken.mp4 (not a video that can be read: " in said
    encoder = unshuffle.load(out)
    assert encoder.source == Clips(frames=10, size=24)
    assert encoder.transform.patches == Slices("time", 10)
    assert json.loads((out / "recipe.json").read_text())["recipe"]["patches"]["number"] == 10

    out, said = runs["shuffle-array"]
    assert "items: 3 x 1 x 60, channels x rows x time (24 of 24 looked at)" in said
    assert "samples: 'x', labels: 'y', 2 classes" in said
    assert "patches: 10 of 3 x 1 x 6" in said
    assert "1 unreadable: x[5] (it holds NaN or infinite values, the first at entry 7 of its time)" in said
    assert unshuffle.load(out).source == Series(shape=(3, 1, 60))


def test_features_labels_and_names_are_written(runs, clips, arrays, tmp_path, call):
    for recipe, data, count in (("shuffle-video", clips, 16), ("shuffle-array", arrays, 23)):
        done = call("embed", runs[recipe][0], "--data", data, "--out", tmp_path / "f.parquet")
        assert done.status == 0, done.err
        table = pq.read_table(tmp_path / "f.parquet")
        assert len(table) == count
        assert len(set(table["label"].to_pylist())) == 2
    assert table["name"][0].as_py() == "x[0]"
    assert "23 arrays x 16 features in" in done.out


def test_the_page_shows_puzzles_and_the_map(runs, clips, arrays, call):
    for recipe, data, kind in (("shuffle-video", clips, "puzzle"), ("shuffle-array", arrays, "series")):
        out = runs[recipe][0]
        done = call("eval", out, "--data", data, *CHEAP)
        assert done.status == 0, done.err
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert [line["kind"] for line in lines if line["record"] == "figure"][:2] == ["map", kind]
        assert {"pretext: partial ranks", "class, knn probe"} <= {line.get("task") for line in lines}
        assert {line["layer"] for line in lines if line["record"] == "result"} >= {"raw", "random", "pretrained"}
        assert "data:image/png" in (out / "report.html").read_text()


def test_samples_in_memory_are_embedded_as_those_in_files(runs, arrays, clips):
    encoder = unshuffle.load(runs["shuffle-array"][0])
    with np.load(arrays) as stored:
        raw = stored["x"][:4]
    expected = encoder.embed(torch.stack([encoder.open(arrays)[k][0] for k in range(4)]))
    torch.testing.assert_close(encoder.embed(list(raw)), expected)
    encoder = unshuffle.load(runs["shuffle-video"][0])
    clip = torch.from_numpy(moving_square(30, side=40)).permute(0, 3, 1, 2)
    assert encoder.embed([clip, clip]).shape == (2, 16)


@pytest.mark.parametrize(
    ("flags", "number", "shape"),
    [
        ("--patches.axis channels", 3, (1, 1, 60)),
        ("--patches.number 7 --patches.remainder pad", 7, (3, 1, 9)),
        ("--patches.axis 2 --patches.gap 2", 10, (3, 1, 4)),
    ],
)
def test_the_flags_of_slices_take_effect(flags, number, shape, arrays, tmp_path, call):
    done = call("train", "shuffle-array", "--data", arrays, "--out", tmp_path / "run", *TINY, *shlex.split(flags))

    assert done.status == 0, done.err
    encoder = unshuffle.load(tmp_path / "run")
    assert encoder.transform.patches.count == number
    assert encoder.net_value.patch_shape == shape


def test_series_of_several_lengths_say_what_to_do(tmp_path, call):
    (tmp_path / "data").mkdir()
    for k in range(6):
        np.save(tmp_path / "data" / f"{k}.npy", np.sin(np.arange(40 + k)))

    refused = call("train", "shuffle-array", "--data", tmp_path / "data", "--out", tmp_path / "run", *TINY)
    flags = shlex.split("--source.lengths crop --batch-size 4")
    done = call("train", "shuffle-array", "--data", tmp_path / "data", "--out", tmp_path / "run", *TINY, *flags)

    assert refused.status == 1
    assert "the samples are 40 to 45 entries long: crop them" in refused.err
    assert done.status == 0, done.err
    assert "items: 1 x 1 x 40" in done.out
