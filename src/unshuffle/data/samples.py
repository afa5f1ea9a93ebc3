"""Real data that comes with the installation: nothing is downloaded.

``digits``: the 1,797 handwritten digits of scikit-learn, 8 × 8 pixels. ``notes``: 2,030 single notes of 128
instruments as log-mel spectrograms; see ``assets/NOTICE.txt`` for source and licence, ``scripts/make_notes.py`` for
how they were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np

from unshuffle.data.arrays import Arrays
from unshuffle.values import register


class Bundle(NamedTuple):
    """A data set in two parts; ``targets`` maps a task's name to its labels, train and test."""

    name: str
    train: Arrays
    test: Arrays
    targets: dict[str, tuple[np.ndarray, np.ndarray]]
    classes: dict[str, tuple[str, ...]]


def digits(*, test_fraction: float = 0.2, seed: int = 0) -> Bundle:
    """The digits of scikit-learn as uint8 (N, 1, 8, 8), split at random with the same share of every digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = np.round(data.images / 16 * 255).astype(np.uint8)[:, None]  # type: ignore[attr-defined]
    labels = data.target.astype(np.int64)  # type: ignore[attr-defined]
    parts = train_test_split(np.arange(len(labels)), test_size=test_fraction, random_state=seed, stratify=labels)
    train, test = (np.asarray(part) for part in parts)
    return _bundle("digits", pixels, {"digit": labels}, {"digit": tuple("0123456789")}, train, test, main="digit")


def notes() -> Bundle:
    """Rendered instrument notes as uint8 log-mel spectrograms (N, 1, 80, 30), low frequencies first; fixed split.

    Targets: ``pitch`` (MIDI number, 36-83), ``family`` (16), ``instrument`` (128).
    """
    with files("unshuffle.data").joinpath("assets/notes.npz").open("rb") as file, np.load(file) as data:
        arrays = {k: data[k] for k in data.files}
    targets = {k: arrays[k].astype(np.int64) for k in ("pitch", "family", "instrument")}
    classes = {"family": tuple(arrays["family_names"].tolist())}
    train, test = np.flatnonzero(~arrays["test"]), np.flatnonzero(arrays["test"])
    return _bundle("notes", arrays["spectrograms"][:, None], targets, classes, train, test, main="family")


def _bundle(
    name: str,
    items: np.ndarray,
    targets: dict[str, np.ndarray],
    classes: dict[str, tuple[str, ...]],
    train: np.ndarray,
    test: np.ndarray,
    *,
    main: str,
) -> Bundle:
    parts = [Arrays(items[rows], targets[main][rows], name=name) for rows in (train, test)]
    return Bundle(name, parts[0], parts[1], {k: (v[train], v[test]) for k, v in targets.items()}, classes)


@register
@dataclass(frozen=True)
class Packaged:
    """A source that needs no folder: the training part of a set that comes with the installation."""

    name: Literal["digits", "notes"] = "notes"
    """Which one."""

    def open(self) -> Arrays:
        """The training samples."""
        return (digits() if self.name == "digits" else notes()).train
