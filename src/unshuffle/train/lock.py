"""One process at a time trains in a run's folder."""

from __future__ import annotations

from pathlib import Path

from unshuffle._check import Explained
from unshuffle._files import UnsafePath
from unshuffle._locks import Lock, Locked

NAME = ".train.lock"


class RunError(Explained):
    """A run's folder cannot be used as asked; the message says what to do."""


class RunLock:
    """The lock on a run's folder that its trainer holds; in a job of several processes the first holds it for all.

    It keeps out a second trainer, not readers: a run that is being trained may be embedded with, evaluated and
    reported on. It ends with its process, however that ends. Where the file system or the operating system has no
    locks, nothing is held, and ``missing`` says so.
    """

    def __init__(self) -> None:
        self._lock: Lock | None = None
        self.missing = ""

    def acquire(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            RunError: another process holds it, or its file is a link.
        """
        lock = Lock(folder / NAME)
        try:
            if lock.acquire():
                self._lock = lock
            else:
                self.missing = f"{folder} lies where files cannot be locked: make sure that no second process trains it"
        except Locked as error:
            raise RunError(
                f"{folder} is in use: {error.holder} trains there. Wait for it or stop it; or give another --out."
            ) from error
        except UnsafePath as error:
            raise RunError(f"{folder} is not used as a run's folder: {error}") from error

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
