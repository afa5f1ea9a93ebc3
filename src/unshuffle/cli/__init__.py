"""The command line: ``unshuffle COMMAND …``, one file a command."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import warnings
from typing import Any

from unshuffle import _interrupts

COMMANDS = {
    "demo": "pretrain on real data that comes with the package; table and page in three minutes",
    "train": "train a recipe on a folder of your own",
    "embed": "turn a folder into a table of features",
    "eval": "measure what a trained encoder is worth on labelled data",
    "labels": "write down the labels that a self-labelling run found",
    "search": "find the images of a folder that are most like others",
    "solve": "put the tiles of a shuffled picture in order",
    "order": "put a folder of images in a learnt order",
    "report": "write a run's page of tables and pictures",
    "recipes": "list the recipes",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns 0, 1 after an explained failure, 2 for a wrong call, 130 for Ctrl-C."""
    if argv is None and os.path.splitext(os.path.basename(sys.argv[0]))[0] == "unshuffle":
        _interrupts.install()
    arguments = sys.argv[1:] if argv is None else argv
    _print_any_name()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version  # here: the time before the command is short

        print(f"unshuffle {version('unshuffle')}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"unshuffle: no command {name!r}. Known: {', '.join(COMMANDS)}. See unshuffle --help.", file=sys.stderr)
        return 2
    return _run(name, rest)


def _print_any_name() -> None:
    """Lets a terminal that cannot show a character show its escape: names of files may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_warnings(name: str) -> None:
    """Prints our own warnings as one line for users; others keep the place that raised them."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], filename: str, *more: Any) -> None:
        if category is UserWarning and os.path.dirname(os.path.dirname(__file__)) in filename:
            print(f"unshuffle {name}: {message}", file=sys.stderr)
        else:
            usual(message, category, filename, *more)

    warnings.showwarning = show


def _run(name: str, arguments: list[str]) -> int:
    _interrupts.name_command(name)
    if _interrupts.is_program():
        _print_warnings(name)
    if name == "train":  # of a lost process PyTorch prints traces that say nothing to a user; it reads this when loaded
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        status = importlib.import_module(f"unshuffle.cli.{name}").run(arguments)
        _interrupts.finish()
        return status
    except KeyboardInterrupt as stop:
        return _stopped(name, stop)
    except BrokenPipeError:  # the reader, a pager or head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "unshuffle":
            raise
        extra = "soundfile" if error.name == "soundfile" else "'unshuffle[train]'"
        print(f"unshuffle {name}: needs {error.name!r}: pip install {extra}", file=sys.stderr)
        return 1
    except Exception as error:
        if _interrupts.requested():  # what code written in C makes of the interrupt
            return _stopped(name, KeyboardInterrupt())
        if os.environ.get("UNSHUFFLE_TRACEBACK") or not _is_explained(error):
            raise
        if not _told_elsewhere(error):
            print(f"unshuffle {name}: {_explain(error, name)}", file=sys.stderr)
        return 1


# PyTorch, which these need, is imported by the commands and not before them: --help does not wait for it.


def _is_explained(error: Exception) -> bool:
    """Whether the message alone tells a user what happened; all else is a bug of ours and keeps its traceback."""
    from unshuffle._check import Explained

    return isinstance(error, (OSError, ValueError, Explained))


def _stopped(name: str, stop: KeyboardInterrupt) -> int:
    """Says that the command was stopped; the program ends here, as what else it would do could be interrupted again."""
    if _interrupts.is_program():
        _interrupts.leave(str(stop), stop)
    if _interrupts.is_first():
        print(f"\nunshuffle {name}: {str(stop) or 'stopped'}.", file=sys.stderr)
    return _interrupts.STATUS


def _told_elsewhere(error: Exception) -> bool:
    """Whether another process of the run failed and says why."""
    from unshuffle.train.together import Elsewhere

    return isinstance(error, Elsewhere)


def _explain(error: Exception, name: str) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        again = "go on with unshuffle train --resume RUN" if name == "train" else f"call unshuffle {name} again"
        return (
            f"the disk is full ({error.filename or 'no space left'}). What was saved before is whole: free some space, "
            f"then {again}."
        )
    return str(error)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "unshuffle: learning from order.",
            "",
            "Usage: unshuffle COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "unshuffle COMMAND --help tells a command's options; unshuffle --version the version.",
            "Set UNSHUFFLE_TRACEBACK=1 to see where an error comes from.",
        ]
    )
