"""Images of 32 pixels a side, in memory: CIFAR-10 to learn from, three other sets to move to."""

from __future__ import annotations

import csv
import io
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unshuffle.data.image import Images
from unshuffle.data.named import CIFAR10, MNIST, Labelled

SOURCE = Images(size=32)
OTHERS = ("mnist", "flowers", "scenes")
MOST = 3_000  # of another set, to learn its classes from


class Part(NamedTuple):
    """Images (N, 3, 32, 32) in bytes and their classes."""

    items: Tensor
    labels: np.ndarray


class Split(NamedTuple):
    """What is known and what is asked for."""

    name: str
    train: Part
    test: Part


def cifar10(folder: Path, images: int, asked: int) -> Split:
    """The first images of both files, which are shuffled."""
    train, test = (_cifar10(folder, split) for split in ("train", "test"))
    return Split("cifar10", _first(train, images), _first(test, asked))


def held_back(folder: Path, images: int, asked: int) -> Split:
    """The same to learn from, and the training images behind them to ask: for every choice, so that no test image is
    seen before it counts."""
    whole = _cifar10(folder, "train")
    behind = slice(images, images + asked)
    if len(whole.labels) < images + asked:
        behind, images = slice(len(whole.labels) - asked, None), len(whole.labels) - asked
    return Split("cifar10", _first(whole, images), Part(whole.items[behind], whole.labels[behind]))


def other(folder: Path, name: str) -> Split:
    """A data set that was not trained on."""
    if name == "mnist":
        train, test = (Labelled(SOURCE, MNIST(split=split)).open(folder) for split in ("train", "test"))
        return Split(name, _read(train, MOST), _read(test, MOST // 3))
    return {
        "flowers": lambda: _pictures(folder / "flowers128.zip", "class", "flowers"),
        "scenes": lambda: _pictures(folder / "osr_scenes_gray128.zip", "category", "scenes"),
    }[name]()


@lru_cache
def _cifar10(folder: Path, split: str) -> Part:
    data = Labelled(SOURCE, CIFAR10(split=split)).open(folder)  # type: ignore[arg-type]
    return Part(data.items, np.asarray(data.labels))  # type: ignore[union-attr]


def _first(part: Part, count: int) -> Part:
    return Part(part.items[:count], part.labels[:count])


def _read(data: object, count: int) -> Part:
    items, labels = zip(*(data[k] for k in range(count)))  # type: ignore[index]
    return Part(torch.stack(items), np.array(labels))


@lru_cache
def _pictures(archive: Path, column: str, name: str) -> Split:
    """An archive with a table of classes and parts beside its pictures."""
    with zipfile.ZipFile(archive) as file:
        rows = {row["file"]: row for row in csv.DictReader(io.TextIOWrapper(file.open("metadata.csv")))}
    pictures = SOURCE.open(archive)
    told = [rows[path] for path in pictures.names]
    classes = sorted({row[column] for row in told})
    labels = np.array([classes.index(row[column]) for row in told])
    known = np.array([row["split"] == "train" for row in told])
    items = torch.stack([pictures[k][0] for k in range(len(told))])
    return Split(name, *(Part(items[torch.from_numpy(chosen)], labels[chosen]) for chosen in (known, ~known)))
