"""A run's folder: made once, never overwritten, enough in it to run the job again."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unshuffle import values
from unshuffle._files import (
    UnsafePath,
    check_file,
    check_folder,
    make_folder,
    read_at_most,
    remove_leftovers,
    sync_folder,
    write_atomically,
)  # fmt: skip
from unshuffle.train.lock import RunError, RunLock
from unshuffle.train.machine import Machine
from unshuffle.train.plan import Recipe
from unshuffle.train.revision import revision

RECIPE, CHECKPOINTS = "recipe.json", "checkpoints"
SAMPLES = "samples.jsonl.gz"
WRITTEN = (CHECKPOINTS, "metrics.csv", SAMPLES, "encoder.json", "encoder.safetensors", "results.jsonl", "labels")
FILES = (RECIPE, "metrics.csv", SAMPLES, "encoder.json", "encoder.safetensors", "results.jsonl", "report.html")
FOLDERS = (CHECKPOINTS, "labels", "figures", "tensorboard")
LARGEST = 1 << 24
"""Bytes of a ``recipe.json``, at the most."""


class Stored(NamedTuple):
    """What ``recipe.json`` says."""

    recipe: Any
    machine: Machine
    data: str | None


def create(
    out: str | Path | None, recipe: Any, machine: Machine, *, data: str | None, title: str, lock: RunLock | None = None
) -> Path:
    """Makes the folder of a new run and writes ``recipe.json``.

    Args:
        out: the folder; None for the next free one below ``runs/``.
        recipe: a registered value, or anything, of which only the text is kept.
        machine: hardware and bookkeeping.
        data: where the samples are.
        title: heading of the report.
        lock: is locked on the folder, before anything is written there.

    Raises:
        RunError: the folder holds a run already, is a file, or another process is making a run of it.
    """
    if out is not None:
        folder = Path(out)
        _refuse_taken(folder)
        make_folder(folder)
    else:
        folder = _next_folder(Path("runs"), title or type(recipe).__name__)
    if lock is not None:
        lock.acquire(folder)
        _refuse_taken(folder)  # somebody may have begun here, and ended, in between
    refuse_links(folder)
    written = values.to_json(recipe) if values.is_registered(recipe) else repr(recipe)
    description = {
        "title": title,
        "checksum": values.checksum(written),
        "recipe": written,
        "machine": values.to_json(machine),
        "data": data,
        "versions": {
            "unshuffle": version("unshuffle"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "revision": revision(),
    }
    write_atomically(folder / RECIPE, lambda file: file.write(json.dumps(description, indent=2).encode()))
    return folder


def _refuse_taken(folder: Path) -> None:
    """Refuses a folder that holds a run, or files that a run would overwrite."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give another --out.")
    if os.path.lexists(folder / RECIPE):
        raise RunError(
            f"{folder} already holds a run. Go on with it: unshuffle train --resume {folder}; or give another --out."
        )
    if left := [name for name in WRITTEN if os.path.lexists(folder / name)]:
        raise RunError(f"{folder} holds {' and '.join(left)} of something else; give another --out.")


def refuse_links(folder: str | Path) -> None:
    """Refuses a run's folder in which a file or folder that unshuffle writes is a symbolic link, or of another kind.

    Raises:
        RunError: there is one; nothing was written.
    """
    try:
        for name in FILES:
            check_file(Path(folder) / name)
        for name in FOLDERS:
            check_folder(Path(folder) / name)
    except UnsafePath as error:
        raise RunError(f"{folder} is not used as a run's folder: {error}") from error


def reopen(out: str | Path | None, *, lock: RunLock | None = None) -> Path:
    """The folder of a run that is to go on.

    Args:
        out: the folder.
        lock: is locked on it; what killed processes left half written is then deleted.

    Raises:
        RunError: there is no run in it, it holds links, or another process trains it.
    """
    if out is None:
        raise RunError("to go on with a run, name its folder.")
    folder = Path(out)
    read(folder)
    refuse_links(folder)
    if lock is not None:
        lock.acquire(folder)
        for name in (CHECKPOINTS, "labels"):  # only the holder of the lock writes there
            remove_leftovers(folder / name)
        for name in (".", "figures"):
            remove_leftovers(folder / name, age=3600)
    return folder


def read(folder: str | Path, *, kind: type = Recipe) -> Stored:
    """Reads ``recipe.json`` again.

    Args:
        folder: of the run.
        kind: what its recipe must be, unless it is only the text of somebody's own.

    Raises:
        RunError: there is no run, or its recipe cannot be read, or is of another kind.
    """
    path = Path(folder) / RECIPE
    if not path.is_file():
        raise RunError(f"no run in {str(folder)!r}: it holds no {RECIPE}.")
    try:
        stored = values.parse(read_at_most(path, LARGEST))
        if not isinstance(stored, dict):
            raise ValueError("it holds no JSON object")
        values.check_sum(stored["recipe"], stored.get("checksum"))
        recipe, machine = values.from_json(stored["recipe"]), values.from_json(stored["machine"])
        data = stored.get("data")
        if not isinstance(recipe, str) and not isinstance(recipe, kind):
            raise ValueError(f"its recipe is {_kind(recipe)}, which is not a {kind.__name__}")
        if not isinstance(machine, Machine):
            raise ValueError(f"its machine is {_kind(machine)}, which is not a Machine")
        if data is not None and not isinstance(data, str):
            raise ValueError(f"its data must be a path or null; they are {_kind(data)}")
        return Stored(recipe, machine, data)
    except KeyError as error:
        raise RunError(f"{path} cannot be read: it lacks {error}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def checkpoint(folder: str | Path, name: str = "last") -> Path:
    """Where a run's resumable state is."""
    return Path(folder) / CHECKPOINTS / f"{name}.pt"


def has_checkpoint(folder: str | Path | None) -> bool:
    """Whether a run has saved a state to go on from."""
    return folder is not None and any(checkpoint(folder, name).exists() for name in ("last", "previous"))


def _next_folder(parent: Path, name: str) -> Path:
    """Makes ``runs/name-1``, ``runs/name-2``, …: the first that does not exist."""
    number, name = 1, re.sub(r"[^\w.]+", "-", name.lower().removesuffix("recipe"))
    make_folder(parent)
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:  # also where another process was faster
            number += 1
        else:
            sync_folder(parent)
            return folder
