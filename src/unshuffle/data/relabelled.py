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
from unshuffle.data.labels import match_rows, named_columns, numbered
from unshuffle.data.named import Labelled
from unshuffle.data.pixels import Pixels
from unshuffle.values import register

HEAD, LABEL = "head", "label"
NOTHING = ("", None)
"""What stands where there is no label, beside -1 and what is not a number."""
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
            from 0, or words; an empty one, or -1, is none. Heads are numbers.
        names: of the samples.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: columns are missing, heads or labels are none, a row could be that of several samples, a sample has
            two labels of one head, or not one sample has a label.
    """
    rows, columns = named_columns(table)
    if LABEL not in columns:
        raise ValueError(f"{str(table)!r} has no column {LABEL!r}; its columns: {', '.join(columns) or 'none'}.")
    files = list(dict.fromkeys(rows))
    place = {file: number for number, file in enumerate(files)}
    where = np.array([place[row] for row in rows], dtype=np.int64)
    heads = _heads_of(columns.get(HEAD), len(rows), table)
    order = np.unique(heads).tolist()
    given, classes = np.full((len(files) + 1, len(order)), -1), []  # the last one is that of samples without a row
    for number, head in enumerate(order):
        of_head = np.flatnonzero(heads == head)
        codes = _codes([columns[LABEL][row] for row in of_head], table)
        given[where[of_head], number] = codes
        twin = np.flatnonzero(given[where[of_head], number] != codes)
        if len(twin):
            raise ValueError(f"{str(table)!r} has two labels of head {head} for {rows[of_head[twin[0]]]!r}: leave one.")
        classes.append(int(codes.max()) + 1)
    found = match_rows(names, files, str(table))
    labels = given[[len(files) if row is None else row for row in found]]
    if not (labels >= 0).any():
        raise ValueError(
            f"{str(table)!r} has no label for any of {len(names)} samples, such as {names[0]!r}: "
            + (f"its names are such as {files[0]!r}. " if files else "it is empty. ")
            + "Give the data that it was made for."
        )
    return Heads(labels, tuple(classes), len(files) - len({row for row in found if row is not None}))


def _heads_of(column: Sequence[object] | None, rows: int, table: Path) -> np.ndarray:
    """The head of each row, all of one where there is no such column."""
    if column is None:
        return np.zeros(rows, dtype=np.int64)
    numbers = [_whole(str(value)) for value in column]
    if None in numbers:
        raise ValueError(f"{str(table)!r}: heads must be whole numbers; got {column[numbers.index(None)]!r}.")
    return np.array(numbers, dtype=np.int64)


def _codes(values: Sequence[object], table: Path) -> np.ndarray:
    """The labels of one head as numbers from 0, -1 for none: as they are where all are numbers, else by their words."""
    known = [value not in NOTHING and value == value for value in values]
    words = [str(value) for value, there in zip(values, known) if there]
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
