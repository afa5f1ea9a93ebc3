"""``metrics.csv``: one row a logged step, flushed at once, cut back when a run goes on from an earlier step."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from unshuffle._files import write_atomically

FIRST_COLUMNS = ("step", "epoch", "split", "seconds", "lr")


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
        with open(self.path, "a", newline="") as file:
            if not self.columns:
                self.columns = [*dict.fromkeys((*FIRST_COLUMNS, *logs, *self.also))]
                csv.writer(file).writerow(self.columns)
            csv.DictWriter(file, self.columns, extrasaction="ignore", restval="").writerow(row)


def _cut_back(path: Path, upto: int) -> list[str]:
    """Keeps the whole rows of steps up to ``upto``; returns the columns, none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0][: len(FIRST_COLUMNS)] != list(FIRST_COLUMNS):
        path.unlink()
        return []
    columns, kept = rows[0], [r for r in rows[1:] if len(r) == len(rows[0]) and r[0].isdigit() and int(r[0]) <= upto]
    text = io.StringIO()
    csv.writer(text).writerows([columns, *kept])
    write_atomically(path, lambda out: out.write(text.getvalue().encode()))
    return columns
