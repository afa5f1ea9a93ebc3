"""Several processes: who is waiting for whom, and one sentence where one is lost.

Each process has a thread that writes once a second into the store where the processes met: that it lives, and what its
main thread is at. The first process reads what all write and the others what the first one does: where one has
ended, or has not moved for ``--timeout`` minutes, it is named, and all end. No training step waits for any of this.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unshuffle._check import Explained

BEAT = 1.0
"""Seconds between two lines of a process."""
GRACE = 5.0
"""Seconds for a main thread to end by itself, with its own error, before the watch ends the process."""
IDLE = 0.05
"""Fraction of a core below which a process that says nothing new is taken to stand still."""
children: list[Any] = []
"""Processes that this one has started, as :class:`subprocess.Popen`."""
_store: TCPStore | None = None
_runs = 0


class Lost(Explained):
    """Another process of the run has ended, stands still or never came; the message names it."""


class Elsewhere(Explained):
    """Another process of the same run failed, and says why."""


class Line(NamedTuple):
    """What a process says of itself: a number that grows, what it is at, whether it waits for others, CPU seconds."""

    beat: int
    at: str
    waits: bool
    spent: float
    pid: int
    host: str
    failed: bool


class Place:
    """What the main thread of this process is at; assigning to it is all that a training step does."""

    at, waits = "starting", False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it the main thread waits for the other processes."""
        self.waits = True
        try:
            yield
        finally:
            self.waits = False


here = Place()


def gather(address: str, port: int, *, rank: int, processes: int, minutes: float) -> None:
    """Waits until all processes have come, which Ctrl-C may interrupt.

    Raises:
        Lost: some have not after so many minutes; the message names them.
    """
    global _store
    deadline = time.monotonic() + 60 * minutes
    if _store is None:
        _store = _connect(address, port, rank == 0, deadline, minutes)
    try:
        _store.set(f"unshuffle/here/{rank}", "1")
        _wait(_store, rank, processes, deadline, minutes)
    except BaseException as error:
        for child in children:
            child.terminate()
        if isinstance(error, RuntimeError) and not isinstance(error, Explained):  # of the store
            raise Lost("process 0 has ended before the run began") from error
        raise


def _wait(store: TCPStore, rank: int, processes: int, deadline: float, minutes: float) -> None:
    told = time.monotonic() + 10
    while missing := [k for k in range(processes) if not store.check([f"unshuffle/here/{k}"])]:
        if any(child.poll() is not None for child in children):
            raise Lost(f"{_listed(missing)} of {processes} ended before the run began, and says why")
        if time.monotonic() > deadline:
            late = f"process {rank} has waited {minutes:g} minutes (--timeout) for {_listed(missing)} of {processes}"
            raise (Lost if rank == 0 else Elsewhere)(f"{late} to start. Start all of them again, or fewer.")
        if time.monotonic() > told and rank == 0:
            told = time.monotonic() + 60
            print(f"waiting for {_listed(missing)} of {processes} to start", file=sys.stderr, flush=True)
        time.sleep(0.05)


def _connect(address: str, port: int, first: bool, deadline: float, minutes: float) -> TCPStore:
    serves = first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    while True:
        try:
            return TCPStore(
                address, port, None, serves, timeout=timedelta(seconds=2 if not serves else 60), wait_for_workers=False,
                multi_tenant=True,
            )  # fmt: skip
        except RuntimeError as error:  # noqa: PERF203  (it is tried until it answers)
            if serves:
                where = f"port {port} of {address}, where the processes are to meet,"
                raise Lost(f"{where} cannot be had: {error}") from error
            if time.monotonic() > deadline:
                raise Lost(
                    f"waited {minutes:g} minutes (--timeout) for process 0 at {address}:{port}: it does not answer."
                ) from error


