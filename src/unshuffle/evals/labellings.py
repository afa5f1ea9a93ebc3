"""The labels that a run gave its samples, one file for each time that it did: ``labels/STEP.npz``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from unshuffle._check import Explained
from unshuffle._files import write_atomically

FOLDER = "labels"
"""Below a run's."""


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
    path.parent.mkdir(parents=True, exist_ok=True)
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
    """Deletes what was given after step ``upto``: a run that goes on from there will give it again."""
    for path in _files(folder):
        if int(path.stem) > upto:
            path.unlink()


def _files(folder: str | Path) -> list[Path]:
    found = [path for path in (Path(folder) / FOLDER).glob("*.npz") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def _read(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            labels = archive["labels"]
    except Exception as error:  # of a damaged archive numpy and zlib raise anything
        raise BadLabelling(f"{path} cannot be read: {error}. Delete it, and evaluate again.") from error
    if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise BadLabelling(f"{path} must hold labels (heads, N); it holds {labels.dtype} of shape {labels.shape}.")
    return labels
