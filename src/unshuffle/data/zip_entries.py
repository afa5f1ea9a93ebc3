"""The entries of a zip: the list at its end is checked against itself, and against the entries' own headers."""

from __future__ import annotations

import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from unshuffle.data.left_out import ESCAPING, REPLACED, LeftOut
from unshuffle.data.links import linked
from unshuffle.data.tar_entries import AGAIN, escapes, tidy

LARGEST = 1 << 30
"""Bytes that a compressed zip entry may have once it is unpacked, 1 GiB: more is taken for a bomb."""
FEW = 100
"""Unwanted entries of one suffix whose own headers are looked at: a damaged name in the list may hide a sample."""
LONGEST_TARGET = 4096
"""Bytes of a symbolic link, as in Linux."""
_HEADER = 30
_UTF8 = 0x800


def list_zip(archive: Path, wanted: Callable[[str], bool], left_out: LeftOut) -> dict[str, zipfile.ZipInfo]:
    """Lists the wanted entries of a zip by name, symbolic links within it followed.

    Of several entries with one name the last counts.

    Args:
        archive: the file.
        wanted: whether a name is that of a sample.
        left_out: counts what is left out.

    Raises:
        ValueError: it is no zip, its end is missing, or its list is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            with open(archive, "rb") as file:
                _check_list(entries, opened.start_dir, file)
                return _named(entries, wanted, left_out, file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"{str(archive)!r} is damaged, or no zip ({error}); {AGAIN}.") from error


def _named(
    entries: Sequence[zipfile.ZipInfo], wanted: Callable[[str], bool], left_out: LeftOut, file: BinaryIO
) -> dict[str, zipfile.ZipInfo]:
    files: dict[str, zipfile.ZipInfo] = {}
    links: dict[str, str] = {}
    for entry in entries:
        name = tidy(entry.filename)
        if entry.is_dir():
            continue
        if ".." in name and escapes(name, wanted):
            left_out.add(ESCAPING, name)
        if name in files and wanted(name):
            left_out.add(REPLACED, name)
        if _is_link(entry):
            links[name] = _target(file, entry)
            files.pop(name, None)
        else:
            files[name] = entry
            links.pop(name, None)
    _check_unwanted(files, wanted, file)
    if links:
        files |= dict(linked(files, links, left_out))
    return {name: entry for name, entry in files.items() if wanted(name)}


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return entry.external_attr >> 28 == 0o12


def _target(file: BinaryIO, entry: zipfile.ZipInfo) -> str:
    """What a symbolic link says; nothing where that cannot be read."""
    try:
        refuse(entry)
        if entry.file_size > LONGEST_TARGET:
            return ""
        return unpacked(file, entry).decode("utf-8", "surrogateescape")
    except (ValueError, zipfile.BadZipFile, OSError, struct.error):
        return ""


def refuse(entry: zipfile.ZipInfo) -> None:
    """Refuses entries that cannot be read, or should not be.

    Raises:
        ValueError: it is encrypted, too large, or packed in a way that is not read.
    """
    if entry.flag_bits & 0x1:
        raise ValueError("encrypted; unpack the zip with its password first")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"packed by method {entry.compress_type} of zip; only stored and deflated entries are read")
    if entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size > LARGEST:
        raise ValueError(f"{entry.file_size:,} bytes once unpacked; at most {LARGEST:,} are, so store it as it is")


def unpacked(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """The content of an entry, by its checksum.

    Raises:
        zipfile.BadZipFile: it is damaged.
    """
    file.seek(data_start(file, entry))
    with zipfile.ZipExtFile(file, "r", entry) as packed:  # pyright: ignore[reportArgumentType]
        return packed.read(entry.file_size)  # with its size: a lying entry unpacks no further


class _Header(NamedTuple):
    """An entry's own header: how it is packed, and the length of its name and of what follows that."""

    flags: int
    method: int
    name: int
    extra: int


def data_start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begin: behind its own header, which must fit the list.

    Raises:
        zipfile.BadZipFile: there is no such header, or it is that of another entry.
    """
    file.seek(entry.header_offset)
    head = file.read(_HEADER)
    if len(head) < _HEADER or head[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("the zip is damaged here: no entry where its list says")
    header = _Header(*struct.unpack_from("<HH", head, 6), *struct.unpack_from("<HH", head, 26))
    name = file.read(header.name)
    as_listed = header.method == entry.compress_type and _same_name(name, header.flags, entry)
    if not as_listed:
        raise zipfile.BadZipFile("the zip is damaged here: the list says otherwise than the entry itself")
    return entry.header_offset + _HEADER + header.name + header.extra


def _same_name(name: bytes, flags: int, entry: zipfile.ZipInfo) -> bool:
    """Whether a name is the listed one, of the same encoding where that matters."""
    if not name.isascii() and (flags ^ entry.flag_bits) & _UTF8:
        return False
    return name.decode("utf-8" if entry.flag_bits & _UTF8 else "cp437", "replace") == entry.orig_filename


def _check_list(entries: Sequence[zipfile.ZipInfo], end: int, file: BinaryIO) -> None:
    """Refuses a list that contradicts itself: entries that overlap, or another number of them than it says."""
    said = _said_count(file)
    if said is not None and said != len(entries) & 0xFFFF:
        raise ValueError(f"its list holds {len(entries):,} entries, and {said:,} by its end")
    for entry in entries:
        if entry.is_dir() and entry.file_size:
            raise ValueError(f"the folder {entry.filename!r} has content")
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 0x1
        if stored and entry.compress_size != entry.file_size:
            raise ValueError(f"the sizes of {entry.filename!r} contradict each other")
    starts = np.array([entry.header_offset for entry in entries], dtype=np.int64)
    ends = starts + _HEADER + np.array([entry.compress_size for entry in entries], dtype=np.int64)
    if len(starts) and starts.min() < 0:
        raise ValueError(f"{entries[int(starts.argmin())].filename!r} begins before the file does")
    order = np.argsort(starts, kind="stable")
    over = np.flatnonzero(ends[order] > np.append(starts[order], end)[1:])
    if len(over):
        raise ValueError(f"{entries[int(order[over[0]])].filename!r} overlaps what follows it")


def _said_count(file: BinaryIO) -> int | None:
    """How many entries the record at the end counts, modulo 65,536; None where it leaves that to zip64's record."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 22 - 65_535))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return None
    count = struct.unpack_from("<H", tail, at + 10)[0]
    return None if count == 0xFFFF else count


def _check_unwanted(files: Mapping[str, zipfile.ZipInfo], wanted: Callable[[str], bool], file: BinaryIO) -> None:
    """Refuses a list in which the name of an unwanted entry is damaged: it may be that of a sample.

    Wanted entries are checked when they are read. Of a suffix with many unwanted entries no chance damage made them.
    """
    by_suffix: defaultdict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for name, entry in files.items():
        if not wanted(name):
            by_suffix[name.rpartition(".")[2]].append(entry)
    for entries in by_suffix.values():
        for entry in entries if len(entries) <= FEW else ():
            data_start(file, entry)
