"""Files read within bounds: nothing is unpacked, parsed or allocated before its size is known to be right."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

LARGEST = 1 << 30
"""Bytes of a file, or of what it unpacks to, that are read into memory: 1 GiB."""
RATIO = 1032
"""Bytes that deflate makes of one, at the most."""
DAMAGED = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, OverflowError, MemoryError,
    RecursionError, RuntimeError, SyntaxError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What readers of damaged files raise; NotImplementedError is a RuntimeError."""


def read_bounded(file: BinaryIO, name: str, largest: int = LARGEST) -> bytes:
    """All bytes of a file.

    Args:
        file: can be sought.
        name: of the file, for messages.
        largest: bytes it may have.

    Raises:
        ValueError: it has more.
    """
    size = file.seek(0, 2)
    if size > largest:
        raise ValueError(f"{name} has {size:,} bytes; a file of its kind has at most {largest:,}. Fetch it again.")
    file.seek(0)
    return file.read()


def gunzip(content: bytes, name: str, largest: int = LARGEST) -> bytes:
    """What gzip unpacks, up to ``largest`` bytes.

    Raises:
        ValueError: it is damaged, or unpacks to more.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            plain = packed.read(largest + 1)
    except (EOFError, OSError, zlib.error, struct.error) as error:
        raise ValueError(f"{name} is no gzip file, or cut short ({error}); fetch it again.") from error
    if len(plain) > largest:
        raise ValueError(f"{name} unpacks to more than {largest:,} bytes, the most that is expected of it.")
    return plain


def parse_json(content: bytes | str, name: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is damaged, nested too deeply, or too large to be held.
    """
    try:
        return json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except RecursionError:
        raise ValueError(f"{name} cannot be read as JSON: it is nested too deeply.") from None
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{name} cannot be read as JSON: {error}.") from error


def read_npz(file: BinaryIO, names: Iterable[str], largest: int = LARGEST) -> dict[str, np.ndarray]:
    """The named arrays of an ``.npz``; nothing is unpickled, and sizes are compared before memory is taken.

    Args:
        file: can be sought.
        names: of the arrays.
        largest: bytes an array may have.

    Raises:
        ValueError: an array is missing, damaged, of objects or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: _array(archive, name, largest) for name in names}
    except KeyError as error:
        raise ValueError(f"there is no array {error.args[0]!r:.80}") from error
    except DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _array(archive: zipfile.ZipFile, name: str, largest: int) -> np.ndarray:
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > min(largest, RATIO * entry.compress_size + RATIO):
        raise ValueError(f"{name!r} would unpack to {entry.file_size:,} bytes; at most {largest:,} are read")
    with archive.open(entry) as packed:
        version = np.lib.format.read_magic(packed)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(packed)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{name!r} holds objects, which are pickled, and pickles are never loaded")
        if min(shape, default=0) < 0 or packed.tell() + size != entry.file_size:
            raise ValueError(f"{name!r} says it is {shape} of {dtype}, which its {entry.file_size:,} bytes are not")
    with archive.open(entry) as packed:
        return np.lib.format.read_array(packed, allow_pickle=False)
