"""The labels of files: from the folders they lie in, or from a table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from unshuffle._names import escape_name
from unshuffle.data.class_folders import folder_classes
from unshuffle.data.described import described_classes
from unshuffle.data.label_rows import LabelRows, read_rows
from unshuffle.data.match import match_rows, tidy_row


class Labels(NamedTuple):
    """Names of the classes, and for each sample which one it is; no classes and None where nothing is known.

    ``labels`` is a number a sample, or for several classes a sample an array (N, classes) of 1 (there), 0 (not there)
    and -1 (not to be judged).
    """

    classes: tuple[str, ...]
    labels: Sequence[int] | np.ndarray | None


def labels_of(names: Sequence[str], table: Path | None = None, column: str | None = None) -> Labels:
    """Labels files by the folders they lie in, or by a table.

    Folders: a file's class is the first folder below those that all files share; a file in none has the label -1, and
    where all are in one, or in none, there are no labels. Split folders (train, val, …) and the names of tar shards are
    no classes.

    Args:
        names: of the files, '/'-separated.
        table: a ``.csv`` or ``.parquet`` with a column of file names (the first of name, file, filename, path) and one
            of labels; see :func:`~unshuffle.data.label_rows.read_rows`. A row's name may lack the suffix, or leading
            folders, or have more of these than the file's. Rows of other files do not matter.
        column: the column of labels; by default ``label``, or the only one there is beside the names. Capitals matter
            only between columns that differ in nothing else.

    Returns:
        The classes, in the order of their numbers where all are numbers and else of their names, and a label a file.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: columns are missing or several, a file has no row or no label (an empty cell, NaN, NA or null), a
            row has surplus cells, or it could be that of several files.

    Example:
        >>> labels_of(["photos/cat/1.jpg", "photos/dog/1.jpg", "photos/dog/2.jpg"])
        Labels(classes=('cat', 'dog'), labels=[0, 1, 1])
    """
    return _from_folders(names) if table is None else _from_table(names, table, column)


class FoundLabels(Labels):
    """Labels with lines that say how they were found, and which files have none (-1)."""

    messages: tuple[str, ...] = ()


def folder_labels(names: Sequence[str], depth: int | None = None) -> FoundLabels:
    """Labels files by folders; see :func:`~unshuffle.data.class_folders.folder_classes`.

    Args:
        names: of the files, '/'-separated.
        depth: of the class folder; None: the first one in which files differ.

    Returns:
        The classes, a label a file, -1 for files in no class folder, and ``messages``.
    """
    words, messages = folder_classes(names, depth)
    return _of_words(words, messages, sorted({word for word in words if word is not None}, key=by_nature))


def found_labels(files: Any) -> FoundLabels:
    """Labels files by the entries beside them in tars, where these hold labels, else by folders.

    Args:
        files: as :func:`~unshuffle.data.files.find` gives them.

    Raises:
        ValueError: some entries beside the files hold labels and one does not, or is too large.
    """
    folders = folder_labels(files.names)
    if not getattr(files, "beside", None):
        return folders
    described = described_classes(files, texts=folders.labels is None)
    if described is None:
        return folders
    words, messages = described
    if folders.labels is not None:
        messages.append(f"the {len(folders.classes):,} folders are no classes then")
    return _of_words(words, messages, numbered([word for word in words if word is not None]).classes)


def _of_words(words: Sequence[str | None], messages: Sequence[str], classes: Sequence[str]) -> FoundLabels:
    """Numbers of the classes, -1 for None; no labels at all where there are no classes."""
    place: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    found = FoundLabels(tuple(classes), [place.get(word, -1) for word in words] if classes else None)
    found.messages = tuple(messages)
    return found


def numbered(values: Sequence[str]) -> Labels:
    """Labels that are words, as classes and numbers."""
    classes = tuple(sorted(set(values), key=_rank))
    if len({_rank(c)[0] for c in classes}) > 1:  # some are numbers and some are words: all are words
        classes = tuple(sorted(classes))
    place = {name: number for number, name in enumerate(classes)}
    return Labels(classes, [place[value] for value in values])


def by_nature(word: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts words as people do: ``2-weak`` before ``10-strong``.

    Example:
        >>> sorted(["10-strong", "2-weak", "b"], key=by_nature)
        ['2-weak', '10-strong', 'b']
    """
    parts = re.findall(r"\d+|\D+", word)
    # No text starts as a number does, so each part is compared with its like.
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def _rank(value: str) -> tuple[int, float, str]:
    """Numbers first, by their size; then words."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _from_folders(names: Sequence[str]) -> Labels:
    return Labels(*folder_labels(names))


class Column(NamedTuple):
    """What a table says of each file, as it is written there; ``place(k)`` tells the cell of file k in words."""

    values: list[object]
    place: Callable[[int], str]


def _from_table(names: Sequence[str], table: Path, column: str | None) -> Labels:
    found = column_of(names, table, column)
    words = [str(value) for value in found.values]
    ranks = [_rank(word) for word in words]
    odd = next((k for k, (word, number, _) in enumerate(ranks) if not word and math.isinf(number)), None)
    if odd is not None and not any(word for word, _, _ in ranks):
        raise ValueError(f"{found.place(odd)}: {words[odd]} is no label beside finite numbers: write another.")
    return numbered(words)


def column_of(names: Sequence[str], table: Path, column: str | None) -> Column:
    """What a table says of each file; arguments and errors are those of :func:`labels_of`."""
    rows = read_rows(table)
    chosen = _chosen(rows, column)
    cells = rows.read(chosen)
    twins: dict[str, list[int]] = {}
    for number, row in enumerate(rows.names):
        twins.setdefault(tidy_row(row), []).append(number)
    found = match_rows(names, rows.names, rows.path)
    said = [None if row is None else _said(rows, twins[tidy_row(rows.names[row])], chosen, cells) for row in found]
    if missing := [k for k, row in enumerate(said) if row is None]:
        raise ValueError(_missing(names, found, missing, rows, chosen))
    known = cast(list[tuple[int, object]], said)
    return Column([value for _, value in known], lambda k: f"{rows.path!r}: {rows.where(known[k][0], chosen)}")


def _said(rows: LabelRows, twins: list[int], column: int, cells: Sequence[object]) -> tuple[int, object] | None:
    """Which of a file's rows has a label, and the label; None where none has.

    Raises:
        ValueError: two rows have different ones, or a row cannot be read.
    """
    read = [(row, rows.value(row, column, cells[row])) for row in twins]
    there = [(row, value) for row, value in read if value is not None]
    other = next(((row, value) for row, value in there if value != there[0][1]), None)
    if other is not None:
        raise ValueError(
            f"{rows.path!r} has two labels for {rows.names[twins[0]]!r}, {there[0][1]!r} and {other[1]!r} "
            f"({rows.line(there[0][0])} and {rows.line(other[0])}): leave one."
        )
    return there[0] if there else None


def _missing(
    names: Sequence[str], found: Sequence[int | None], missing: list[int], rows: LabelRows, column: int
) -> str:
    """What to say where files have no label, and what may have led to it."""
    row = found[missing[0]]
    where = "" if row is None else f" (of the first, {rows.where(row, column)} is empty, NaN or NA)"
    text = (
        f"{rows.path!r} has no label for '{escape_name(names[missing[0]])}' and {len(missing) - 1} others of "
        f"{len(names)} files{where}: add the rows, or give a folder with labelled files only."
    )
    defect = next((told for row in range(len(rows.names)) if (told := rows.defect(row)) is not None), None)
    return text if defect is None else f"{text} In that table, {defect}."


def _chosen(rows: LabelRows, asked: str | None) -> int:
    """The number of the column of labels."""
    found = rows.find(asked or "label")
    named = [number for number, header in enumerate(rows.headers) if header]  # an index of rows has no header
    if found is None and not asked and len(named) == 1:
        found = named[0]
    if found is None:
        what = f"no column {asked!r}" if asked else "several columns, or none, that could be the labels"
        lists = f" (and of lists, which are no labels: {', '.join(rows.lists)})" if rows.lists else ""
        raise ValueError(
            f"{rows.path!r} has {what}: name one (--label-column); its columns: "
            f"{', '.join(rows.headers) or 'none'}{lists}."
        )
    return found
