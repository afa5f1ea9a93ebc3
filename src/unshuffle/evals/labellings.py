"""The labels that a run gave its samples, one file for each time that it did: ``labels/STEP.npz``."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from unshuffle._check import Explained
from unshuffle._files import check_folder, make_subfolder, sync_folder, write_atomically

FOLDER = "labels"
"""Below a run's."""
LARGEST = 1 << 31
"""Bytes of one labelling in memory, at the most: ten heads of 50 million samples take 1 GB."""


class Labelling(NamedTuple):
    """``labels`` (heads, N), sample by sample of the whole data set, as they were from ``step`` on.

    -1 where a sample has none: it was held out, or could not be read.
    """

    step: int
    labels: np.ndarray


class BadLabelling(Explained):
    """A file of labels that cannot be used."""


def write(folder: str | Path, step: int, labels: Tensor | np.ndarray) -> Path:
    """Writes one labelling below a run's folder, whole or not at all.

    Args:
        folder: the run's.
        step: how many steps had been made when the labels were given.
        labels: (heads, N) whole numbers, -1 for none. They are kept in the smallest type that holds them.

    Returns:
        The file.

    Raises:
        ValueError: the labels have another shape, or are no whole numbers from -1.
        UnsafePath: the file, or the folder of the labels, is a link.
        OSError: the disk is full, or the folder cannot be written.
    """
    plain = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    if plain.ndim != 2 or not plain.size or not np.issubdtype(plain.dtype, np.signedinteger) or plain.min() < -1:
        raise ValueError(
            f"labellings.write: `labels` must be (heads, N) whole numbers from 0, or -1; got {plain.dtype} of shape "
            f"{plain.shape}."
        )
    small = next(t for t in (np.int8, np.int16, np.int32, np.int64) if plain.max() <= np.iinfo(t).max)
    path = Path(folder) / FOLDER / f"{step:09d}.npz"
    make_subfolder(path.parent)
    write_atomically(path, lambda file: np.savez_compressed(file, labels=plain.astype(small)))  # pyright: ignore
    return path


def read(folder: str | Path) -> Iterator[Labelling]:
    """Reads the labellings of a run one after the other, the earliest first; none of a run that labels nothing.

    Nothing in the files can run code.

    Raises:
        BadLabelling: a file is damaged, or of another number of heads or samples than the first.
    """
    shape = None
    for path in _files(folder):
        labels = _read(path)
        shape = shape or labels.shape
        if labels.shape != shape:
            raise BadLabelling(f"{path} holds labels {labels.shape}, and those before it are {shape}: of another run?")
        yield Labelling(int(path.stem), labels)


def last(folder: str | Path) -> Labelling | None:
    """Reads the latest labelling of a run; None of a run that labels nothing.

    Raises:
        BadLabelling: the file is damaged.
    """
    files = _files(folder)
    return Labelling(int(files[-1].stem), _read(files[-1])) if files else None


def cut(folder: str | Path, *, upto: int) -> None:
    """Deletes what was given after step ``upto``: a run that goes on from there will give it again.

    Raises:
        UnsafePath: the folder of the labels is a link; nothing was deleted.
    """
    if not check_folder(Path(folder) / FOLDER):
        return
    for path in _files(folder):
        if int(path.stem) > upto:
            path.unlink()
    sync_folder(Path(folder) / FOLDER)


def _files(folder: str | Path) -> list[Path]:
    found = [path for path in (Path(folder) / FOLDER).glob("*.npz") if re.fullmatch("[0-9]{1,18}", path.stem)]
    return sorted(found, key=lambda path: int(path.stem))


def _read(path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as sizes:
            if max((entry.file_size for entry in sizes.infolist()), default=0) > LARGEST:
                raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
        with np.load(path, allow_pickle=False) as archive:  # compares the checksums that every such archive has
            labels = archive["labels"]
    except Exception as error:  # of a damaged archive numpy and zlib raise anything
        raise BadLabelling(f"{path} cannot be read: {error}. Delete it, and evaluate again.") from error
    if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise BadLabelling(f"{path} must hold labels (heads, N); it holds {labels.dtype} of shape {labels.shape}.")
    return labels
