"""WAV and AU files whose recorder was stopped before it wrote their sizes: what was recorded is read."""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO, NamedTuple, cast

UNKNOWN = 0xFFFFFFFF
"""Size of data that go on to the end of the file, as streams have it."""


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    size: int


class SafeFile:
    """A file in which a decoder may seek before the beginning; Python's own would write a trace to the terminal.

    Args:
        file: read from its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        """The next bytes, into memory."""
        return self._file.readinto(buffer)  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; -1 where there is no such place."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:
        """Where the file is."""
        return self._file.tell()


def with_known_size(file: BinaryIO) -> BinaryIO:
    """The same file, or one with a header that does not claim that there are no samples.

    Args:
        file: a sound in any format, whose bytes can be sought.
    """
    head = file.read(12)
    file.seek(0)
    if head[:4] == b".snd" and head[8:12] == bytes(4):
        return _joined(head[:8] + struct.pack(">I", UNKNOWN), file, 12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return file
    order = ">" if head[:4] == b"RIFX" else "<"
    chunks = {chunk.kind: chunk for chunk in reversed(_chunks(file, order))}
    data, layout = chunks.get(b"data"), chunks.get(b"fmt ")
    file.seek(0)
    if data is None or layout is None or _size(file, data, chunks.get(b"ds64")) or not _is_recorded(file, data, order):
        file.seek(0)
        return file
    file.seek(layout.start)
    known = file.read(layout.size)
    size = struct.pack(order + "I", UNKNOWN)
    kind = head[:4].replace(b"RF64", b"RIFF")
    header = kind + size + b"WAVEfmt " + struct.pack(order + "I", layout.size) + known
    return _joined(header + bytes(layout.size % 2) + b"data" + size, file, data.start)


def _chunks(file: BinaryIO, order: str) -> list[_Chunk]:
    """The chunks up to that of the data."""
    found, place = [], 12
    while True:
        file.seek(place)
        header = file.read(8)
        if len(header) < 8:
            return found
        kind, size = struct.unpack(order + "4sI", header)
        found.append(_Chunk(kind, place + 8, size))
        if kind == b"data":
            return found
        place += 8 + size + size % 2


def _size(file: BinaryIO, data: _Chunk, large: _Chunk | None) -> int:
    """Bytes of data, as the header has it; that of an RF64 is in a chunk of its own."""
    if large is None or data.size not in (0, UNKNOWN):
        return data.size
    file.seek(large.start + 8)
    return int.from_bytes(file.read(8), "little")


def _is_recorded(file: BinaryIO, data: _Chunk, order: str) -> bool:
    """Whether what lies behind a header without samples are samples, and not more chunks, or nothing."""
    end, place = file.seek(0, io.SEEK_END), data.start
    while place < end:
        file.seek(place)
        header = file.read(8)
        if len(header) < 8 or not header[:4].isascii() or not header[:4].decode().isprintable():
            return True
        place += 8 + (size := struct.unpack(order + "I", header[4:])[0]) + size % 2
    return place > end + 1


def _joined(header: bytes, file: BinaryIO, start: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Joined(header, file, start)))


class _Joined(io.RawIOBase):
    """A header, and a file from ``start`` on. The file stays open."""

    mode, name = "rb", ""

    def __init__(self, header: bytes, file: BinaryIO, start: int) -> None:
        self._header, self._file, self._start, self._at = header, file, start, 0
        self._size = len(header) + max(0, file.seek(0, io.SEEK_END) - start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at < len(self._header):
            part = self._header[self._at : self._at + len(buffer)]
        else:
            self._file.seek(self._start + self._at - len(self._header))
            part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
