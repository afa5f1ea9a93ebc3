"""A table of file names and values, CSV or Parquet: columns are found by name, values are plain words and numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from unshuffle.data.delimited import read_delimited

NAME_COLUMNS = ("name", "file", "filename", "path")
KINDS = (".csv", ".tsv", ".parquet")
MISSING = ("", "nan", "NaN", "NA", "N/A", "n/a", "<NA>", "NaT", "null", "NULL")
"""What stands where there is no value."""


class LabelRows(NamedTuple):
    """A table by rows. ``names`` are the files' as written there, ``headers`` the other columns of single values."""

    path: str
    names: list[str]
    headers: list[str]
    read: Callable[[int], Sequence[object]]
    """The values of the column of that number, as they are written."""
    line: Callable[[int], str]
    """Where a row is, in words: line 3."""
    defect: Callable[[int], str | None]
    """What is wrong with a row, in words."""
    lists: list[str]
    """Columns of lists, which are not read."""

    def find(self, wanted: str) -> int | None:
        """The column of that header; where none is written so, that which differs in capitals alone.

        Raises:
            ValueError: there are several.
        """
        for same in (wanted.__eq__, lambda header: header.strip().lower() == wanted.strip().lower()):
            found = [number for number, header in enumerate(self.headers) if same(header)]
            if len(found) > 1:
                raise ValueError(
                    f"{self.path!r} has {len(found)} columns called {wanted!r}: rename or remove all but one."
                )
            if found:
                return found[0]
        return None

    def where(self, row: int, column: int) -> str:
        """A cell in words: line 3, column 'label'."""
        return f"{self.line(row)}, column {self.headers[column]!r}"

    def value(self, row: int, column: int, cell: object) -> object | None:
        """What a cell says, without blanks around it; None where it says nothing.

        Raises:
            ValueError: the row has surplus cells, or the cell cannot be text.
        """
        if (defect := self.defect(row)) is not None:
            raise ValueError(f"{self.path!r}: {defect}.")
        if type(cell) is int:  # of most tables, and these can be long
            return cell
        if isinstance(cell, bytes):
            try:
                cell = cell.decode()
            except UnicodeDecodeError:
                raise ValueError(f"{self.path!r}: {self.where(row, column)}: {cell!r:.60} is no UTF-8.") from None
        if isinstance(cell, str):
            cell = cell.strip()
            if "\0" in cell:
                raise ValueError(f"{self.path!r}: {self.where(row, column)}: {cell!r:.60} holds a NUL.")
            return None if cell in MISSING else cell
        return None if cell is None or _is_nan(cell) else cell


def read_rows(table: Path) -> LabelRows:
    """Opens a table of file names and values.

    Args:
        table: a ``.csv`` or ``.tsv`` (see :func:`~unshuffle.data.delimited.read_delimited`) or a ``.parquet``. File
            names are in the first of the columns name, file, filename and path; capitals do not matter.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it cannot be read, or has no column of file names, or several of one name.
    """
    if not table.is_file():
        raise FileNotFoundError(f"no table {str(table)!r}: give a .csv or .parquet with file names and labels.")
    kind = table.suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"{str(table)!r} must be a .csv or a .parquet (or a .tsv).")
    return _parquet(table) if kind == ".parquet" else _delimited(table)


def _delimited(table: Path) -> LabelRows:
    read = read_delimited(table, NAME_COLUMNS)
    names = _name_column(table, read.header)
    others = [k for k in range(len(read.header)) if k != names]
    return LabelRows(
        str(table),
        [cell or "" for cell in read.column(names)],
        [read.header[k] for k in others],
        lambda number: read.column(others[number]),
        lambda row: f"line {read.lines[row]}",
        read.surplus,
        [],
    )


def _parquet(table: Path) -> LabelRows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
        fields = list(file.schema_arrow)
        plain = [k for k, field in enumerate(fields) if not pa.types.is_nested(field.type)]
        names = plain[_name_column(table, [fields[k].name for k in plain])]
        cells = _cells(file, names)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{str(table)!r} cannot be read as Parquet: {error}") from error
    others = [k for k in plain if k != names]
    return LabelRows(
        str(table),
        [_file_name(cell) for cell in cells],
        [fields[k].name for k in others],
        lambda number: _cells(file, others[number]),
        lambda row: f"row {row + 1}",
        lambda row: None,
        [field.name for k, field in enumerate(fields) if k not in plain],
    )


def _cells(file: Any, number: int) -> list[object]:
    """One column of a Parquet file by its number, as two may have one name."""
    import pyarrow as pa

    name = file.schema_arrow.field(number).name
    before = sum(field.name == name for field in list(file.schema_arrow)[:number])
    read = file.read(columns=[name]).column(before)
    if pa.types.is_timestamp(read.type) and read.type.unit == "ns":  # Python's dates know microseconds
        read = read.cast(pa.timestamp("us", read.type.tz), safe=False)
    return read.to_pylist()


def _file_name(cell: object) -> str:
    if cell is None:
        return ""
    return os.fsdecode(cell) if isinstance(cell, bytes) else str(cell)


def _name_column(table: Path, headers: Sequence[str]) -> int:
    """The number of the column of file names."""
    plain = [header.strip().lower() for header in headers]
    known = next((name for name in NAME_COLUMNS if name in plain), None)
    if known is None:
        raise ValueError(
            f"{str(table)!r} has no column of file names: call one {' or '.join(NAME_COLUMNS)}; its columns: "
            f"{', '.join(headers)}."
        )
    if plain.count(known) > 1:
        raise ValueError(
            f"{str(table)!r} has {plain.count(known)} columns called {known!r}: rename or remove all but one."
        )
    return plain.index(known)


def _is_nan(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and math.isnan(value)
