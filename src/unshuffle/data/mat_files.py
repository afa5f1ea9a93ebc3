"""MATLAB files whose sizes are checked before scipy takes memory for them; nothing in such a file is run.

A header of a few bytes can ask for an array of any size, a compressed element can unpack to a thousand times its size,
and cells can be nested without end. All of that is looked at first, element by element (MATLAB 5 to 7).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from unshuffle.data.bounded import DAMAGED, RATIO

LARGEST = 1 << 32
"""Bytes that one variable may unpack to, 4 GiB: elements of MATLAB 5 cannot be larger."""
DEEPEST = 16
"""Cells and structures within each other."""
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT = 1, 2, 3
_PIECE = 1 << 16
_NUMERIC = (4, *range(6, 16))
"""Kinds of arrays of characters and of numbers."""
_TYPES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18))
"""Types of the numbers and characters of an element."""
_NAMES = 1 << 20
"""Bytes of the names of all fields of a structure."""


def read_mat(file: BinaryIO, names: Sequence[str], name: str, largest: int = LARGEST) -> dict[str, np.ndarray]:
    """The named arrays of a MATLAB file.

    Args:
        file: can be sought.
        names: of the arrays.
        name: of the file, for messages.
        largest: bytes that an array may unpack to.

    Raises:
        ValueError: it is damaged, lacks an array, or its sizes contradict each other.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        _check(file, names, largest)
        file.seek(0)
        told = loadmat(file, variable_names=list(names))
        return {wanted: told[wanted] for wanted in names}
    except KeyError as error:
        raise ValueError(f"{name} has no table {error.args[0]!r:.80} to be read.") from error
    except (*DAMAGED, MatReadError) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        wanted = ", ".join(map(repr, names))
        raise ValueError(f"{name} has no table {wanted} to be read ({reason}).") from error


class _Header(NamedTuple):
    """What an array says of itself."""

    kind: int
    length: int
    is_complex: bool
    name: str


class _Stream:
    """Bytes of a file that may be packed, and how many were taken."""

    def __init__(self, file: BinaryIO, order: str, packed: int | None) -> None:
        self.file, self.order, self.left, self.taken = file, order, packed or 0, 0
        self.inflate = None if packed is None else zlib.decompressobj()
        self.waiting, self.ready, self.at = b"", b"", 0

    def read(self, count: int) -> bytes:
        """So many bytes, of which there are few.

        Raises:
            ValueError: there are fewer.
        """
        if self.inflate is None:
            found = self.file.read(count)
        else:
            while len(self.ready) - self.at < count and self._unpack():
                pass
            found = self.ready[self.at : self.at + count]
            self.at += len(found)
        if len(found) != count:
            raise ValueError("an element is cut short")
        self.taken += count
        return found

    def _unpack(self) -> bool:
        """Unpacks one piece more; whether there was one."""
        assert self.inflate is not None
        if self.inflate.eof:
            return False
        if not self.waiting:
            self.waiting = self.file.read(min(self.left, _PIECE))
            self.left -= len(self.waiting)
        part = self.inflate.decompress(self.waiting, _PIECE)
        more = bool(part or self.inflate.unconsumed_tail or (self.waiting and self.left))
        self.waiting = self.inflate.unconsumed_tail
        self.ready, self.at = self.ready[self.at :] + part, 0
        return more

    def skip(self, count: int) -> None:
        """Passes over bytes."""
        while count > 0:
            count -= len(self.read(min(count, _PIECE)))

    def tag(self) -> tuple[int, int, bytes | None]:
        """Type and size of an element, and its data where these are so few that they are part of the tag."""
        first = self.read(8)
        kind, size = struct.unpack(self.order + "II", first)
        if kind >> 16:  # the small form
            if kind >> 16 > 4:
                raise ValueError("an element of more than four bytes in its own tag")
            return kind & 0xFFFF, kind >> 16, first[4:8]
        return kind, size, None

    def element(self, largest: int) -> bytes:
        """The data of an element of which ``largest`` bytes are expected at the most."""
        _, size, data = self.tag()
        if size > largest:
            raise ValueError(f"an element of {size:,} bytes where {largest:,} are expected at the most")
        if data is not None:
            return data[:size]
        found = self.read(size)
        self.skip(-size % 8)
        return found


