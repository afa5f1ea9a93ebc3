"""Delimited text (CSV and its dialects) as cells with their line numbers; what leaves a doubt is refused by line."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_CELL = (1 << 31) - 1
_HEAD = 1 << 20
"""Characters in which the header must end."""
_EXCEL = re.compile(r"sep=(.)\r?\n?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*(?:,\d+)?(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")


class Delimited(NamedTuple):
    """Cells row by row, and the line on which each row begins; ``header`` lies on ``header_line``."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str
    header_line: int

    def surplus(self, row: int) -> str | None:
        """What is wrong with a row that has more cells than the header; None where it has not."""
        cells, width = self.rows[row], len(self.header)
        extra = next((k for k in range(width, len(cells)) if cells[k].strip()), None)
        if extra is None:
            return None
        return (
            f"line {self.lines[row]} has {len(cells)} cells and the header {width}: {cells[extra].strip()!r:.60} in "
            f"column {extra + 1} is one too many. Put cells that hold a {DELIMITERS[self.delimiter]} into double quotes"
        )

    def column(self, number: int) -> list[str | None]:
        """The cells of one column, None where a row is too short; a decimal comma becomes a point.

        Commas are decimal only where they do not separate cells, where every cell is a number with one comma at the
        most, and where they cannot be thousands.
        """
        cells = [row[number] if number < len(row) else None for row in self.rows]
        if self.delimiter == "," or not _has_decimal_commas(cells):
            return cells
        return [cell if cell is None else cell.replace(",", ".") for cell in cells]


def read_delimited(path: Path, known: Sequence[str]) -> Delimited:
    """Reads a table in UTF-8, or with a byte order mark in UTF-16 or UTF-32, separated by commas, semicolons or tabs.

    Args:
        path: the file.
        known: names of columns in lower case, of which the header has one; they tell what separates its cells.

    Raises:
        ValueError: it is no such text, a quote is not closed, or several separators would do; with the line.
    """
    text = _decode(path)
    separator = _EXCEL.match(text)
    skipped = separator.end() if separator else 0
    delimiter = separator[1] if separator else _delimiter(text[:_HEAD], known, path)
    if delimiter not in DELIMITERS:
        raise ValueError(f"{str(path)!r}: cells are separated by commas, semicolons or tabs; not by {delimiter!r}.")
    rows, lines = [], []
    for line, row in _rows(text[skipped:], delimiter, path):
        rows.append(row)
        lines.append(line + bool(separator))
    header = [cell.strip() for cell in rows[0]] if rows else []
    return Delimited(header, rows[1:], lines[1:], delimiter, lines[0] if lines else 1)


def _decode(path: Path) -> str:
    content = path.read_bytes()
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        what = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise ValueError(
            f"{str(path)!r} cannot be read as a table in {what}: line {line}, byte {column}: {error.reason}. Save it "
            "as UTF-8."
        ) from error
    if (nul := text.find("\0")) >= 0:
        line, column = text.count("\n", 0, nul) + 1, nul - text.rfind("\n", 0, nul)
        raise ValueError(
            f"{str(path)!r} cannot be read as a table in UTF-8: line {line}, character {column} is a NUL. The file is "
            "damaged, or in UTF-16 without a byte order mark: save it as UTF-8."
        )
    return text


def _delimiter(head: str, known: Sequence[str], path: Path) -> str:
    """What separates the cells of the header: that by which it has a known column.

    Raises:
        ValueError: by several separators it has one.
    """
    fitting = {}
    for delimiter in DELIMITERS:
        try:
            cells = next((row for _, row in _rows(head, delimiter, path)), [])
        except ValueError:  # a quote that another separator would close
            continue
        if any(cell.strip().lower() in known for cell in cells):
            fitting[delimiter] = len(cells)
    several = [name for name, cells in fitting.items() if cells > 1]
    if len(several) > 1:
        words = " or a ".join(DELIMITERS[name] for name in several)
        raise ValueError(
            f"{str(path)!r}: the header could be separated by a {words}: each gives a column of file names. Rename the "
            "others."
        )
    return next(iter(several or fitting), ",")


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row; empty lines are none.

    Raises:
        ValueError: a quote is not closed, or text follows a closed one.
    """
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with _cells_of_any_length():
        while True:
            first = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(
                    f"{str(path)!r} cannot be read as a table: the row that begins on line {first}: {error}. Double "
                    "quotes open and close a cell; within one, they are written twice."
                ) from error
            if row:
                yield first, row


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lifts Python's limit of 131,072 characters a cell, which is one of the whole process, for as long as we read."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _has_decimal_commas(cells: Sequence[str | None]) -> bool:
    written = [cell.strip() for cell in cells if cell and cell.strip()]
    with_comma = [cell for cell in written if "," in cell]
    return (
        bool(with_comma)
        and all(_DECIMAL_COMMA.fullmatch(cell) for cell in written)
        and not all(_THOUSANDS.fullmatch(cell) for cell in with_comma)
    )
