"""Files below a folder, links followed."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from unshuffle.data.left_out import DANGLING, LOOP, REVISITED, SPECIAL, TWICE, UNREADABLE, LeftOut

MOST_NAMES = 64
"""Names under which one folder is entered: links that lead across each other would give any number of them."""

Identity = tuple[int, int]


class _Entered(NamedTuple):
    """A folder to list: where it is, what its files' names begin with, and the folders that lead to it."""

    path: str
    prefix: str
    above: tuple[Identity, ...]


def files_below(root: str, wanted: Callable[[str], bool], left_out: LeftOut) -> Iterator[str]:
    """Names of the wanted regular files below a folder, '/'-separated, in no order; hidden ones are passed over.

    Links to files and to folders are followed, inside the root and out of it. A link to a folder that leads to it is
    a loop and is not entered; a folder with several names is entered under each, up to :data:`MOST_NAMES`. Fifos,
    sockets and devices are counted and never opened.

    Args:
        root: the folder.
        wanted: whether a name is that of a sample.
        left_out: counts what is not followed or read.

    Raises:
        OSError: the root itself cannot be read.
    """
    visits: Counter[Identity] = Counter()
    waiting = [_Entered(root, "", ())]
    while waiting:
        here = waiting.pop()
        try:
            identity = _identity(os.stat(here.path))
            with os.scandir(here.path) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            if not here.prefix:
                raise
            left_out.add(UNREADABLE, f"{here.prefix[:-1]}: {error.strerror}")
            continue
        if identity in here.above:
            left_out.add(LOOP, here.prefix[:-1])
            continue
        visits[identity] += 1
        if visits[identity] > MOST_NAMES:
            left_out.add(REVISITED, here.prefix[:-1])
            continue
        if visits[identity] == 2:
            left_out.add(TWICE, here.prefix[:-1])
        for entry in entries:
            name = here.prefix + entry.name
            kind = _kind(entry, name, left_out)
            if kind == stat.S_IFDIR:
                waiting.append(_Entered(entry.path, f"{name}/", (*here.above, identity)))
            elif kind == stat.S_IFREG:
                if wanted(name):
                    yield name
            elif kind is not None and wanted(name):
                left_out.add(SPECIAL, name)


def _kind(entry: os.DirEntry[str], name: str, left_out: LeftOut) -> int | None:
    """The type of a file, or of what a link leads to; None where it leads nowhere."""
    try:
        if not entry.is_symlink():
            if entry.is_dir(follow_symlinks=False):
                return stat.S_IFDIR
            if entry.is_file(follow_symlinks=False):
                return stat.S_IFREG
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError as error:
        nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR)
        told = name if nowhere or error.errno == errno.ELOOP else f"{name}: {error.strerror}"
        left_out.add(LOOP if error.errno == errno.ELOOP else DANGLING, told)
        return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