def _check(file: BinaryIO, names: Sequence[str], largest: int) -> None:
    """Refuses a file of MATLAB 5 in which a size cannot be right."""
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(128)
    if head[126:128] not in (b"IM", b"MI") or 0 in head[:4]:
        if end > largest:
            raise ValueError(f"it has {end:,} bytes; at most {largest:,} are read")
        return  # MATLAB 4, where arrays are no larger than the file, or HDF5, which scipy refuses
    order = "<" if head[126:128] == b"IM" else ">"
    at = 128
    while at < end:
        file.seek(at)
        tag = file.read(8)
        if len(tag) < 8:
            raise ValueError("it is cut short")
        kind, size = struct.unpack(order + "II", tag)
        at += 8 + size
        if at > end:
            raise ValueError(f"a variable of {size:,} bytes goes beyond the end of the file")
        if kind == _COMPRESSED:
            stream, packed = _Stream(file, order, size), size
            kind, size, _ = stream.tag()
            if size > RATIO * packed + RATIO:
                raise ValueError(f"{size:,} bytes, unpacked from {packed:,}")
        else:
            stream = _Stream(file, order, None)
        if kind == _MATRIX and size > largest:
            raise ValueError(f"an array of {size:,} bytes; at most {largest:,} are read")
        if kind == _MATRIX:
            _check_matrix(stream, size, names, size, depth=0)


def _check_matrix(stream: _Stream, size: int, names: Sequence[str] | None, whole: int, *, depth: int) -> None:
    """Refuses an array whose sizes contradict each other; of those that are not wanted only the header is read.

    Elements are read one after the other, as scipy reads them: it does not look at the size of what is nested, either.

    Args:
        stream: behind the tag of the array.
        size: bytes of the array.
        names: of the arrays that are wanted; None: all.
        whole: bytes of the variable that it is part of.
        depth: cells and structures around it.
    """
    if size == 0:
        return
    if depth > DEEPEST:
        raise ValueError("cells are nested too deeply")
    header = _header(stream)
    if names is not None and header.name not in names:
        return
    if header.kind in _NUMERIC:
        _check_numbers(stream, header, whole, depth)
    elif header.kind in (_CELL, _STRUCT, _OBJECT):
        _check_cells(stream, header, whole, depth)
    else:
        raise ValueError("it holds objects, functions or sparse arrays")


def _check_numbers(stream: _Stream, header: _Header, whole: int, depth: int) -> None:
    parts = 2 if header.is_complex else 1
    for part in range(parts):
        kind, length, data = stream.tag()
        if kind not in _TYPES:  # scipy would look it up beyond the end of its table
            raise ValueError(f"numbers of the unknown type {kind}")
        if max(length, header.length) > whole:
            raise ValueError(f"{header.length:,} numbers and {length:,} bytes of them in {whole:,} bytes")
        if data is None and (depth or part < parts - 1):  # of a variable that is one large array no more is read
            stream.skip(length + -length % 8)


def _check_cells(stream: _Stream, header: _Header, whole: int, depth: int) -> None:
    fields = 1
    if header.kind == _OBJECT:
        stream.element(256)
    if header.kind != _CELL:
        width = int.from_bytes(stream.element(4), "little" if stream.order == "<" else "big", signed=True)
        if not 1 <= width <= 256:
            raise ValueError(f"names of fields of {width} bytes")
        fields = len(stream.element(min(whole, _NAMES))) // width
    count = header.length * fields
    if 8 * max(count, header.length) > whole:
        raise ValueError(f"{header.length:,} cells in {whole:,} bytes")
    for _ in range(count):
        kind, size, _ = stream.tag()
        if kind != _MATRIX or size > whole:
            raise ValueError("a cell holds no array, or one that is larger than itself")
        _check_matrix(stream, size, None, whole, depth=depth + 1)


def _header(stream: _Stream) -> _Header:
    flags = stream.element(8)
    if len(flags) < 4:
        raise ValueError("an array without flags")
    told = struct.unpack(stream.order + "I", flags[:4])[0]
    dims = stream.element(4 * 32)
    shape = struct.unpack(f"{stream.order}{len(dims) // 4}i", dims[: len(dims) // 4 * 4])
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    return _Header(told & 0xFF, math.prod(shape), bool(told & 0x800), stream.element(1024).decode("latin-1"))
