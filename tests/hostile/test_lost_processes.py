"""One of two processes is killed, stopped, or asked to end: the other says so in one sentence and ends."""

import os
import re
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

ROUNDS = 10 if os.environ.get("UNSHUFFLE_LONG") else 1
PATIENCE = 600.0
FLAGS = shlex.split(
    "--devices 2 --device cpu --epochs 100000 --batch-size 8 --source.size 16 --patches.rows 2 --patches.columns 2 "
    "--patches.gap 2 --backbone.width 4 --hidden 16 --save-every 0"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def wait(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def child_of(pid: int) -> int:
    """The second process, which the first one has started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                    return int(folder.name)
            except OSError:
                continue
    raise AssertionError("there is no second process")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CASES = {
    "second killed": (1, signal.SIGKILL, 1, r"process 1 of 2 has ended( while it was .*)?\. Go on with: "),
    "first killed": (0, signal.SIGKILL, -9, r"process 0 of 2 has ended.*\. Go on with: "),
    "second stands still": (
        1, signal.SIGSTOP, 1, r"process 1 of 2 \(process id \d+ on .*\) has not been heard of for 0.3 minutes .*waits",
    ),
    "first is asked": (0, signal.SIGTERM, 130, r"stopped after step \d+ of \d+; go on with: "),
    "second is asked": (1, signal.SIGTERM, 130, r"stopped after step \d+ of \d+; go on with: "),
    "second is to be queued again": (1, signal.SIGUSR1, 130, r"stopped after step \d+ of \d+; go on with: "),
    "terminal closed": (0, signal.SIGHUP, 130, r"stopped after step \d+ of \d+; go on with: "),
}  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("case", CASES)
def test_a_lost_process_ends_the_other_with_one_sentence(case, photos, tmp_path):
    for _ in range(ROUNDS):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        lose_one(*CASES[case], photos, tmp_path)


def lose_one(who: int, number: int, status: int, sentence: str, photos: Path, tmp_path: Path) -> None:
    run, words = tmp_path / "run", tmp_path / "words"
    timeout = "0.3" if number == signal.SIGSTOP else "10"
    call = ["-m", "unshuffle", "train", "shuffle", "--data", str(photos), "--out", str(run), "--timeout", timeout]
    with words.open("w") as file:
        first = subprocess.Popen(
            [sys.executable, *call, *FLAGS], env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    wait(lambda: (run / "checkpoints/last.pt").exists() or first.poll() is not None, "no progress")
    assert first.poll() is None, words.read_text()
    second = child_of(first.pid)

    os.kill((first.pid, second)[who], number)

    try:
        assert first.wait(timeout=PATIENCE) == status, words.read_text()
        wait(lambda: not alive(second), "the second process stays for ever")
    finally:
        if alive(second):
            os.kill(second, signal.SIGKILL)
    told = words.read_text()
    assert len(re.findall(r"^unshuffle train: ", told, re.MULTILINE)) == 1, told
    assert re.search(sentence, told), told
    assert f"unshuffle train --resume {run}" in told
    assert not re.search("Traceback|frame #|gloo/", told), told
