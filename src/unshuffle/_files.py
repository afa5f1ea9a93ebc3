"""Files that are written whole or not at all, and never through a symbolic link.

A folder may come from somebody else, and archives carry links: a link named like a file of ours would let that person
choose which file of ours is overwritten. So temporary files have names that nobody can foresee and are created
exclusively, and whatever is to be written must be a regular file, or nothing yet. Folders that a user names may be
reached through links; those that we make inside them may not.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.unshuffle-[0-9a-f]{32}\.part")
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class UnsafePath(OSError):
    """A path that is not written to: a symbolic link, or something else than a regular file or folder."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets ``write`` fill a temporary file in the same folder, then moves it to ``path`` in one step.

    A crash, a kill or a full disk leaves the old file as it was. The new file is on the disk when this returns, and it
    keeps the permissions of the one that it replaces.

    Raises:
        UnsafePath: ``path`` is a link, a folder or a device; nothing was written.
        OSError: the disk is full, or the folder cannot be written.
    """
    mode = check_file(path)
    temporary = path.with_name(f".unshuffle-{secrets.token_hex(16)}.part")
    try:
        with open(temporary, "xb") as file:  # created exclusively: never through a link, never over another's file
            if mode is not None:
                os.chmod(temporary, mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def check_file(path: Path) -> int | None:
    """The permissions of the file that would be replaced; None where there is none yet.

    Raises:
        UnsafePath: ``path`` is a link, a folder or a device.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(mode):
        raise _unsafe(path, mode, "a file")
    return stat.S_IMODE(mode) & 0o777


def no_follow(path: str, flags: int) -> int:
    """An ``opener`` for :func:`open` that refuses symbolic links.

    Raises:
        UnsafePath: ``path`` is a link, a folder or a device.
    """
    check_file(Path(path))
    return os.open(path, flags | _NOFOLLOW, 0o666)


def make_folder(path: Path) -> None:
    """Makes a folder that a user named, and those above it; links are followed."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def make_subfolder(path: Path) -> None:
    """Makes a folder of ours inside one that exists.

    Raises:
        UnsafePath: it is a link, or a file.
    """
    if not check_folder(path):
        make_folder(path)


def check_folder(path: Path) -> bool:
    """Whether a folder of ours exists.

    Raises:
        UnsafePath: it is a link, or a file.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(mode):
        raise _unsafe(path, mode, "a folder")
    return True


def make_room(path: Path) -> None:
    """Makes the folders above a file that a user named, and refuses at once what could not be written later.

    Raises:
        UnsafePath: ``path`` is a link, a folder or a device.
    """
    check_file(path)
    make_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Waits until names that were made, moved or deleted in a folder are on the disk, where the system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # no permission to list it, or a system that opens no folders
        return
    try:
        os.fsync(folder)
    except OSError:  # a file system that cannot sync folders
        pass
    finally:
        os.close(folder)


def remove_leftovers(folder: Path, *, age: float = 0.0) -> None:
    """Deletes temporary files of ours that a killed process left, if they were not written to for ``age`` seconds."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for entry in os.scandir(folder):
        if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            try:
                if time.time() - entry.stat(follow_symlinks=False).st_mtime >= age:
                    os.unlink(entry.path)
            except FileNotFoundError:  # its writer was alive, and has finished
                pass


def read_at_most(path: Path, size: int) -> bytes:
    """Reads a file of at most ``size`` bytes.

    Raises:
        ValueError: it is larger.
        OSError: there is none, or it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) > size:
        raise ValueError(f"it is larger than {size:,} bytes, which no such file of unshuffle is")
    return content


def _unsafe(path: Path, mode: int, wanted: str) -> UnsafePath:
    if stat.S_ISLNK(mode):
        kind, advice = "a symbolic link", "unshuffle writes through none. Delete the link, or name the place itself"
    elif stat.S_ISDIR(mode):
        kind, advice = "a folder", "name a file"
    else:
        kind, advice = "a file" if stat.S_ISREG(mode) else "a device or pipe", "give another name, or move it away"
    return UnsafePath(f"{path} is {kind}, and {wanted} is to be written there: {advice}.")
