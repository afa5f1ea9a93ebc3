"""Where files lie: below a folder, in a zip, in uncompressed tars. One way to name, count and open them.

Nothing is ever unpacked to disk. Every ``open`` makes a handle of its own, so processes that read side by side (forked
or spawned) share no position. Tar entries and large stored zip entries are read in place; other zip entries are read
into memory, by their checksum, and compressed ones are refused above ``zip_entries.LARGEST`` bytes.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from unshuffle.data.left_out import LeftOut
from unshuffle.data.tar_entries import list_tar
from unshuffle.data.walk import files_below
from unshuffle.data.zip_entries import data_start, list_zip, refuse, unpacked

IN_MEMORY = 1 << 24
"""Bytes up to which a stored zip entry is read as a whole, so that its checksum is known to be right."""


def _nothing(name: str) -> bool:
    return False


class Folder:
    """The files below a folder, sub-folders included; see :func:`~unshuffle.data.walk.files_below` for links.

    Args:
        root: the folder.
        wanted: of a name, whether it is a file to keep.
    """

    def __init__(self, root: Path, wanted: Callable[[str], bool]) -> None:
        self.root, self.left_out = root, LeftOut()
        self.names = in_order(files_below(str(root), wanted, self.left_out))

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
    """The entries of a zip, whose list is read once; see :func:`~unshuffle.data.zip_entries.list_zip`.

    Args:
        archive: the file.
        wanted: of a name, whether it is an entry to keep.

    Raises:
        ValueError: it is no zip, its end, where the list lies, is missing, or the list is damaged.
    """

    def __init__(self, archive: Path, wanted: Callable[[str], bool]) -> None:
        self.archive, self.left_out = archive, LeftOut()
        found = list_zip(archive, wanted, self.left_out)
        self.names = in_order(found)
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
        refuse(entry)
        with open(self.archive, "rb") as file:
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size > IN_MEMORY:
                return _part(self.archive, data_start(file, entry), entry.file_size)
            return _Unpacked(unpacked(file, entry))

    def sizes(self) -> list[int]:
        """Bytes of each entry once it is unpacked."""
        return [entry.file_size for entry in self._entries]


class Tar:
    """The entries of uncompressed tars, each walked through once; see :func:`~unshuffle.data.tar_entries.list_tar`.

    Entries of several tars are named ``TAR/ENTRY``, those of a single one ``ENTRY``.

    Args:
        archives: the files.
        wanted: of an entry's name, whether to keep it.
        several: name entries by their tar, too.
        beside: of an entry's name, whether it may say something of a sample; see :attr:`beside`.

    Raises:
        ValueError: a file is compressed, damaged, cut short or no tar.
    """

    def __init__(
        self,
        archives: Sequence[Path],
        wanted: Callable[[str], bool],
        *,
        several: bool = False,
        beside: Callable[[str], bool] = _nothing,
    ) -> None:
        self.archives, self.left_out = list(archives), LeftOut()
        found: dict[str, tuple[int, int, int]] = {}
        others: dict[str, tuple[int, int, int]] = {}
        prefixes = [f"{name}/" for name in _shard_names(self.archives)] if several else [""]
        for number, (archive, prefix) in enumerate(zip(self.archives, prefixes)):
            files, described = list_tar(archive, wanted, beside, self.left_out)
            found |= {prefix + name: (number, *part) for name, part in files.items()}
            others |= {prefix + name: (number, *part) for name, part in described.items()}
        self.names = in_order(found)
        self._places = np.array([found[name] for name in self.names], dtype=np.int64).reshape(-1, 3)
        self.beside = others

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> None:
        """None: an entry is no file of its own."""

    def open(self, index: int) -> BinaryIO:
        """The entry's bytes."""
        number, start, size = self._places[index].tolist()
        return _part(self.archives[number], start, size)

    def read_beside(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Names and contents of entries of :attr:`beside`, tar by tar in the order in which they were written."""
        for number, group in groupby(sorted(names, key=self.beside.__getitem__), lambda name: self.beside[name][0]):
            with open(self.archives[number], "rb") as file:
                for name in group:
                    _, start, size = self.beside[name]
                    file.seek(start)
                    yield name, file.read(size)

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


def _shard_names(archives: Sequence[Path]) -> list[str]:
    """The names of the files; with their folders (``a+0.tar``) where two have one name."""
    names = [archive.name for archive in archives]
    if len(set(names)) == len(names):
        return names
    above = os.path.commonpath([archive.parent for archive in archives])
    names = ["+".join(archive.relative_to(above).parts) for archive in archives]
    assert len(set(names)) == len(names) or len(set(archives)) < len(archives), names
    return names


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
