"""What a waiting person sees: a bar in a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Progressed: TypeAlias = Callable[..., None]
"""``progressed(done)``, or ``progressed(done, total)``: so much is done."""


@runtime_checkable
class Reporter(Protocol):
    """Anything that can be told how a job goes."""

    def start(self, what: str, total: int, done: int) -> None:
        """The job begins at ``done`` of ``total``."""
        ...

    def advance(self, done: int, logs: dict[str, float]) -> None:
        """So much is done; ``logs`` are worth showing."""
        ...

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def stop(self) -> None:
        """The job is over."""
        ...


class Terminal:
    """Writes to standard error: a live bar where it is a terminal, else a line every ten seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._what, self._total, self._told, self._spoke = "", 0, -1, 0.0

    def start(self, what: str, total: int, done: int = 0) -> None:
        """See :class:`Reporter`."""
        self._what, self._total, self._told, self._spoke = what, total, -1, time.monotonic()
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, TextColumn("{task.fields[logs]}"), console=self.console)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done, logs="")
        else:
            self.say(f"{what}: {done} of {total}")

    def advance(self, done: int, logs: dict[str, float]) -> None:
        """See :class:`Reporter`."""
        text = "  ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in logs.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, logs=text)
        elif time.monotonic() - self._spoke > 10 or (done == self._total and done != self._told):
            self._spoke, self._told = time.monotonic(), done
            self.say(f"{self._what}: {done} of {self._total}  {text}".rstrip())

    def say(self, text: str) -> None:
        """See :class:`Reporter`."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, what: str, total: int) -> Iterator[Progressed]:
        """A job that lasts as long as the block of a ``with``, whatever ends it; yields what is to be told."""
        self.start(what, total)
        try:
            yield lambda done, _=0: self.advance(done, {})
        finally:
            self.stop()

    def stop(self) -> None:
        """See :class:`Reporter`."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Silent:
    """Says nothing."""

    def start(self, what: str, total: int, done: int = 0) -> None:
        """See :class:`Reporter`."""

    def advance(self, done: int, logs: dict[str, float]) -> None:
        """See :class:`Reporter`."""

    def say(self, text: str) -> None:
        """See :class:`Reporter`."""

    def stop(self) -> None:
        """See :class:`Reporter`."""
