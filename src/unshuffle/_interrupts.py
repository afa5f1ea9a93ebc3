"""Ctrl-C in the program ``unshuffle``: one sentence and status 130, at whatever moment it comes.

``KeyboardInterrupt`` cannot be raised at every moment: inside an import it leaves half-made modules behind, and in what
the interpreter calls by itself (a finalizer, a callback) it is printed and lost. There the handler ends the process at
once; everywhere else it raises, so that files that are being written are cleaned up.

This module is loaded first of all: it imports little, and nothing of ours.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

STATUS = 130
"""128 + SIGINT, as shells have it."""
_SPEAKERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
_owner, _command, _requested = -1, "", False


def is_first() -> bool:
    """Whether this is the first process of the run, before they know each other: whoever starts them numbers them."""
    return all(os.environ.get(name, "0") == "0" for name in _SPEAKERS)


def install() -> None:
    """Takes over SIGINT for the rest of this process; the program calls it first of all."""
    global _owner
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        return  # a spawned worker imports the program's main module, and is not the program
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)
        _owner = os.getpid()


def name_command(command: str) -> None:
    """What the sentence names from now on: ``train`` for example."""
    global _command
    _command = command


def is_program() -> bool:
    """Whether this process is the program: commands that another program calls must not end it."""
    return _owner == os.getpid()


def requested() -> bool:
    """Whether Ctrl-C has come, whatever became of its exception."""
    return _requested


def finish() -> None:
    """Everything is done: what the interpreter clears up now is not interrupted, if this is the program."""
    if is_program():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(message: str = "", stop: BaseException | None = None) -> NoReturn:
    """Says one sentence, lets go of what ``stop`` interrupted, and ends the process: nothing can interrupt that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if is_first():
        _say(message)
    try:
        if stop is not None:
            _let_go(stop)
        sys.stdout.flush()
    finally:
        os._exit(STATUS)


def _let_go(stop: BaseException) -> None:
    """Ends what the interrupted functions hold: processes that read samples, open files."""
    seen: set[int] = set()
    error: BaseException | None = stop
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            with suppress(RuntimeError):  # it still runs: the command line's own
                trace.tb_frame.clear()
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def _say(message: str) -> None:
    name = f"unshuffle {_command}".rstrip()
    shown = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides the cursor
    text = f"{shown}\n{name}: {message or 'stopped'}.\n"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def _handle(number: int, frame: FrameType | None) -> None:
    global _requested
    if os.getpid() != _owner:  # a fork that has not set its own handler yet
        os._exit(STATUS)
    if _requested or _unsafe(frame):
        leave()
    _requested = True
    raise KeyboardInterrupt


def _unsafe(frame: FrameType | None) -> bool:
    """Whether an exception raised here would leave a module half-made, or be printed and lost."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name in ("__del__", "_run_exitfuncs"):
            return True
        frame = frame.f_back
    return False
