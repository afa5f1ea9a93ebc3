"""Data sets of files, wherever these lie: a folder, a zip, a tar, or a folder of tar shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle._check import Explained
from unshuffle.data.labels import Labels
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
        found = Folder(root, partial(_is_sample, suffixes))
        shards = [] if found.names else sorted(path for path in root.glob("*.tar") if not path.name.startswith("."))
        return _packed(shards, suffixes, several=True) if shards else found
    if not root.exists() and has_magic(str(root)) and (shards := sorted(map(Path, glob(str(root))))):
        return _packed(shards, suffixes, several=True)
    if not root.exists():
        raise FileNotFoundError(f"no folder {str(root)!r}: give one that holds {what} ({', '.join(suffixes)}).")
    name = root.name.lower()
    if name.endswith((".zip", ".tar", ".tgz")) or ".tar." in name:  # compressed tars are told what to do
        return _packed([root], suffixes, several=False)
    raise NotADirectoryError(
        f"{str(root)!r} is a file: give the folder that holds the {what}, or a .zip or .tar of them."
    )


def _is_sample(suffixes: tuple[str, ...], name: str) -> bool:
    return name.lower().endswith(suffixes) and not any(part.startswith(".") for part in name.split("/"))


def _packed(archives: Sequence[Path], suffixes: tuple[str, ...], *, several: bool) -> Files:
    """The samples in archives."""
    stamps = tuple((stat.st_size, stat.st_mtime_ns) for stat in (path.stat() for path in archives))
    return _listed(tuple(path.absolute() for path in archives), stamps, suffixes, several)


@lru_cache(maxsize=2)
def _listed(
    archives: tuple[Path, ...], stamps: tuple[tuple[int, int], ...], suffixes: tuple[str, ...], several: bool
) -> Files:
    """The same, as long as the archives stay what they were.

    Listing a large tar takes a while, and who settles a source and then opens it asks twice.
    """
    wanted = partial(_is_sample, suffixes)
    return Tar(archives, wanted, several=several) if archives[0].suffix.lower() != ".zip" else Zip(archives[0], wanted)


class FileDataset(Dataset):
    """Files as samples: what cannot be opened or decoded comes back as :class:`Unreadable`.

    Args:
        files: where the samples lie.
        decode: from a file's bytes and its name to the item; what it raises is the reason for skipping the file.
        source: the frozen value that knows how files become items; an encoder keeps it.
        labels: classes and the label of each file, as :func:`~unshuffle.data.labels.labels_of` gives them.
        name: what tables call the data set.
    """

    def __init__(
        self, files: Files, decode: Callable[[BinaryIO, str], Tensor], source: Any, labels: Labels, *, name: str
    ) -> None:
        self.files, self.decode, self.source, self.name = files, decode, source, name
        self.classes: tuple[str, ...] = labels.classes
        self.labels: Sequence[int] | np.ndarray | None = labels.labels

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


def called(root: str | Path) -> str:
    """What tables call the data at ``root``: the folder's name, or the archive's without its suffix."""
    path = Path(root).resolve()
    return path.stem if path.suffix.lower() in (".zip", ".tar") and not path.is_dir() else path.name


def reason(error: Exception) -> str:
    """What is wrong with a file in one line, without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0] or type(error).__name__
