"""A run's folder: made once, never overwritten, enough in it to run the job again."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unshuffle import values
from unshuffle._check import Explained
from unshuffle._files import write_atomically
from unshuffle.train.machine import Machine

RECIPE, CHECKPOINTS = "recipe.json", "checkpoints"
WRITTEN = (CHECKPOINTS, "metrics.csv", "encoder.json", "encoder.safetensors", "results.jsonl", "labels")


class RunError(Explained):
    """A run's folder cannot be used as asked; the message says what to do."""


class Stored(NamedTuple):
    """What ``recipe.json`` says."""

    recipe: Any
    machine: Machine
    data: str | None


def create(out: str | Path | None, recipe: Any, machine: Machine, *, data: str | None, title: str) -> Path:
    """Makes the folder of a new run and writes ``recipe.json``.

    Raises:
        RunError: the folder holds a run already, or is a file.
    """
    folder = Path(out) if out is not None else _next_folder(Path("runs"), title or type(recipe).__name__)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give another --out.")
    if (folder / RECIPE).exists():
        raise RunError(
            f"{folder} already holds a run. Go on with it: unshuffle train --resume {folder}; or give another --out."
        )
    if left := [name for name in WRITTEN if (folder / name).exists()]:
        raise RunError(f"{folder} holds {' and '.join(left)} of something else; give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "title": title,
        "recipe": values.to_json(recipe) if values.is_registered(recipe) else repr(recipe),
        "machine": values.to_json(machine),
        "data": data,
        "versions": {
            "unshuffle": version("unshuffle"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "revision": _revision(),
    }
    write_atomically(folder / RECIPE, lambda file: file.write(json.dumps(description, indent=2).encode()))
    return folder


def reopen(out: str | Path | None) -> Path:
    """The folder of a run that is to go on.

    Raises:
        RunError: there is no run in it.
    """
    if out is None:
        raise RunError("to go on with a run, name its folder.")
    read(out)
    return Path(out)


def read(folder: str | Path) -> Stored:
    """Reads ``recipe.json`` again.

    Raises:
        RunError: there is no run, or its recipe cannot be read.
    """
    path = Path(folder) / RECIPE
    if not path.is_file():
        raise RunError(f"no run in {str(folder)!r}: it holds no {RECIPE}.")
    try:
        stored = json.loads(path.read_text())
        return Stored(values.from_json(stored["recipe"]), values.from_json(stored["machine"]), stored.get("data"))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def checkpoint(folder: str | Path, name: str = "last") -> Path:
    """Where a run's resumable state is."""
    return Path(folder) / CHECKPOINTS / f"{name}.pt"


def _next_folder(parent: Path, name: str) -> Path:
    """``runs/name-1``, ``runs/name-2``, …: the first that does not exist."""
    number, name = 1, re.sub(r"[^\w.]+", "-", name.lower().removesuffix("recipe"))
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _revision() -> str | None:
    """The commit of the checkout that this package runs from, if it is one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = answer.stdout.strip()
    return text if answer.returncode == 0 and re.fullmatch(r"[\w.-]+", text) else None
