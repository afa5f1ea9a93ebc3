"""A run that was stopped anywhere and goes on ends bit for bit like one that was never stopped."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from unshuffle.cli import main
from unshuffle.methods import ShuffleToLearn

LONG = replace(tiny.RECIPE, epochs=20)
"""80 steps, of which 60 rows tell: every second one, and the end of every epoch."""
FLAGS = shlex.split(
    "--epochs 40 --batch-size 8 --source.size 16 --source.smallest 8 --patches.rows 2 --patches.columns 2 "
    "--patches.gap 2 --backbone.width 4 --patch-features 8 --hidden 16 --log-every 1 --save-every 0 --device cpu"
)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """Writes no checkpoint but the last: saving must not matter either."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    tiny.job(out, save_every=1e9)
    return tiny.remains(out)


@pytest.fixture(scope="module")
def long_never_stopped(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("long") / "run"
    tiny.job(out, recipe=LONG, save_every=1e9)
    return tiny.remains(out)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def command_never_stopped(photos, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("command") / "run"
    assert main(["train", "shuffle", "--data", str(photos), "--out", str(out), *FLAGS]) == 0
    return tiny.remains(out)


class Crash(Exception):
    """Power failure, out of memory, a bug: anything that the engine does not expect."""


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the ``step``-th training step raise."""
    whole, count = ShuffleToLearn.step, 0

    def broken(self, batch):
        nonlocal count
        count += self.training
        if count == step and self.training:
            raise Crash
        return whole(self, batch)

    monkeypatch.setattr(ShuffleToLearn, "step", broken)


def start(words: Path, *arguments: str) -> subprocess.Popen:
    """A process in a session of its own, as in a terminal. A file takes its words: orphans would hold a pipe open."""
    with words.open("w") as file:
        return subprocess.Popen(
            [sys.executable, *arguments], env=tiny.environment(), start_new_session=True, stdout=file, stderr=file
        )


def wait_for_rows(out: Path, count: int, process: subprocess.Popen, words: Path) -> None:
    """Waits until the run has logged so many rows."""
    deadline = time.monotonic() + tiny.PATIENCE
    while len(tiny.rows(out)) < count:
        assert process.poll() is None, f"the run ended by itself with status {process.returncode}: {words.read_text()}"
        assert time.monotonic() < deadline, "no progress for minutes"
        time.sleep(0.005)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 2, 5, 7, tiny.STEPS])
def test_a_run_that_crashed_ends_as_if_it_had_not(step, workers, never_stopped, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        crash_at(step, patched)
        with pytest.raises(Crash):
            tiny.job(tmp_path / "run", workers=workers)
    assert (tmp_path / "run/checkpoints/last.pt").exists() == (step > 1)

    tiny.job(tmp_path / "run", workers=workers, resume=True)

    assert tiny.equal(tiny.remains(tmp_path / "run"), never_stopped)


def test_two_crashes_and_another_number_of_workers_change_nothing(never_stopped, tmp_path, monkeypatch):
    for step, workers in ((4, 2), (5, 0)):
        with monkeypatch.context() as patched:
            crash_at(step, patched)
            with pytest.raises(Crash):
                tiny.job(tmp_path / "run", workers=workers, resume=step > 4)

    tiny.job(tmp_path / "run", resume=True)

    assert tiny.equal(tiny.remains(tmp_path / "run"), never_stopped)


def test_what_was_logged_after_the_last_checkpoint_is_logged_again_once(never_stopped, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        crash_at(4, patched)
        with pytest.raises(Crash):
            tiny.job(run)
    shutil.copytree(run / "checkpoints", tmp_path / "after 3 steps")
    with monkeypatch.context() as patched:
        crash_at(8, patched)
        with pytest.raises(Crash):
            tiny.job(run, resume=True)
    assert int(tiny.rows(run)[-1]["step"]) == 10
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "after 3 steps", run / "checkpoints")

    tiny.job(run, resume=True)

    assert tiny.equal(tiny.remains(run), never_stopped)


def test_a_finished_run_that_is_resumed_stays_as_it_is(never_stopped, tmp_path):
    for resume in (False, True, True):
        tiny.job(tmp_path / "run", resume=resume)
    assert tiny.equal(tiny.remains(tmp_path / "run"), never_stopped)


def test_the_draws_of_the_data_set_matter(never_stopped, tmp_path):
    """Else the tests above would say nothing about them."""
    tiny.job(tmp_path / "run", dataset=tiny.arrays())
    assert not tiny.equal(tiny.remains(tmp_path / "run").encoder, never_stopped.encoder)


@pytest.mark.parametrize(
    ("rows", "save_every", "workers"), [(3, "1e9", 0), (20, "0", 0), (50, "0", 2)], ids=["no-checkpoint", "20", "50"]
)
def test_a_killed_script_goes_on(rows, save_every, workers, long_never_stopped, tmp_path):
    run, words = tmp_path / "killed", tmp_path / "words"
    arguments = [str(run), "--epochs", str(LONG.epochs), "--workers", str(workers), "--save-every", save_every]
    process = start(words, tiny.__file__, *arguments)
    wait_for_rows(run, rows, process, words)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (run / "checkpoints/last.pt").exists() == (save_every == "0")
    assert not (run / "encoder.json").exists()

    tiny.job(run, recipe=LONG, workers=workers, save_every=1e9, resume=True)

    assert tiny.equal(tiny.remains(run), long_never_stopped)


@pytest.mark.parametrize(
    ("number", "workers", "status"), [(signal.SIGKILL, 2, -9), (signal.SIGINT, 2, 130), (signal.SIGTERM, 0, 130)]
)
def test_a_command_that_is_stopped_by_a_signal_goes_on(
    number, workers, status, photos, command_never_stopped, tmp_path
):
    run, words = tmp_path / "run", tmp_path / "words"
    command = ["-m", "unshuffle", "train", "shuffle", "--data", str(photos), "--out", str(run)]
    process = start(words, *command, "--workers", str(workers), *FLAGS)
    wait_for_rows(run, 10, process, words)
    os.killpg(process.pid, number)  # as a terminal does: to the workers too
    assert process.wait(timeout=tiny.PATIENCE) == status
    assert not (run / "encoder.json").exists()
    assert "Traceback" not in words.read_text()
    assert (f"--resume {run}" in words.read_text()) == (status == 130)

    assert main(["train", "--resume", str(run)]) == 0

    assert tiny.equal(tiny.remains(run), command_never_stopped)


def test_a_process_that_dies_while_it_saves_keeps_the_checkpoint_before(never_stopped, tmp_path):
    run = tmp_path / "run"
    # The third checkpoint of all is that of step 3: the first epoch, and with it best.pt, ends with step 4.
    process = start(tmp_path / "words", tiny.__file__, str(run), "--die-while-saving", "3")
    assert process.wait(timeout=tiny.PATIENCE) == 9
    (half,) = (run / "checkpoints").glob(".unshuffle-*.part")
    assert half.read_bytes().endswith(b"half a checkpoint")
    assert tiny.last(run)["step"] == 2

    tiny.job(run, resume=True)

    assert tiny.equal(tiny.remains(run), never_stopped)
    assert not half.exists()


def test_half_a_checkpoint_alone_is_never_taken(never_stopped, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        crash_at(3, patched)
        with pytest.raises(Crash):
            tiny.job(run)
    (run / "checkpoints/last.pt").rename(run / "checkpoints" / f".unshuffle-{'0' * 32}.part")
    (run / "checkpoints/previous.pt").unlink()

    tiny.job(run, resume=True)

    assert tiny.equal(tiny.remains(run), never_stopped)
