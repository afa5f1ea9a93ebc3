"""Result lines: what was measured, on what, by which command, and when.

Each line of a run's ``results.jsonl`` is one JSON object, a :class:`~unshuffle.types.Result` or a
:class:`~unshuffle.types.Figure`, told apart by its ``record``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import sys
import warnings
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unshuffle._files import check_file, read_at_most, write_atomically
from unshuffle._locks import Lock
from unshuffle._names import encodable
from unshuffle.types import Figure, Result

LOCK = ".results.lock"
LARGEST = 1 << 28
"""Bytes of a ``results.jsonl``, at the most: half a million lines."""


class Stamp(NamedTuple):
    """What all results of one evaluation share: the last fields of a :class:`~unshuffle.types.Result`."""

    data: str
    split: str
    recipe: str
    command: str
    machine: str
    date: str


def stamp(data: str, split: str, recipe: str) -> Stamp:
    """Says how, where and when the current program measures.

    The command is that of this process, with every absolute path cut down to its last part, and the machine is told
    by its kind: a line can be published as it is.

    Args:
        data: the data set's name.
        split: the part of it that is measured on.
        recipe: the recipe's name.

    Returns:
        The stamp, dated today (UTC).

    Example:
        >>> stamp("notes", "test", "shuffle")[:3]
        ('notes', 'test', 'shuffle')
    """
    return Stamp(data, split, recipe, _command(), _machine(), datetime.now(timezone.utc).date().isoformat())


def supersede(folder: str | Path, records: Iterable[Result | Figure]) -> None:
    """Adds lines in place of those that measured the same before: evaluating twice must not count twice.

    A result takes the place of all earlier ones of its task, metric and data; a figure that of the same file.

    Args:
        folder: an existing folder.
        records: results and figures.

    Two evaluations that end at the same time wait for each other, so that no line is lost.

    Raises:
        ValueError: a result's value is NaN or infinite; nothing is written.
        Locked: another process has been writing results here for a minute.
        UnsafePath: results.jsonl is a link, or no regular file.
        OSError: the folder is missing or cannot be written; the old file stays as it was.

    Warns:
        UserWarning: lines of the file are no JSON objects; they are left out.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     supersede(folder, [Figure("puzzles", "puzzles.npz", "Puzzles", "")])
        ...     print((Path(folder) / "results.jsonl").read_text().strip())
        {"record": "figure", "kind": "puzzles", "file": "puzzles.npz", "title": "Puzzles", "caption": ""}
    """
    records = list(records)
    text = "".join(_line(record) + "\n" for record in records).encode()
    path = Path(folder) / "results.jsonl"
    renewed = {_subject(_encodable(r._asdict())) for r in records}
    check_file(path)
    lock = Lock(path.with_name(LOCK))
    lock.acquire(patience=60)
    try:
        kept = b"".join(line + b"\n" for line, subject in _lines(path) if subject not in renewed)
        write_atomically(path, lambda file: file.write(kept + text))
    finally:
        lock.release()


def _subject(fields: dict[str, Any]) -> tuple[str, ...]:
    """What a line is about, as text: a stranger's line may hold anything there."""
    return tuple(str(fields.get(key)) for key in ("task", "metric", "data", "file"))


def _lines(path: Path) -> list[tuple[bytes, tuple[str, ...]]]:
    """The lines of a file that are JSON objects, each with what it is about."""
    if not path.exists():
        return []
    lines = [line for line in read_at_most(path, LARGEST).split(b"\n") if line.strip()]
    parsed = [(line, _parsed(line)) for line in lines]
    kept = [(line, _subject(fields)) for line, fields in parsed if fields is not None]
    if left_out := len(lines) - len(kept):
        warnings.warn(f"{path}: left out {left_out} of {len(lines)} lines that are no results.", stacklevel=3)
    return kept


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _line(record: Result | Figure) -> str:
    if isinstance(record, Figure):
        return json.dumps({"record": "figure", **_encodable(record._asdict())}, ensure_ascii=False)
    if not math.isfinite(record.value):
        raise ValueError(
            f"supersede: `value` of a result must be finite; got {record.value} for the {record.metric} of task "
            f"{record.task!r}, layer {record.layer!r}, n {record.n}, seed {record.seed}. Look at what was measured."
        )
    plain = {"value": float(record.value), "n": int(record.n), "seed": int(record.seed)}
    return json.dumps({"record": "result", **_encodable(record._asdict()), **plain}, ensure_ascii=False)


def _encodable(fields: dict[str, Any]) -> dict[str, Any]:
    """The same, with what no file can hold escaped: names of folders and flags may be any bytes."""
    return {name: encodable(value) if isinstance(value, str) else value for name, value in fields.items()}


def _command() -> str:
    program = Path(sys.argv[0])
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return shlex.join([*name.split(), *map(_without_folders, sys.argv[1:])])


def _without_folders(argument: str) -> str:
    flag, equals, value = argument.rpartition("=")
    return f"{flag}{equals}{Path(value).name}" if Path(value).is_absolute() else argument


def _machine() -> str:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    parts = [f"{cores} core{'s' if cores > 1 else ''}", platform.machine(), f"torch {torch.__version__.split('+')[0]}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)
