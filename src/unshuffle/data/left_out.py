"""Counts of the files that a listing leaves out, by reason, with the first names of each."""

from __future__ import annotations

from typing import NamedTuple

NAMED = 3
"""Names shown for each reason."""


class Reason(NamedTuple):
    """Why files are left out, in the singular and in the plural; ``note``: nothing is lost, but it should be known."""

    one: str
    many: str
    note: bool = False


DANGLING = Reason("link that leads nowhere", "links that lead nowhere")
OUTSIDE = Reason("link to outside the archive", "links to outside the archive")
LOOP = Reason("link that loops", "links that loop")
REVISITED = Reason("link to a folder that was entered too often", "links to folders that were entered too often")
UNREADABLE = Reason("folder that cannot be read", "folders that cannot be read")
SPECIAL = Reason("entry that is no regular file", "entries that are no regular files")
SPARSE = Reason("sparse entry of a tar", "sparse entries of tars")
REPLACED = Reason("entry replaced by a later one of its name", "entries replaced by later ones of their names")
ESCAPING = Reason("entry whose name leads outside the archive", "entries whose names lead outside the archive")
ARCHIVE = Reason("archive beside the files", "archives beside the files")
TWICE = Reason("folder has several names, its files count for each", "folders have several names, "
               "their files count for each", note=True)  # fmt: skip


class LeftOut:
    """Counts what is left out, and keeps the first names.

    Example:
        >>> left_out = LeftOut()
        >>> left_out.add(DANGLING, "cat"); left_out.add(DANGLING, "dog/1.png"); left_out.add(LOOP, "all/all")
        >>> left_out.messages()
        ['left out: 2 links that lead nowhere (cat, dog/1.png); 1 link that loops (all/all)']
    """

    def __init__(self) -> None:
        self.counts: dict[Reason, int] = {}
        self.names: dict[Reason, list[str]] = {}

    def add(self, reason: Reason, name: str, count: int = 1) -> None:
        """Counts one more name, or ``count`` files under one name."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        first = self.names.setdefault(reason, [])
        if len(first) < NAMED:
            first.append(name)

    def update(self, other: LeftOut) -> None:
        """Adds what another has counted."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            first = self.names.setdefault(reason, [])
            first += other.names[reason][: NAMED - len(first)]

    def messages(self) -> list[str]:
        """At most two lines: what is left out, and what should be known."""
        lines = []
        for note, head in ((False, "left out"), (True, "note")):
            parts = [self._part(reason) for reason in self.counts if reason.note == note]
            if parts:
                lines.append(f"{head}: {'; '.join(parts)}")
        return lines

    def _part(self, reason: Reason) -> str:
        count = self.counts[reason]
        return f"{count:,} {reason.one if count == 1 else reason.many} ({some(self.names[reason], count)})"


def some(names: list[str], count: int) -> str:
    """The first of ``count`` names in a row, as they can be printed anywhere."""
    shown = [name if name.isprintable() else repr(name)[1:-1] for name in names[:NAMED]]
    return ", ".join(shown) + (", …" if count > len(shown) else "")
