"""What data sets of small images share: one array file for all of them, and a source that reads images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unshuffle.data.bounded import read_npz
from unshuffle.data.files import find
from unshuffle.data.image import Images


def only_images(name: str, items: Any) -> Images:
    """The source, where it reads images.

    Raises:
        ValueError: it reads something else.
    """
    if not isinstance(items, Images):
        raise ValueError(f"{name} holds images, and {type(items).__name__} reads none: use a recipe for images.")
    return items


@contextmanager
def opened(root: str | Path, name: str) -> Iterator[BinaryIO | None]:
    """The ``.npz`` ``root``, or the one of that name below it; None where there is none."""
    if Path(root).is_file() and Path(root).suffix.lower() == ".npz":
        with open(root, "rb") as file:
            yield file
        return
    try:
        files = find(root, (name,), what="array file")
    except FileNotFoundError:
        if not Path(root).exists():
            raise
        yield None
        return
    with files.open(0) as file:
        yield file


def arrays(file: BinaryIO, names: Sequence[str], root: str | Path) -> dict[str, np.ndarray]:
    """The named arrays of an ``.npz``; nothing in it is unpickled.

    Raises:
        ValueError: it is damaged, or lacks one.
    """
    try:
        return read_npz(file, names)
    except ValueError as error:
        wanted = ", ".join(names)
        raise ValueError(f"{str(root)!r}: the .npz must hold plain arrays {wanted}; it does not ({error}).") from error
