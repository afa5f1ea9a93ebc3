"""Samples of any source with labels of a table: one or several for each, from wherever they come."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from unshuffle.data.files import FileDataset
from unshuffle.data.image import Images
from unshuffle.data.label_rows import LabelRows, read_rows
from unshuffle.data.labels import numbered
from unshuffle.data.match import match_rows, tidy_row
from unshuffle.data.named import Labelled
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

HEAD, LABEL = "head", "label"
MOST_CLASSES = 1_000_000
"""Of a head: numbers beyond are names of something else, such as of photographs."""


class Heads(NamedTuple):
    """What a table says of samples: ``labels`` (N, heads), -1 for what it does not say; classes of each head.

    ``strangers`` are files of the table that are no samples.
    """

    labels: np.ndarray
    classes: tuple[int, ...]
    strangers: int


def read_heads(table: Path, names: Sequence[str]) -> Heads:
    """The labels of samples, by their names.

    Args:
        table: a ``.csv`` or ``.parquet`` with a column of file names (the first of name, file, filename, path), a
            column ``label``, and perhaps a column ``head``, of which a file then has a row each. Labels are numbers
            from 0, or words; an empty one, NaN, NA, null or -1 is none. Heads are numbers. Rows of other files need
            not be right.
        names: of the samples.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: columns are missing, heads or labels are none, a row could be that of several samples, a sample has
            two labels of one head, or not one sample has a label.
    """
    rows = read_rows(table)
    label, head = rows.find(LABEL), rows.find(HEAD)
    if label is None:
        raise ValueError(f"{str(table)!r} has no column {LABEL!r}; its columns: {', '.join(rows.headers) or 'none'}.")
    files = list(dict.fromkeys(map(tidy_row, rows.names)))
    found = match_rows(names, files, str(table))
    asked = {row for row in found if row is not None}
    place = {file: number for number, file in enumerate(files)}
    cells = _cells(rows, label, head, [place[tidy_row(row)] for row in rows.names], asked)
    given, classes = np.full((len(files) + 1, len(cells)), -1), []  # the last one is that of samples without a row
    for number, (name, of_head) in enumerate(cells.items()):
        codes = _codes([cell.label for cell in of_head], table)
        for cell, code in zip(of_head, codes.tolist()):
            if cell.file in asked and given[cell.file, number] not in (-1, code) and code != -1:
                where = f"{str(table)!r}, {rows.line(cell.row)}"
                raise ValueError(f"{where}: two labels of head {name} for {files[cell.file]!r}: leave one.")
            given[cell.file, number] = code if code != -1 else given[cell.file, number]
        classes.append(int(codes.max()) + 1)
    labels = given[[len(files) if row is None else row for row in found]]
    if not (labels >= 0).any():
        raise ValueError(
            f"{str(table)!r} has no label for any of {len(names)} samples, such as {names[0]!r}: "
            + (f"its names are such as {files[0]!r}. " if files else "it is empty. ")
            + "Give the data that it was made for."
        )
    return Heads(labels, tuple(classes), len(files) - len(asked))


class _Cell(NamedTuple):
    """What one row says: of which file, by number, and what."""

    row: int
    file: int
    label: object | None


def _cells(
    rows: LabelRows, label: int, head: int | None, files: Sequence[int], asked: set[int]
) -> dict[int, list[_Cell]]:
    """The rows of each head, in the order of heads; of files that are not asked for only what can be read."""
    labels, heads = rows.read(label), None if head is None else rows.read(head)
    found: dict[int, list[_Cell]] = {}
    for row, file in enumerate(files):
        try:
            value = rows.value(row, label, labels[row])
            number = 0 if head is None or heads is None else _head(rows, row, head, heads[row])
        except ValueError:
            if file in asked:
                raise
            continue
        found.setdefault(number, []).append(_Cell(row, file, value))
    return dict(sorted(found.items()))


def _head(rows: LabelRows, row: int, column: int, cell: object) -> int:
    number = cell if type(cell) is int else _whole(str(rows.value(row, column, cell)))
    if number is None:
        where = rows.where(row, column)
        raise ValueError(f"{rows.path!r}: heads must be whole numbers; got {cell!r} ({where}).")
    return number


def _codes(values: Sequence[object | None], table: Path) -> np.ndarray:
    """The labels of one head as numbers from 0, -1 for none: as they are where all are numbers, else by their words."""
    known = [value is not None for value in values]
    words = [str(value) for value in values if value is not None]
    numbers = [number for number in map(_whole, words) if number is not None]
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[known] = np.array(numbers if len(numbers) == len(words) else numbered(words).labels, dtype=np.int64)
    if not (codes >= 0).any():
        raise ValueError(f"{str(table)!r} has a head without a single label: leave it out.")
    if codes.min() < -1 or codes.max() >= MOST_CLASSES:
        raise ValueError(
            f"{str(table)!r}: labels that are numbers must be from 0 to below {MOST_CLASSES:,}, one output each; got "
            f"{codes.min()} to {codes.max()}. Number them from 0, or write words."
        )
    return codes


def _whole(word: str) -> int | None:
    """A whole number, however it is written (3, 3.0, -1); None for anything else."""
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


@register
@dataclass(frozen=True)
class Relabelled:
    """Images of another source, with the labels of a table in place of their own."""

    items: Images | Labelled
    """Where images come from."""
    table: str
    """The ``.csv`` or ``.parquet`` with file names, heads and labels; see :func:`read_heads`."""

    @property
    def noun(self) -> str:
        """One sample in a word."""
        return self.items.noun

    @property
    def any_size(self) -> str:
        """What to give an encoder for samples of any size."""
        return self.items.any_size

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of a sample."""
        return self.items.item_shape

    def settle(self, root: str | Path) -> tuple[Relabelled, list[str]]:
        """Chooses what ``items`` leaves open."""
        items, told = self.items.settle(root)
        return replace(self, items=items), told

    def heads(self, root: str | Path) -> Heads:
        """The labels of all samples there."""
        return read_heads(Path(self.table), self.items.open(root).names)

    def open(self, root: str | Path) -> FileDataset | Pixels | Subset:
        """The samples that have a label, with one number a head; -1 where the table has none of a head.

        Raises:
            FileNotFoundError: there is no such table, or no such data.
            ValueError: the table does not fit the samples.
        """
        data = copy(self.items.open(root))
        data.labels = read_heads(Path(self.table), data.names).labels
        data.classes = ()
        known = np.flatnonzero((data.labels >= 0).any(1))
        return data if len(known) == len(data) else Subset(data, known.tolist())

    def as_item(self, sample: Any) -> Tensor:
        """A sample that lies in memory as an item."""
        return self.items.as_item(sample)
