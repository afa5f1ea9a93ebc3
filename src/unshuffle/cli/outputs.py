"""Where a command writes: refused before its work begins, not after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from unshuffle import _files

_LONGEST_NAME = 240
"""Bytes of a file name, some less than what file systems take, as a temporary file stands beside each."""


def check_file(out: Path, kinds: Sequence[str], *, flag: str = "--out") -> None:
    """Refuses a file that cannot be written; folders above it that are missing are made when it is written.

    Raises:
        ValueError: its ending is none of ``kinds``, it is a folder, or its folder cannot be written.
        UnsafePath: it is a symbolic link or a device.
    """
    example = f"for example {out.with_suffix('').name or 'out'}{kinds[0]}"
    if out.is_dir():
        raise ValueError(f"{flag} {out} is a folder; give a file in it, {example}.")
    if out.suffix.lower() not in kinds:
        raise ValueError(f"{flag} must be a {' or a '.join(kinds)} file; got {out}. Give another, {example}.")
    if len(os.fsencode(out.name)) > _LONGEST_NAME:
        raise ValueError(f"{flag}: the file's name is longer than {_LONGEST_NAME} bytes; give a shorter one.")
    _files.check_file(out)
    check_folder(out.absolute().parent, flag=flag)


def check_folder(folder: Path, *, flag: str = "--out") -> None:
    """Refuses a folder that cannot be made or written.

    Raises:
        ValueError: it, or what lies above it, is a file, or may not be written.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{flag}: {there} is no folder; give another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{flag}: {there} may not be written; give another place.")
