"""``metrics.csv``: one row a logged step, flushed at once, cut back when a run goes on from an earlier step."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import warnings
from pathlib import Path

from unshuffle._files import check_file, no_follow, read_at_most, sync_folder, write_atomically

FIRST_COLUMNS = ("step", "epoch", "split", "seconds", "lr")
LARGEST = 1 << 30
"""Bytes of a ``metrics.csv`` that is read again, at the most."""


class Metrics:
    """Appends rows to a CSV file; the columns are those of the first row, and ``also``.

    Args:
        path: the file; made with its first row.
        upto: rows of later steps are dropped first: they will be written again.
        also: columns of rows to come that the first one does not have.
    """

    def __init__(self, path: Path, *, upto: int, also: tuple[str, ...] = ()) -> None:
        self.path, self.also = path, also
        self.columns = _cut_back(path, upto)

    def write(
        self, step: int, epoch: int, split: str, seconds: float, lr: float | None, logs: dict[str, float]
    ) -> None:
        """Adds one row; a column that the file does not have is left out."""
        row = {"step": step, "epoch": epoch, "split": split, "seconds": f"{seconds:.3f}"}
        row |= {"lr": "" if lr is None else f"{lr:.6g}"} | {k: f"{v:.6g}" for k, v in logs.items()}
        with open(self.path, "a", newline="", opener=no_follow) as file:
            if not self.columns:
                self.columns = [*dict.fromkeys((*FIRST_COLUMNS, *logs, *self.also))]
                csv.writer(file).writerow(self.columns)
            csv.DictWriter(file, self.columns, extrasaction="ignore", restval="").writerow(row)

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        if self.columns:
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())
            sync_folder(self.path.parent)


def _cut_back(path: Path, upto: int) -> list[str]:
    """Keeps the whole rows of steps up to ``upto``; returns the columns, none where there is no file."""
    if check_file(path) is None:
        return []
    try:
        rows = list(csv.reader(io.StringIO(read_at_most(path, LARGEST).decode(errors="replace"), newline="")))
    except (csv.Error, ValueError):
        rows = [["unreadable"]] * 2
    if not rows or rows[0][: len(FIRST_COLUMNS)] != list(FIRST_COLUMNS):
        if len(rows) > 1:  # more than a first line that was cut off
            _set_aside(path)
        else:
            path.unlink()
        return []
    columns, kept = rows[0], [r for r in rows[1:] if len(r) == len(rows[0]) and _step(r[0]) <= upto]
    text = io.StringIO()
    csv.writer(text).writerows([columns, *kept])
    write_atomically(path, lambda out: out.write(text.getvalue().encode()))
    return columns


def _step(cell: str) -> float:
    """The step of a row; infinite where the cell holds no such number."""
    return int(cell) if re.fullmatch(r"[0-9]{1,18}", cell) else math.inf


def _set_aside(path: Path) -> None:
    """Keeps a damaged file under another name."""
    aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
    check_file(aside)
    os.replace(path, aside)
    warnings.warn(f"{path} cannot be read and was moved to {aside.name}: its rows begin again here.", stacklevel=2)
