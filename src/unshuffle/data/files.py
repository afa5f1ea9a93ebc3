"""Data sets of files, wherever these lie: a folder, a zip, a tar, or a folder of tar shards."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache, partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unshuffle._check import Explained
from unshuffle.data.described import DESCRIBING
from unshuffle.data.labels import Labels
from unshuffle.data.left_out import ARCHIVE, SPECIAL, LeftOut
from unshuffle.data.loaders import Unreadable
from unshuffle.data.places import Folder, Tar, Zip


@runtime_checkable
class Files(Protocol):
    """Named files that can be opened any number of times, from any process.

    ``names`` are '/'-separated paths below the folder or inside the archive, in the order of a listing, hidden ones
    left out.
    """

    names: list[str]

    def __len__(self) -> int: ...

    def open(self, index: int) -> BinaryIO:
        """Bytes that can be sought, on a handle of their own."""
        ...

    def path(self, index: int) -> Path | None:
        """The file itself, where there is one: entries of archives are none."""
        ...


def find(root: str | Path, suffixes: tuple[str, ...], *, what: str) -> Files:
    """Finds the samples of a data set.

    Args:
        root: a folder, searched with its sub-folders; a ``.zip``; a ``.tar``; a folder that holds tars and no such
            file; or a pattern of tars (``shards/train-*.tar``).
        suffixes: of the files that are samples, in lower case: ``(".png", ".jpg")``.
        what: one sample in a word, for messages: ``"image"``.

    Returns:
        The files, of which there is at least one.

    Raises:
        FileNotFoundError: there is no such folder, or no sample in it.
        NotADirectoryError: it is a file, but no archive.
        ValueError: an archive is damaged or compressed as a whole.

    Example:
        ``find("photos.zip", (".jpg", ".png"), what="image").names``
    """
    root = Path(root)
    found = _look(root, suffixes, f"{what}s")
    if not len(found):
        where = "it and its sub-folders" if root.is_dir() else "it"
        raise FileNotFoundError(f"no {what} in {str(root)!r}: looked for {', '.join(suffixes)} in {where}.")
    return found


def _look(root: Path, suffixes: tuple[str, ...], what: str) -> Files:
    """All samples there, perhaps none."""
    if root.is_dir():
        return _in_folder(root, suffixes)
    if not root.exists() and has_magic(str(root)) and (shards := sorted(map(Path, glob(str(root))))):
        if len(shards) > 1 and any(path.suffix.lower() == ".zip" for path in shards):
            raise ValueError(f"{str(root)!r} matches several zips, of which one can be read: give one, or tars.")
        return _packed(shards, suffixes, several=True)
    if not root.exists():
        raise FileNotFoundError(f"no folder {str(root)!r}: give one that holds {what} ({', '.join(suffixes)}).")
    name = root.name.lower()
    if name.endswith((".zip", ".tar", ".tgz")) or ".tar." in name:  # compressed tars are told what to do
        return _packed([root], suffixes, several=False)
    raise NotADirectoryError(
        f"{str(root)!r} is a file: give the folder that holds the {what}, or a .zip or .tar of them."
    )


def _in_folder(root: Path, suffixes: tuple[str, ...]) -> Files:
    """The samples in a folder, or, where it holds none, in the tars of the folder itself."""
    found = Folder(root, partial(_is_sample, suffixes))
    archives = LeftOut()
    shards = []
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(_ARCHIVES) or path.is_dir():
            continue
        if found.names or path.suffix != ".tar":
            archives.add(ARCHIVE, path.name)
        elif not path.is_file():
            archives.add(SPECIAL, path.name)
        else:
            shards.append(path)
    if shards:
        archives.update(found.left_out)
        return _packed(shards, suffixes, several=True, besides=archives)
    found.left_out.update(archives)
    return found


_ARCHIVES = (".tar", ".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def _is_sample(suffixes: tuple[str, ...], name: str) -> bool:
    return name.lower().endswith(suffixes) and not any(part.startswith(".") for part in name.split("/"))


def _packed(
    archives: Sequence[Path], suffixes: tuple[str, ...], *, several: bool, besides: LeftOut | None = None
) -> Files:
    """The samples in archives.

    Raises:
        ValueError: one is no regular file; a fifo would be waited for without end.
    """
    stats = [path.stat() for path in archives]
    for path, found in zip(archives, stats):
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{str(path)!r} is no regular file, and cannot be read as an archive.")
    stamps = tuple((found.st_size, found.st_mtime_ns) for found in stats)
    files = _listed(tuple(path.absolute() for path in archives), stamps, suffixes, several)
    if besides is not None and besides.counts:
        files = copy(files)
        besides.update(files.left_out)
        files.left_out = besides
    return files


@lru_cache(maxsize=2)
def _listed(
    archives: tuple[Path, ...], stamps: tuple[tuple[int, int], ...], suffixes: tuple[str, ...], several: bool
) -> Zip | Tar:
    """The same, as long as the archives stay what they were.

    Listing a large tar takes a while, and who settles a source and then opens it asks twice.
    """
    wanted = partial(_is_sample, suffixes)
    if archives[0].suffix.lower() == ".zip":
        return Zip(archives[0], wanted)
    describes = partial(_is_sample, tuple(suffix for suffix in DESCRIBING if suffix not in suffixes))
    return Tar(archives, wanted, several=several, beside=describes)


class FileDataset(Dataset):
    """Files as samples: what cannot be opened or decoded comes back as :class:`Unreadable`.

    Args:
        files: where the samples lie.
        decode: from a file's bytes and its name to the item; what it raises is the reason for skipping the file.
        source: the frozen value that knows how files become items; an encoder keeps it.
        labels: classes and the label of each file, as :func:`~unshuffle.data.labels.labels_of` gives them; where there
            are classes, -1 is a file without one.
        name: what tables call the data set.

    ``messages`` are lines that a user should see: what was left out, and how labels were found.
    """

    def __init__(
        self, files: Files, decode: Callable[[BinaryIO, str], Tensor], source: Any, labels: Labels, *, name: str
    ) -> None:
        self.files, self.decode, self.source, self.name = files, decode, source, name
        self.classes: tuple[str, ...] = labels.classes
        self.labels: Sequence[int] | np.ndarray | None = labels.labels
        left_out: LeftOut | None = getattr(files, "left_out", None)
        self.messages: list[str] = [
            *([] if left_out is None else left_out.messages()), *getattr(labels, "messages", ())
        ]  # fmt: skip

    @property
    def names(self) -> list[str]:
        """The files' names, sample by sample."""
        return self.files.names

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Any] | Unreadable:
        try:
            with self.files.open(index) as file:
                item = self.decode(file, self.names[index])
        except (ModuleNotFoundError, Explained):  # a decoder that is not installed is no fault of the file
            raise
        except Exception as error:  # decoders raise anything on a damaged file: SyntaxError, struct.error, TypeError, …
            return Unreadable(self.names[index], reason(error))
        return item, None if self.labels is None else self.labels[index]


def rows_with_class(dataset: Dataset) -> list[int] | None:
    """The samples that have a class, of a data set of files or of a part of it; None where all have, or none has."""
    rows, whole = None, dataset
    while isinstance(whole, Subset):
        rows, whole = whole.indices if rows is None else [whole.indices[row] for row in rows], whole.dataset
    labels = whole.labels if isinstance(whole, FileDataset) and whole.classes else None
    if labels is None or np.ndim(labels) != 1:
        return None
    known = np.asarray(labels) >= 0
    known = known if rows is None else known[np.asarray(rows, dtype=np.int64)]
    return None if known.all() else np.flatnonzero(known).tolist()


def called(root: str | Path) -> str:
    """What tables call the data at ``root``: the folder's name, or the archive's without its suffix."""
    path = Path(root).resolve()
    return path.stem if path.suffix.lower() in (".zip", ".tar") and not path.is_dir() else path.name


def reason(error: Exception) -> str:
    """What is wrong with a file in one line, without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0] or type(error).__name__
