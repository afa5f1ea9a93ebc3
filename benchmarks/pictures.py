"""The two data sets of photographs, in memory, with the labels that their archives tell."""

from __future__ import annotations

import csv
import io
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from training import Data
from unshuffle.data.image import Images


@lru_cache
def flowers(folder: Path, size: int) -> Data:
    """3,670 photographs of five kinds of flowers; the split of the file."""
    return _pictures(folder / "flowers128.zip", "class", size)._replace(name="flowers")


@lru_cache
def scenes(folder: Path, size: int) -> Data:
    """2,688 grey photographs of eight kinds of scenes; the split of the file."""
    return _pictures(folder / "osr_scenes_gray128.zip", "category", size)._replace(name="osr scenes")


def _pictures(archive: Path, column: str, size: int) -> Data:
    with zipfile.ZipFile(archive) as file:
        rows = {row["file"]: row for row in csv.DictReader(io.TextIOWrapper(file.open("metadata.csv")))}
    pictures = Images(size=size).open(archive)
    rows = [rows[name] for name in pictures.names]
    names = sorted({row[column] for row in rows})
    labels = np.array([names.index(row[column]) for row in rows])
    known = np.array([row["split"] == "train" for row in rows])
    items = torch.stack([pictures[k][0] for k in range(len(rows))])
    return Data(archive.stem, items[known], items[~known], {column: (labels[known], labels[~known])})
