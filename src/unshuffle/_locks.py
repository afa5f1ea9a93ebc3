"""A lock that ends with the process that holds it.

It is a POSIX record lock (``lockf``) on a small file: the system drops it when the process ends, however that happens;
processes that the holder forks, such as workers that read data, do not inherit it; and it works over NFS, where the
server keeps it (NFS 4, or NFS 3 with its lock daemon; a mount with ``nolock`` knows the processes of one machine only).
The file says who holds the lock and stays when it is released: deleting it could split the lock in two.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import threading
import time
from pathlib import Path

from unshuffle._files import no_follow

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_TAKEN = {errno.EACCES, errno.EAGAIN}
_PAUSE = 0.02
_held: dict[tuple[int, int], int] = {}
"""Device and inode of each file that this process has locked, and the process: a forked one has locked none."""
_guard = threading.Lock()


class Locked(OSError):
    """Another process, or this one, holds the lock; ``holder`` says which."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


class Lock:
    """An exclusive lock on the file ``path``, which is made if need be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._key = (0, 0)

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Takes the lock, after at most ``patience`` seconds.

        Returns:
            Whether there is one now; False where the file system, or the operating system, has no locks.

        Raises:
            Locked: somebody else still holds it.
            UnsafePath: the file is a link, or no regular file.
        """
        if fcntl is None:
            return False
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._try()
            except Locked:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE)

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        if self._file is not None:
            with _guard:
                os.close(self._file)
                _held.pop(self._key, None)
            self._file = None

    def _try(self) -> bool:
        with _guard:
            # A second handle on a file that this process has locked would, when closed, give the lock away.
            if self.path.exists() and _held.get(_key(os.stat(self.path))) == os.getpid():
                raise Locked(self.path, f"this process ({os.getpid()})")
            file = no_follow(str(self.path), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0))
            try:
                status = os.fstat(file)
                if status.st_nlink > 1:
                    raise OSError(
                        f"{self.path} has several names (hard links), so it would lock several folders: delete it here."
                    )
                if not _locked(file, self.path):
                    os.close(file)
                    return False
                _sign(file)
            except BaseException:
                os.close(file)
                raise
            self._file, self._key = file, _key(status)
            _held[self._key] = os.getpid()
        return True


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _locked(file: int, path: Path) -> bool:
    assert fcntl is not None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise Locked(path, _holder(file)) from error
        return False  # a file system without locks
    return True


def _sign(file: int) -> None:
    """Writes down who holds the lock. On a full disk nobody is named, which is no reason to refuse."""
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
    except OSError:
        pass


def _holder(file: int) -> str:
    """Who holds the lock, as its file says; a stranger may have written it, so only plain words are repeated."""
    try:
        said = json.loads(os.pread(file, 4096, 0))
        pid, host = int(said["pid"]), str(said["host"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return "another process"
    return f"process {pid} on {host}" if re.fullmatch(r"[\w.-]{1,64}", host) else f"process {pid}"
