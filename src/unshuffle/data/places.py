"""Where files lie: below a folder, in a zip, in uncompressed tars. One way to name, count and open them.

Nothing is ever unpacked to disk. Every ``open`` makes a handle of its own, so processes that read side by side (forked
or spawned) share no position. Zip entries that are stored and tar entries are read in place; compressed zip entries are
unpacked in memory, and refused above ``LARGEST`` bytes.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

LARGEST = 1 << 30
"""Bytes that a compressed zip entry may have once it is unpacked, 1 GiB: more is taken for a bomb."""


class Folder:
    """The files below a folder, sub-folders included; links to folders are not followed.

    Args:
        root: the folder.
        wanted: of a name, whether it is a file to keep.
    """

    def __init__(self, root: Path, wanted: Callable[[str], bool]) -> None:
        self.root = root
        self.names = in_order(name for name in _below(str(root)) if wanted(name))

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The file itself."""
        return self.root / self.names[index]

    def open(self, index: int) -> BinaryIO:
        """The file's bytes."""
        return open(self.path(index), "rb")

    def sizes(self) -> list[int]:
        """Bytes of each file; -1 of one that cannot be asked."""
        return [_size(f"{self.root}{os.sep}{name}") for name in self.names]


class Zip:
    """The entries of a zip, whose list is read once.

    Args:
        archive: the file.
        wanted: of a name, whether it is an entry to keep.

    Raises:
        ValueError: it is no zip, or its end, where the list lies, is missing.
    """

    def __init__(self, archive: Path, wanted: Callable[[str], bool]) -> None:
        self.archive = archive
        try:
            with zipfile.ZipFile(archive) as opened:
                found = {tidy(entry.filename): entry for entry in opened.infolist() if not entry.is_dir()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ValueError(f"{str(archive)!r} is damaged, or no zip ({error}); make or fetch it again.") from error
        self.names = in_order(name for name in found if wanted(name))
        self._entries = [found[name] for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> None:
        """None: an entry is no file of its own."""

    def open(self, index: int) -> BinaryIO:
        """The entry's bytes.

        Raises:
            ValueError: it is encrypted, too large, or packed in a way that is not read.
            zipfile.BadZipFile: it is damaged.
        """
        entry = self._entries[index]
        _refuse(entry)
        with open(self.archive, "rb") as file:
            start = _start(file, entry)
            if entry.compress_type == zipfile.ZIP_STORED:
                return _part(self.archive, start, entry.file_size)
            file.seek(start)
            with zipfile.ZipExtFile(file, "r", entry) as packed:
                return _Unpacked(packed.read(entry.file_size))  # with its size: a lying entry unpacks no further

    def sizes(self) -> list[int]:
        """Bytes of each entry once it is unpacked."""
        return [entry.file_size for entry in self._entries]


class Tar:
    """The entries of uncompressed tars, which are walked through once; of one name in one tar, the last counts.

    Entries of several tars are named ``TAR/ENTRY``, those of a single one ``ENTRY``.

    Args:
        archives: the files.
        wanted: of an entry's name, whether to keep it.
        several: name entries by their tar, too.

    Raises:
        ValueError: a file is compressed, cut short or no tar.
    """

    def __init__(self, archives: Sequence[Path], wanted: Callable[[str], bool], *, several: bool = False) -> None:
        self.archives = list(archives)
        found: dict[str, tuple[int, int, int]] = {}
        for number, archive in enumerate(self.archives):
            for name, start, size in _tar_entries(archive):
                if wanted(name):
                    found[f"{archive.name}/{name}" if several else name] = number, start, size
        self.names = in_order(found)
        self._places = np.array([found[name] for name in self.names], dtype=np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> None:
        """None: an entry is no file of its own."""

    def open(self, index: int) -> BinaryIO:
        """The entry's bytes."""
        number, start, size = self._places[index].tolist()
        return _part(self.archives[number], start, size)

    def sizes(self) -> list[int]:
        """Bytes of each entry."""
        return self._places[:, 2].tolist()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted folder by folder, as a listing of the tree shows them."""
    return sorted(names, key=lambda name: name.split("/"))


def tidy(name: str) -> str:
    """An entry's name without a leading ``./`` and the like, its folders parted by ``/``."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _below(folder: str, prefix: str = "") -> Iterator[str]:
    """Names of all files below a folder; hidden folders are not entered."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name


def _refuse(entry: zipfile.ZipInfo) -> None:
    """Refuses entries that cannot be read, or should not be."""
    if entry.flag_bits & 0x1:
        raise ValueError("encrypted; unpack the zip with its password first")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"packed by method {entry.compress_type} of zip; only stored and deflated entries are read")
    if entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size > LARGEST:
        raise ValueError(f"{entry.file_size:,} bytes once unpacked; at most {LARGEST:,} are, so store it as it is")


def _start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begin: behind its own header, whose length the list does not tell."""
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("the zip is damaged here: no entry where its list says")
    name, extra = struct.unpack("<HH", header[26:])
    return entry.header_offset + 30 + name + extra


def _tar_entries(archive: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of every plain file in a tar."""
    try:
        with tarfile.open(archive, "r:") as opened:
            while (entry := opened.next()) is not None:
                if entry.isreg() and not entry.issparse():
                    yield tidy(entry.name), entry.offset_data, entry.size
                opened.members = []  # pyright: ignore[reportAttributeAccessIssue]  (a million would stay in memory)
    except (tarfile.TarError, ValueError, OverflowError) as error:  # what a damaged header leads to
        if _compressed(archive):
            todo = "it is compressed, and so its entries cannot be reached one by one. Uncompress it to a plain .tar"
            raise ValueError(f"{str(archive)!r}: {todo}, or unpack it to a folder.") from error
        raise ValueError(f"{str(archive)!r} is cut short, or no tar ({error}); make or fetch it again.") from error


def _compressed(archive: Path) -> bool:
    """Whether a file begins as gzip, bzip2, xz or zstandard do."""
    with open(archive, "rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))


def _part(archive: Path, start: int, size: int) -> BinaryIO:
    """A part of a file as a file, on a handle of its own."""
    return cast(BinaryIO, io.BufferedReader(_Part(open(archive, "rb", buffering=0), start, size)))


class _Unpacked(io.BytesIO):
    """Bytes in memory, with all that :class:`typing.BinaryIO` asks for."""

    mode = "rb"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    name = ""


class _Part(io.RawIOBase):
    """``size`` bytes of a file from ``start`` on; closes the file with itself."""

    mode, name = "rb", ""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        self._file, self._first, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._first + self._at)
        count = self._file.readinto(memoryview(buffer)[:wanted]) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
