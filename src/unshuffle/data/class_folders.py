"""Classes of files by the folders they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from unshuffle.data.left_out import NAMED, some

SPLITS = frozenset(
    ("train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing")
)  # fmt: skip
"""Names of folders that hold parts of a data set, each with the same class folders below."""


class FolderClasses(NamedTuple):
    """The class of each file, None where it is in no class folder or nothing is known; lines that should be shown."""

    words: list[str | None]
    messages: list[str]


def folder_classes(names: Sequence[str], depth: int | None = None) -> FolderClasses:
    """Finds the class folder of each file.

    The class is the first folder below those that all files share, where files of no folder do not count. Folders
    that are all named as parts of a data set (train, val, …) are no classes: the folders below them are. The name of a
    tar shard is no folder.

    Args:
        names: of the files, '/'-separated.
        depth: of the class folder: 2 for ``a/abbey/1.jpg``, split folders not counted. The class is then named by its
            path, without the folders that all files share. None: see above.

    Example:
        >>> folder_classes(["train/cat/1.png", "val/dog/2.png", "cover.png"]).words
        ['cat', 'dog', None]
        >>> folder_classes(["a/abbey/1.png", "b/bar/1.png", "b/barn/1.png"], 2).words
        ['a/abbey', 'b/bar', 'b/barn']
    """
    folders = [_folders(name) for name in names]
    shared, split = _levels(folders)
    messages = []
    if split is not None:
        parts = sorted({path[split] for path in folders if len(path) > split})
        folders = [path[:split] + path[split + 1 :] for path in folders]
        shared = _levels(folders, splits=False)[0]
        messages.append(
            f"{', '.join(parts)} are split folders: all are read, and classes are the folders below them (to test on "
            "one: --data …/train --test …/val)"
        )
    length = shared + 1 if depth is None else depth
    words = ["/".join(path[min(shared, length - 1) : length]) if len(path) >= length else None for path in folders]
    if len({word for word in words if word is not None}) < 2:
        return FolderClasses([None] * len(words), [f"{line}; there are none" for line in messages])
    messages += _mixed(folders, shared)
    return FolderClasses(words, [*messages, *unlabelled(names, words)])


def unlabelled(names: Sequence[str], words: Sequence[str | None]) -> list[str]:
    """A line that names the files without a class, where there are any."""
    without = [name for name, word in zip(names, words) if word is None]
    if not without:
        return []
    shown = some(without[:NAMED], len(without))
    return [f"no label: {len(without):,} of {len(names):,} files are in no class folder ({shown})"]


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return parts[1:] if parts and parts[0].lower().endswith(".tar") else parts


def _levels(folders: Sequence[list[str]], *, splits: bool = True) -> tuple[int, int | None]:
    """How many leading folders all files share, and the level of split folders below these, where there is one."""
    level = 0
    while True:
        found = {path[level] for path in folders if len(path) > level}
        if len(found) == 1:
            level += 1
            continue
        is_split = splits and bool(found) and all(name.lower() in SPLITS for name in found)
        return level, level if is_split else None


def _mixed(folders: Sequence[list[str]], level: int) -> list[str]:
    """A line where some of the class folders are named as parts of a data set and others are not."""
    found = {path[level] for path in folders if len(path) > level}
    parts = sorted(name for name in found if name.lower() in SPLITS)
    if len(parts) < 2:
        return []
    others = sorted(found - set(parts))
    return [f"{', '.join(parts)} are read as classes, because of {some(others, len(others))} beside them"]
