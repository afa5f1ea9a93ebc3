"""Ctrl-C at any moment of a command's life: one sentence, status 130, no trace, no half-written file."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TRIES = 60 if os.environ.get("UNSHUFFLE_LONG") else 4
PATIENCE = 600.0
FLAGS = shlex.split(
    "--epochs 3 --batch-size 8 --source.size 16 --patches.rows 2 --patches.columns 2 --patches.gap 2 "
    "--backbone.width 4 --hidden 16 --device cpu --save-every 0"
)
READY = "import sys; sys.argv = ['unshuffle', *sys.argv[1:]]; import unshuffle.__main__ as entry; "
"""As the installed program begins; from the next line on it is our code that runs."""
ENTRY = READY + "entry._interrupts.install(); print('ready', flush=True); sys.exit(entry.main())"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def begin(words: Path, *arguments: object) -> subprocess.Popen:
    """The program in a session of its own, as in a terminal; returns when its first instruction has run."""
    with words.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, *map(str, arguments)], stdout=subprocess.PIPE, stderr=file, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
    assert process.stdout.readline() == "ready\n", words.read_text()
    return process


def end(process: subprocess.Popen) -> int:
    process.stdout.read()
    return process.wait(timeout=PATIENCE)


def duration(words: Path, *arguments: object) -> float:
    began = time.monotonic()
    assert end(begin(words, *arguments)) == 0, words.read_text()
    return time.monotonic() - began


def interrupted(words: Path, after: float, times: int, *arguments: object) -> tuple[int, str]:
    process = begin(words, *arguments)
    time.sleep(after)
    for k in range(times):
        if process.poll() is None:
            time.sleep(0.05 * (k > 0))
            os.killpg(process.pid, signal.SIGINT)
    return end(process), words.read_text()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_training_stops_with_one_sentence_at_any_moment(times, workers, photos, tmp_path):
    words, run = tmp_path / "words", tmp_path / "run"
    call = ["train", "shuffle", "--data", photos, "--out", run, *FLAGS, "--workers", workers]
    whole = duration(words, *call)
    bad = []
    for k in range(TRIES):
        shutil.rmtree(run, ignore_errors=True)
        status, told = interrupted(words, whole * k / TRIES, times, *call)
        said = told.count("unshuffle train: ")
        if (status, said) not in ((130, 1), (0, 0)) or "Traceback" in told or "Exception ignored" in told:
            bad.append((round(whole * k / TRIES, 2), status, told))
        if list(tmp_path.rglob("*.part")):
            bad.append((k, "a half-written file"))
        if (run / "recipe.json").exists() and not (run / "report.html").exists() and k % 3 == 2:
            resumed = begin(words, "train", "--resume", run)
            if end(resumed) != 0:
                bad.append((k, "cannot go on", words.read_text()))
    assert not bad, f"{len(bad)} of {TRIES}: {bad}"


@pytest.mark.parametrize("command", ["recipes", "embed"])
def test_other_commands_stop_with_one_sentence_at_any_moment(command, photos, tmp_path):
    words, run = tmp_path / "words", tmp_path / "run"
    call: list[object] = ["recipes"]
    if command == "embed":
        assert end(begin(words, "train", "shuffle", "--data", photos, "--out", run, *FLAGS)) == 0, words.read_text()
        call = ["embed", run, "--data", photos, "--out", tmp_path / "table.parquet", "--workers", 2]
    whole = duration(words, *call)
    bad = []
    for k in range(TRIES):
        status, told = interrupted(words, whole * k / TRIES, 1, *call)
        said = told.count(f"unshuffle {command}: stopped.")
        if (status, said) not in ((130, 1), (0, 0)) or "Traceback" in told or "Exception ignored" in told:
            bad.append((round(whole * k / TRIES, 2), status, told))
    assert not bad, f"{len(bad)} of {TRIES}: {bad}"
