"""The labels of files: from the folders they lie in, or from a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unshuffle.data.class_folders import folder_classes
from unshuffle.data.described import described_classes

NAME_COLUMNS = ("name", "file", "filename", "path")


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
            of labels. A row's name may lack the suffix, or leading folders, or have more of these than the file's.
        column: the column of labels; by default ``label``, or the only one there is beside the names.

    Returns:
        The classes, in the order of their numbers where all are numbers and else of their names, and a label a file.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: columns are missing or several, a file has no row, or a row could be that of several files.

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


def _from_table(names: Sequence[str], table: Path, column: str | None) -> Labels:
    return numbered([str(value) for value in column_of(names, table, column)])


def column_of(names: Sequence[str], table: Path, column: str | None) -> list[object]:
    """What a table says of each file, as it is written there; arguments and errors are those of :func:`labels_of`."""
    rows, labels = _read(table, column)
    found = match_rows(names, rows, str(table))
    missing = [name for name, row in zip(names, found) if row is None or labels[row] in (None, "")]
    if missing:
        raise ValueError(
            f"{str(table)!r} has no label for {missing[0]!r} and {len(missing) - 1} others of {len(names)} files: add "
            "the rows, or give a folder with labelled files only."
        )
    return [labels[row] for row in found if row is not None]


def match_rows(names: Sequence[str], rows: Sequence[str], table: str) -> list[int | None]:
    """The row of each file; None where none fits.

    Raises:
        ValueError: a row could be that of several files, or a file's several rows.
    """
    exact = {row: number for number, row in enumerate(rows)}
    by_last: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_last.setdefault(row.rpartition("/")[2], []).append(number)
    found: list[int | None] = []
    owner: dict[int, str] = {}
    for name in names:
        row = exact[name] if name in exact else _closest(name, rows, by_last, table)
        if row is not None and owner.setdefault(row, name) != name:
            raise ValueError(
                f"the row {rows[row]!r} of {table!r} could be that of {owner[row]!r} and of {name!r}: give the files' "
                "names with their folders and suffixes."
            )
        found.append(row)
    return found


def _closest(name: str, rows: Sequence[str], by_last: dict[str, list[int]], table: str) -> int | None:
    """The one row whose path ends as the file's does, or the other way round, with the file's suffix or without."""
    stem = name[: name.rindex(".")] if "." in name.rpartition("/")[2] else name
    fits = {
        number
        for known in {name, stem}
        for number in by_last.get(known.rpartition("/")[2], ())
        if f"/{known}".endswith(f"/{rows[number]}") or f"/{rows[number]}".endswith(f"/{known}")
    }
    if len({rows[number] for number in fits}) > 1:
        several = " and ".join(repr(rows[number]) for number in sorted(fits)[:2])
        raise ValueError(f"{name!r} could be the row {several} of {table!r}: give the files' names with their folders.")
    return min(fits, default=None)


def named_columns(table: Path) -> tuple[list[str], dict[str, list[object]]]:
    """File names, and all other columns of plain values, row by row; errors are those of :func:`labels_of`."""
    if not table.is_file():
        raise FileNotFoundError(f"no table {str(table)!r}: give a .csv or .parquet with file names and labels.")
    kind = table.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ValueError(f"{str(table)!r} must be a .csv or a .parquet.")
    columns = _read_csv(table) if kind == ".csv" else _read_parquet(table)
    names = next((c for known in NAME_COLUMNS for c in columns if c.strip().lower() == known), None)
    if names is None:
        raise ValueError(
            f"{str(table)!r} has no column of file names: call one {' or '.join(NAME_COLUMNS)}; its columns: "
            f"{', '.join(columns)}."
        )
    rows = ["" if row is None else str(row).replace("\\", "/").removeprefix("./") for row in columns[names]]
    return rows, {name: values for name, values in columns.items() if name != names}


def _read(table: Path, column: str | None) -> tuple[list[str], list[object]]:
    """File names and labels, row by row."""
    rows, columns = named_columns(table)
    others = list(columns)
    chosen = column or ("label" if "label" in others else others[0] if len(others) == 1 else None)
    if chosen not in others:
        asked = f"no column {column!r}" if column else "several columns, or none, that could be the labels"
        raise ValueError(
            f"{str(table)!r} has {asked}: name one (--label-column); its columns: {', '.join(others) or 'none'}."
        )
    _refuse_twins(rows, columns[chosen], str(table))
    return rows, columns[chosen]


def _refuse_twins(rows: list[str], labels: list[object], table: str) -> None:
    """Refuses one file with two labels."""
    known: dict[str, object] = {}
    for row, label in zip(rows, labels):
        if known.setdefault(row, label) != label:
            raise ValueError(f"{table!r} has two labels for {row!r}, {known[row]!r} and {label!r}: leave one.")


def _read_csv(table: Path) -> dict[str, list[object]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{str(table)!r} cannot be read as a table in UTF-8: {error}") from error


def _read_parquet(table: Path) -> dict[str, list[object]]:
    """Columns of plain values; embeddings and the like are no labels and are left in the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
        plain = [f.name for f in file.schema_arrow if not pa.types.is_nested(f.type)]
        read = file.read(columns=plain)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{str(table)!r} cannot be read as Parquet: {error}") from error
    return {name: read[name].to_pylist() for name in plain}
