"""One process trains in a run's folder; others are refused and told who it is, or only read."""

import multiprocessing
import os
import signal
import socket
import time

import pytest
import torch
from hostile_runs import LONG, forked, tiny

import unshuffle
import unshuffle.report
from unshuffle._locks import Lock, Locked
from unshuffle.train import checkpoints, folder
from unshuffle.train.folder import RunError
from unshuffle.train.lock import RunLock
from unshuffle.train.progress import Silent

WRITES = 60 if LONG else 8
CONTEXT = multiprocessing.get_context("fork")


class Waiting(Silent):
    """Stops a job after its fourth step for as long as the test likes. Pipes: a killed process cannot block them."""

    def __init__(self, reached, go_on) -> None:
        self.reached, self.go_on = reached, go_on

    def advance(self, done, logs) -> None:
        if done == 4:
            os.write(self.reached, b".")
            os.read(self.go_on, 1)


@pytest.fixture
def trainer(tmp_path):
    """A process that trains ``tmp_path/run`` and waits in the middle, with workers of its own."""
    torch.set_num_threads(1)
    (reached, reach), (go_on, go) = os.pipe(), os.pipe()

    def work():
        tiny.job(tmp_path / "run", workers=2, progress=Waiting(reach, go_on))

    process = CONTEXT.Process(target=work)
    process.start()
    assert os.read(reached, 1)
    yield process, go
    process.kill()
    process.join()
    for end in (reached, reach, go_on, go):
        os.close(end)


def test_a_second_trainer_is_refused_and_told_who_the_first_is(trainer, tmp_path):
    process, go = trainer
    held = rf"run is in use: process {process.pid} on {socket.gethostname()} trains there"
    for _ in range(3):
        with pytest.raises(RunError, match=held):
            tiny.job(tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="already holds a run"):
        tiny.job(tmp_path / "run")
    os.write(go, b".")
    process.join(tiny.PATIENCE)
    assert process.exitcode == 0

    tiny.job(tmp_path / "whole")
    assert tiny.equal(tiny.remains(tmp_path / "run"), tiny.remains(tmp_path / "whole"))


def test_a_run_that_is_being_trained_can_be_read(trainer, tmp_path):
    assert checkpoints.load(tmp_path / "run/checkpoints/last.pt")["step"] == 3
    assert folder.read(tmp_path / "run").recipe == tiny.RECIPE
    assert unshuffle.report.write_report(tmp_path / "run").exists()


def test_the_lock_of_a_killed_trainer_is_gone_at_once(trainer, tmp_path):
    """Its workers may live for a while: they do not have it."""
    process, _ = trainer
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    tiny.job(tmp_path / "run", resume=True)

    assert tiny.last(tmp_path / "run")["step"] == tiny.STEPS


def test_a_forked_process_does_not_keep_the_lock(tmp_path):
    wait, end = os.pipe()

    def hold():
        assert Lock(tmp_path / "lock").acquire()
        if os.fork() == 0:  # outlives the holder, until the test ends
            os.close(end)
            os.read(wait, 1)
            os._exit(0)

    try:
        assert forked(hold) == 0
        assert Lock(tmp_path / "lock").acquire()
    finally:
        os.close(end)
        os.close(wait)


def test_one_process_cannot_train_twice_in_a_folder_and_keeps_its_lock_when_refused(tmp_path):
    first = RunLock()
    first.acquire(tmp_path)
    with pytest.raises(RunError, match=rf"in use: this process \({os.getpid()}\) trains there"):
        RunLock().acquire(tmp_path)
    assert forked(lambda: taken(tmp_path / ".train.lock")) == 0
    first.release()
    assert forked(lambda: free(tmp_path / ".train.lock")) == 0


def taken(path):
    with pytest.raises(Locked, match=f"process {os.getppid()} on "):
        Lock(path).acquire()


def free(path):
    assert Lock(path).acquire()


def test_one_lock_is_had_by_one_of_many(tmp_path):
    """Each adds one to a number in a file, again and again."""
    (tmp_path / "number").write_text("0")

    def work():
        for _ in range(30):
            lock = Lock(tmp_path / "lock")
            assert lock.acquire(patience=60)
            (tmp_path / "number").write_text(str(int((tmp_path / "number").read_text()) + 1))
            lock.release()

    processes = [CONTEXT.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "number").read_text() == "120"


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"pid": "\\u001b[31m", "host": 3}', b"[" * 4000, b'{"pid": 1e999, "host": ""}']
)
def test_what_a_stranger_wrote_into_a_lock_is_not_repeated(text, tmp_path):
    (tmp_path / "lock").write_bytes(text)
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    os.ftruncate(lock._file, 0)  # not by its name: whoever closes a second handle gives such a lock away
    os.pwrite(lock._file, text, 0)
    assert forked(lambda: plain(tmp_path / "lock")) == 0
    lock.release()


def plain(path):
    with pytest.raises(Locked) as caught:
        Lock(path).acquire()
    assert str(caught.value).isprintable()


def test_a_file_system_without_locks_is_said_and_no_error(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("unshuffle._locks.fcntl.lockf", refuse)
    lock = RunLock()
    lock.acquire(tmp_path)
    assert "make sure that no second process trains it" in lock.missing
    monkeypatch.setattr("unshuffle._locks.fcntl", None)  # an operating system without them
    assert not Lock(tmp_path / "lock").acquire()


def test_two_new_runs_of_the_same_name_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def work():
        for _ in range(5):
            folder.create(None, tiny.RECIPE, unshuffle.Machine(), data=None, title="a")

    processes = [CONTEXT.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(list((tmp_path / "runs").iterdir())) == 15


def test_two_writers_of_one_checkpoint_never_mix(tmp_path):
    """Were the lock to fail, as on a mount that knows the processes of one machine only: each file is one state."""
    path = tmp_path / "checkpoints/last.pt"

    def work(value):
        state = {f"w{k}": torch.full((30_000,), float(value)) for k in range(5)}
        for _ in range(WRITES):
            checkpoints.save(path, {"method": state, "optimizer": {}, "step": value})

    writers = [CONTEXT.Process(target=work, args=(value,)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    loads = 0
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            loads += one_state(path)
        time.sleep(0.001)
    assert all(writer.exitcode == 0 for writer in writers)
    assert loads + one_state(path) + one_state(path.with_name("previous.pt")) >= 2


def one_state(path) -> bool:
    state = checkpoints.load(path)
    assert {float(v) for w in state["method"].values() for v in w.unique()} == {float(state["step"])}
    return True
