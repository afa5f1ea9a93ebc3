"""The entries of an uncompressed tar: every header is checked, and so is the end of the archive."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from unshuffle.data.left_out import DANGLING, ESCAPING, REPLACED, SPARSE, SPECIAL, LeftOut
from unshuffle.data.links import linked

BLOCK = 512
PADDING = 1 << 24
"""Bytes of zeros that may follow the end mark: tars are padded to a whole record, of 10,240 bytes as a rule."""
AGAIN = "make or fetch it again"

Part = tuple[int, int]
"""First byte and size of an entry's data."""


class TarList(NamedTuple):
    """The wanted files of a tar, links among them, and the other names by which they may be described."""

    files: dict[str, Part]
    beside: dict[str, Part]


class _NeedsAll(Exception):
    """A link may lead to an entry that was not kept."""


def list_tar(
    archive: Path, wanted: Callable[[str], bool], beside: Callable[[str], bool], left_out: LeftOut
) -> TarList:  # fmt: skip
    """Lists the wanted entries of a tar.

    A hard link is another name of the entry that had the target's name when the link was written; a symbolic link is
    followed within the tar. Of several entries with one name the last counts, as for ``tar`` itself.

    Args:
        archive: the file.
        wanted: whether a name is that of a sample.
        beside: whether it is that of a file that may say something of a sample.
        left_out: counts what is left out.

    Raises:
        ValueError: it is compressed or no tar, a header is damaged, or it does not end as a tar does.
    """
    try:
        return _listed(archive, wanted, beside, left_out, keep_all=False)
    except _NeedsAll:  # rare: a second pass costs less than to keep every name of every tar
        return _listed(archive, wanted, beside, left_out, keep_all=True)


def _listed(
    archive: Path,
    wanted: Callable[[str], bool],
    beside: Callable[[str], bool],
    left_out: LeftOut,
    *,
    keep_all: bool,
) -> TarList:
    files: dict[str, Part] = {}
    others: dict[str, Part] = {}
    links: dict[str, str] = {}
    found = LeftOut()  # of this pass
    for entry in _headers(archive):
        name = tidy(entry.name)
        if ".." in name and escapes(name, wanted):
            found.add(ESCAPING, name)
        kept = files if wanted(name) else others if keep_all or beside(name) else None
        if entry.issym():
            if not keep_all:
                raise _NeedsAll
            files.pop(name, None)
            others.pop(name, None)
            links[name] = entry.linkname
            continue
        part = _part(entry, files, others, keep_all=keep_all)
        if part is None or kept is None:
            if kept is files and not entry.isdir():
                found.add(SPARSE if entry.issparse() else DANGLING if entry.islnk() else SPECIAL, name)
            continue
        if name in kept and (kept is files or beside(name)):
            found.add(REPLACED, name)
        links.pop(name, None)
        kept[name] = part
    if links:
        for name, part in linked(others | files, links, found):
            if wanted(name) or beside(name):
                (files if wanted(name) else others)[name] = part
    left_out.update(found)
    return TarList(files, {name: part for name, part in others.items() if beside(name)} if keep_all else others)


def _part(
    entry: tarfile.TarInfo, files: dict[str, Part], others: dict[str, Part], *, keep_all: bool
) -> Part | None:  # fmt: skip
    """Where the data of an entry are; None where it has none that could be read in place."""
    if entry.isreg():
        return None if entry.issparse() else (entry.offset_data, entry.size)
    if not entry.islnk():
        return None
    target = tidy(entry.linkname)
    part = files.get(target) or others.get(target)
    if part is None and not keep_all:
        raise _NeedsAll
    return part


def tidy(name: str) -> str:
    """An entry's name without a leading ``./`` and the like, its folders parted by ``/``."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def escapes(name: str, wanted: Callable[[str], bool]) -> bool:
    """Whether a name leads out of its archive and would otherwise be wanted."""
    parts = name.split("/")
    return ".." in parts and wanted("/".join(part for part in parts if part != ".."))


def _headers(archive: Path) -> Iterator[tarfile.TarInfo]:
    """All entries of a tar that is whole."""
    at = 0
    try:
        with tarfile.open(archive, "r:") as opened:
            while True:
                at = opened.offset
                entry = opened.next()
                if entry is None:
                    break
                yield entry
                opened.members = []  # pyright: ignore[reportAttributeAccessIssue]  (a million would stay in memory)
            at = opened.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:  # what a damaged header leads to
        if _compressed(archive):
            todo = "it is compressed, and so its entries cannot be reached one by one. Uncompress it to a plain .tar"
            raise ValueError(f"{str(archive)!r}: {todo}, or unpack it to a folder.") from error
        raise ValueError(f"{str(archive)!r} is cut short, or no tar ({error}, byte {at:,}); {AGAIN}.") from error
    _check_end(archive, at)


def _check_end(archive: Path, at: int) -> None:
    """Refuses a tar that does not end at byte ``at`` in two blocks of zeros, with nothing but zeros behind."""
    size = os.path.getsize(archive)
    with open(archive, "rb") as file:
        file.seek(at)
        mark = file.read(2 * BLOCK)
        if len(mark) < 2 * BLOCK and not mark.strip(b"\0"):
            raise ValueError(
                f"{str(archive)!r} is cut short: at byte {at:,} it ends without the two blocks of zeros that close a "
                f"tar; {AGAIN}. (If its writer is known to leave them out: head -c 1024 /dev/zero >> FILE.)"
            )
        if mark[:BLOCK].strip(b"\0"):
            raise ValueError(f"{str(archive)!r} is damaged: no valid header at byte {at:,}; {AGAIN}.")
        if size - at > PADDING:
            raise ValueError(_goes_on(archive, at))
        behind = mark[BLOCK:] + file.read(PADDING)
    if behind.strip(b"\0"):
        raise ValueError(_goes_on(archive, at))


def _goes_on(archive: Path, at: int) -> str:
    return (
        f"{str(archive)!r} goes on after its end at byte {at:,}: it was damaged or not fetched as a whole, or several "
        f"tars were joined; {AGAIN}, or give the tars one by one as shards."
    )


def _compressed(archive: Path) -> bool:
    """Whether a file begins as gzip, bzip2, xz or zstandard do."""
    with open(archive, "rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
