"""Signals set a flag; the run stops after the step, with everything saved.

====================  ==============================================================================================
signal                what a training run does
====================  ==============================================================================================
SIGINT (Ctrl-C)       saves after the step and ends with status 130. The second one does not wait for samples any
                      longer; the third ends the run at once, and loses the steps since its last checkpoint.
SIGTERM               the same: a cluster takes the machine back, ``kill``.
SIGHUP                saves after the step and ends: the terminal was closed.
SIGUSR1               saves after the step and ends, so that the job can be put back into the queue (SLURM:
                      ``#SBATCH --signal=USR1@120 --requeue``).
====================  ==============================================================================================

What is being written is always finished first.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from unshuffle import _interrupts

_URGENT = ("SIGINT", "SIGTERM")
"""Of which another one means: sooner. A closed terminal and a scheduler may send several signals and mean one thing."""
_ALL = (*_URGENT, "SIGHUP", "SIGUSR1")


class StopFlag:
    """A context in which a signal sets ``raised``.

    The second one interrupts what waits in :meth:`reading`, the third one anything that is not :meth:`protected`.
    """

    def __init__(self) -> None:
        self.raised = False
        self._count, self._reading, self._protected, self._pending = 0, False, 0, False
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _ALL if hasattr(signal, name)):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before and self.raised and kind is not None and _interrupts.is_program():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it stops already: one more would only hide the reason

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing changes within it, so that the second signal may interrupt it."""
        self._reading = True
        try:
            if self._count > 1:
                raise KeyboardInterrupt
            yield
        finally:
            self._reading = False

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Nothing interrupts it: signals wait until it is done."""
        self._protected += 1
        try:
            yield
        finally:
            self._protected -= 1
        if self._pending and not self._protected:
            self._pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a fork that has not set its own handlers yet
            return
        self.raised = True
        if signal.Signals(number).name not in _URGENT:
            return
        self._count += 1
        if self._count > (1 if self._reading else 2):
            if not self._protected:
                raise KeyboardInterrupt
            self._pending = True
