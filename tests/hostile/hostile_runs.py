"""What the attacks on runs share: small jobs, and processes that are made to fail or to die at a chosen call."""

from __future__ import annotations

import builtins
import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

import tiny

__all__ = ["LONG", "forked", "injected", "tiny"]

LONG = bool(os.environ.get("UNSHUFFLE_LONG"))
CALLS = {"open": builtins, "replace": os, "fsync": os, "link": os, "unlink": os, "mkdir": os, "chmod": os}
"""What changes a run's folder, and where it lives."""


def forked(action: Callable[[], object]) -> int:
    """Runs something in a forked process; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def injected(folder: Path, at: int, fault: str, *, then: Callable[[int], None] = lambda count: None) -> None:
    """From call ``at`` on those that write below ``folder`` fail, or the process ends there; for forked processes.

    Args:
        folder: calls on other files are not counted.
        at: counted from 0.
        fault: ``kill`` ends the process before the call, ``full`` lets this and all later ones find the disk full.
        then: is told the number of calls, at each.
    """
    count = 0

    def due(place: Any, mode: str) -> bool:
        nonlocal count
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        if not str(place).startswith(str(folder)) or mode.startswith("r"):
            return False
        count += 1
        then(count)
        if fault == "kill" and count > at:
            os._exit(9)
        return fault == "full" and count > at

    def wrap(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            mode = (given[1] if len(given) > 1 else options.get("mode", "r")) if name == "open" else "w"
            # A full disk still lets names be deleted.
            if due(given[0], str(mode)) and name not in ("unlink", "replace", "chmod"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))
            return whole(*given, **options)

        return call

    for name, module in CALLS.items():
        setattr(module, name, wrap(name, getattr(module, name)))