class Watch:
    """A context that watches over the processes of one run; does nothing in one process.

    Args:
        rank: of this process.
        processes: how many train together.
        minutes: how long one may stand still.

    Attributes:
        advice: the end of each sentence: how to go on.
    """

    def __init__(self, rank: int, processes: int, *, minutes: float) -> None:
        global _runs
        _runs += 1
        self.rank, self.processes, self.minutes, self.advice = rank, processes, minutes, "Start the run again."
        self.prefix = f"unshuffle/{_runs}"
        self._over, self._failed, self._gone = threading.Event(), False, False
        self._seen: dict[int, tuple[Line, float]] = {}
        self._moved: dict[int, tuple[Line, float]] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self.processes > 1 and _store is not None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="watch")
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if self._thread is None:
            return
        if kind is not None:
            self._failed = not isinstance(error, KeyboardInterrupt)
            with suppress(RuntimeError):
                self._tell(0)
        self._over.set()
        self._thread.join()
        if isinstance(error, RuntimeError) and not isinstance(error, Explained):
            sentence = self._lost_behind(error)
            if sentence is not None:
                raise (Lost if self._speaks() else Elsewhere)(sentence) from error

    def _lost_behind(self, error: RuntimeError) -> str | None:
        """The lost process behind a collective's error; None where the error is this process's own."""
        words = str(error)
        broken = any(sign in words for sign in ("gloo", "Connection", "NCCL", "Broken pipe", "socket", "recv", "store"))
        if not broken:
            return None
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            sentence = self._judged()
            if sentence is not None:
                return sentence
            time.sleep(0.2)
        return f"the connection between the processes broke while this one was {here.at}. {self.advice}"

    def _judged(self) -> str | None:
        try:
            return self._verdict()
        except RuntimeError:  # the store is gone, and with it the first process
            self._gone = True
            return f"process 0 of {self.processes} has ended, and the others cannot go on. {self.advice}"

    def _work(self) -> None:
        beat, doomed = 0, 0.0
        with suppress(RuntimeError):
            self._tell(beat)
        while not self._over.wait(BEAT):
            beat += 1
            with suppress(RuntimeError):
                self._tell(beat)
            sentence = self._judged()
            if sentence is None:
                doomed = 0.0
                continue
            doomed = doomed or time.monotonic() + GRACE
            if time.monotonic() > doomed:
                self._end(sentence)

    def _end(self, sentence: str) -> None:
        """Ends this process, whose main thread waits for what never comes."""
        if self._speaks():
            os.write(2, f"\nunshuffle train: {sentence}\n".encode("utf-8", "backslashreplace"))
        for child in children:
            with suppress(OSError):
                child.kill()
        os._exit(1)

    def _speaks(self) -> bool:
        """Whether it is this process's turn: the first one that is there."""
        return self.rank == 0 or (self.rank == 1 and (self._gone or self._ended(0)))

    def _tell(self, beat: int) -> None:
        assert _store is not None
        times = os.times()
        line = Line(
            beat, here.at, here.waits, times.user + times.system, os.getpid(), socket.gethostname(), self._failed
        )
        _store.set(f"{self.prefix}/{self.rank}", json.dumps(line))

    def _verdict(self) -> str | None:
        """Why the run cannot go on, or None."""
        assert _store is not None
        if self.rank and _store.check([f"{self.prefix}/verdict"]):
            return _store.get(f"{self.prefix}/verdict").decode()
        for rank in range(self.processes) if self.rank == 0 else (0,):
            self._look(rank)
        sentence = self._sentence()
        if sentence is not None and self.rank == 0:
            _store.set(f"{self.prefix}/verdict", sentence)
        return sentence

    def _look(self, rank: int) -> None:
        assert _store is not None
        key, now = f"{self.prefix}/{rank}", time.monotonic()
        if not _store.check([key]):
            return
        line = Line(*json.loads(_store.get(key)))
        before = self._seen.get(rank)
        if before is None or before[0].beat != line.beat or line.failed:
            self._seen[rank] = line, now
        was = self._moved.get(rank)
        if was is None or was[0].at != line.at or line.spent - was[0].spent > IDLE * (now - was[1]) + 0.5:
            self._moved[rank] = line, now

    def _sentence(self) -> str | None:
        now, limit = time.monotonic(), 60 * self.minutes
        for rank, child in enumerate(children, start=self.rank + 1):
            if child.poll() is not None and not (rank in self._seen and self._seen[rank][0].failed):
                at = f" while it was {self._seen[rank][0].at}" if rank in self._seen else ""
                return f"process {rank} of {self.processes} has ended{at}. {self.advice}"
        for rank, (line, seen) in self._seen.items():
            if line.failed and rank != self.rank:
                return f"process {rank} of {self.processes} failed, and says why. {self.advice}"
            if rank != self.rank and self._ended(rank):
                return f"process {rank} of {self.processes} has ended while it was {line.at}. {self.advice}"
            if now - seen > limit:
                return self._waiting(rank, f"has not been heard of for {self.minutes:g} minutes (--timeout)", line)
        still = [rank for rank, (line, moved) in self._moved.items() if not line.waits and now - moved > limit]
        if still:
            line = self._moved[still[0]][0]
            return self._waiting(still[0], f"stands still for {self.minutes:g} minutes (--timeout)", line)
        return None

    def _waiting(self, rank: int, what: str, line: Line) -> str:
        others = [k for k in range(self.processes) if k != rank]
        wait = "wait" if len(others) > 1 else "waits"
        return (
            f"process {rank} of {self.processes} (process id {line.pid} on {line.host}) {what}; it was {line.at}, and "
            f"{_listed(others)} {wait} for it. End it if it is still there. {self.advice}"
        )

    def _ended(self, rank: int) -> bool:
        """Whether a process of this computer is no longer there."""
        if rank not in self._seen:
            return False
        line = self._seen[rank][0]
        if line.host != socket.gethostname():
            return False
        try:
            os.kill(line.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def _listed(ranks: list[int]) -> str:
    several = "processes " + ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return several if len(ranks) > 1 else f"process {ranks[0]}"
