"""Which row of a table is that of which file."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from unshuffle._names import escape_name, unescape_name


def tidy_row(row: str) -> str:
    """A file name of a table, its folders parted by ``/``, without a leading ``./``; one with escapes as it is."""
    return row if _is_escaped(row) else row.replace("\\", "/").removeprefix("./")


def match_rows(names: Sequence[str], rows: Sequence[str], table: str) -> list[int | None]:
    """The row of each file; None where none fits.

    A row fits that is the name as it is, or as :func:`~unshuffle._names.escape_name` writes it; else one that lacks the
    suffix or leading folders, or has more of these, or blanks around it, in whichever Unicode normal form.

    Raises:
        ValueError: a row could be that of several files, or a file's several rows.
    """
    exact = {row: number for number, row in enumerate(rows)}
    same: dict[str, list[int]] = {}
    by_last: dict[str, list[int]] = {}
    readings = [_readings(row) for row in rows]
    for number, row in enumerate(rows):
        same.setdefault(composed(tidy_row(row)), []).append(number)
        for last in {reading.rpartition("/")[2] for reading in readings[number]}:
            by_last.setdefault(last, []).append(number)
    found: list[int | None] = []
    owner: dict[int, str] = {}
    for name in names:
        row = exact.get(name, exact.get(escape_name(name)))
        if row is None:
            fits = same.get(composed(name)) or _closest(name, readings, by_last)
            row = _only(name, fits, rows, table)
        if row is not None and owner.setdefault(row, name) != name:
            raise ValueError(
                f"the row {_told(rows[row])} of {table!r} could be that of {_apart(owner[row], name, ' and of ')}: "
                "give the files' names with their folders and suffixes."
            )
        found.append(row)
    return found


def _closest(name: str, readings: Sequence[tuple[str, ...]], by_last: dict[str, list[int]]) -> list[int]:
    """The rows whose path ends as the file's does, or the other way round, with the file's suffix or without."""
    name = composed(name)
    stem = name[: name.rindex(".")] if "." in name.rpartition("/")[2] else name
    fits = {
        number
        for known in {name, stem}
        for number in by_last.get(known.rpartition("/")[2], ())
        if any(_ends_alike(known, reading) for reading in readings[number])
    }
    return sorted(fits)


def _only(name: str, fits: Sequence[int], rows: Sequence[str], table: str) -> int | None:
    """The first of rows that are written the same; None of none."""
    several = list(dict.fromkeys(tidy_row(rows[number]) for number in fits))
    if len(several) > 1:
        raise ValueError(
            f"{_told(name)} could be the row {_apart(several[0], several[1], ' and ')} of {table!r}: give the files' "
            "names with their folders."
        )
    return fits[0] if fits else None


def _ends_alike(known: str, row: str) -> bool:
    return f"/{known}".endswith(f"/{row}") or f"/{row}".endswith(f"/{known}")


def _readings(row: str) -> tuple[str, ...]:
    """What a row may name: itself, without blanks around it; where it is escaped, the name behind that."""
    plain = composed(row.replace("\\", "/").removeprefix("./"))
    bare = plain.strip()
    one = (plain,) if bare == plain or not bare else (plain, bare)
    return (*one, composed(unescape_name(row))) if _is_escaped(row) else one


def _is_escaped(row: str) -> bool:
    """Whether a row may be a name with escapes; it may still be a path of Windows."""
    return "\\" in row and escape_name(unescape_name(row)) == row


def composed(name: str) -> str:
    """One form for a letter with its accents and for the letter and the accents one by one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _told(name: str) -> str:
    return f"'{escape_name(name)}'"


def _apart(one: str, other: str, between: str) -> str:
    """Two names so that one sees how they differ."""
    if composed(one) == composed(other):
        return f"{one!a}{between}{other!a}, which differ in their Unicode normal form alone"
    return f"{_told(one)}{between}{_told(other)}"
