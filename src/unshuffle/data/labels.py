"""The labels of files: from the folders they lie in, or from a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

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

    Folders: a file's class is the first folder below those that all files share; where a file lies in none, or all in
    one, there are no labels. The name of a tar shard counts as no folder.

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
    parts = [name.split("/")[:-1] for name in names]
    parts = [p[1:] if p and p[0].lower().endswith(".tar") else p for p in parts]
    depth = 0
    while parts and all(len(p) > depth for p in parts):
        if len({p[depth] for p in parts}) > 1:
            folders = [p[depth] for p in parts]
            classes = tuple(sorted(set(folders), key=by_nature))
            place = {name: number for number, name in enumerate(classes)}
            return Labels(classes, [place[folder] for folder in folders])
        depth += 1
    return Labels((), None)


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
