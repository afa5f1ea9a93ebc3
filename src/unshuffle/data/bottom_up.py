"""Objects found in pictures beforehand ("bottom-up" features): converted once, then read from the disk as needed.

The features are distributed as a table of some 20 GB whose cells are base64. :func:`convert` writes the same numbers as
arrays that are mapped into memory, a picture's objects on consecutive rows: ``objects-00000.npy`` and so on hold four
numbers of the box and then the features, ``index.npz`` says where each picture's rows are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from unshuffle._files import write_atomically
from unshuffle.data.bounded import read_npz
from unshuffle.data.loaders import Unreadable

INDEX = "index.npz"
FIELDS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
_PLACES = ("pictures", "shards", "starts", "counts")
LONGEST = 1 << 26
"""Bytes of a line of a table: 64 MiB, of which a hundred objects of 2,048 features take one."""
TOGETHER = 512
"""Pictures in one file of arrays: at 100 objects, some 400 MB."""


class Converted(NamedTuple):
    """How many pictures and objects were written, and which lines could not be read."""

    pictures: int
    objects: int
    skipped: list[Unreadable]


class Picture(NamedTuple):
    """One line of the table: ``rows`` (n, 4 + d) are boxes as shares of the picture's sides, then features."""

    number: int
    rows: np.ndarray


def convert(
    tables: Sequence[str | Path], out: str | Path, *, together: int = TOGETHER, say: Callable[[str], None] | None = None
) -> Converted:
    """Writes tables of bottom-up features as arrays; damaged lines are skipped, told and counted.

    Args:
        tables: the ``.tsv`` files, of which the lines hold, without a heading: picture, its width and height, number of
            boxes, boxes and features, the last two as float32 in base64. Of a picture that comes twice, the first line
            counts.
        out: a folder, made if need be. What it holds of an earlier conversion is written anew.
        together: pictures in one file.
        say: told one line for each that is skipped.

    Returns:
        What was written and what was not.

    Raises:
        ValueError: not one line could be read.
        OSError: a file cannot be read or written.

    Example:
        ``convert(["trainval_resnet101_faster_rcnn_genome.tsv.0", …], "vqa2/features")``
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)  # until the end there is nothing to be opened
    index: list[tuple[int, int, int, int]] = []
    width = 0
    skipped: list[Unreadable] = []
    for shard, pictures in enumerate(_batches(_pictures(tables, skipped, say), together)):
        rows = np.concatenate([picture.rows for picture in pictures])
        width = rows.shape[1]
        write_atomically(folder / _shard(shard), partial(_save, rows))
        starts = np.cumsum([0] + [len(picture.rows) for picture in pictures])
        index += [(p.number, shard, int(start), len(p.rows)) for p, start in zip(pictures, starts)]
    if not index:
        first = f" The first: {skipped[0].name} ({skipped[0].reason})." if skipped else ""
        raise ValueError(f"not one line of {', '.join(map(str, tables))} could be read.{first}")
    numbers = np.array(sorted(index), dtype=np.int64)
    arrays = dict(zip(_PLACES, numbers.T)) | {"width": np.int64(width)}
    write_atomically(folder / INDEX, partial(np.savez, **arrays))
    return Converted(len(numbers), int(numbers[:, 3].sum()), skipped)


def _save(rows: np.ndarray, file: Any) -> None:
    np.save(file, rows, allow_pickle=False)


def _shard(number: int) -> str:
    return f"objects-{number:05d}.npy"


def _pictures(
    tables: Iterable[str | Path], skipped: list[Unreadable], say: Callable[[str], None] | None
) -> Iterator[Picture]:
    """The pictures of all tables, each once; all have the same number of features."""
    seen: set[int] = set()
    width = 0
    for table in tables:
        with open(table, "rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                try:
                    picture = _parsed(line, width)
                except (ValueError, OverflowError, binascii.Error) as error:
                    skipped.append(Unreadable(f"{Path(table).name}, line {number}", str(error)))
                    if say is not None:
                        say(f"skipped {skipped[-1].name}: {error}")
                    continue
                width = picture.rows.shape[1]
                if picture.number not in seen:
                    seen.add(picture.number)
                    yield picture


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines, of one that is too long its beginning only: it has too few cells then, or damaged ones."""
    while line := file.readline(LONGEST):
        yield line
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST)


def _parsed(line: bytes, width: int) -> Picture:
    """One line.

    Raises:
        ValueError: it is damaged, or has another number of features than ``width`` says (0: any).
    """
    if len(line) >= LONGEST:
        raise ValueError(f"a line of {LONGEST:,} bytes or more")
    cells = line.rstrip(b"\r\n").split(b"\t")
    if len(cells) != len(FIELDS):
        raise ValueError(f"{len(cells)} cells; there must be {len(FIELDS)}: {', '.join(FIELDS)}")
    number, wide, high, count = (int(float(cell)) for cell in cells[:4])
    if min(wide, high, count) < 1:
        raise ValueError(f"a picture of {wide} x {high} with {count} boxes")
    boxes, features = (np.frombuffer(base64.b64decode(cell, validate=True), "<f4") for cell in cells[4:])
    if boxes.size != 4 * count or not features.size or features.size % count:
        raise ValueError(f"{boxes.size} numbers of boxes and {features.size} of features for {count} boxes")
    shares = boxes.reshape(count, 4) / np.array([wide, high, wide, high], np.float32)
    rows = np.concatenate([shares, features.reshape(count, -1)], 1)
    if not np.isfinite(rows).all():
        raise ValueError("it holds NaN or infinite values")
    if width and rows.shape[1] != width:
        raise ValueError(f"{rows.shape[1] - 4} features an object; those before have {width - 4}")
    return Picture(number, rows.astype(np.float32))


def _batches(pictures: Iterator[Picture], together: int) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == together:
            yield batch
            batch = []
    if batch:
        yield batch


class BottomUp:
    """Pictures' objects, by the picture's number, from a folder that :func:`convert` wrote; nothing is held in memory.

    Raises:
        FileNotFoundError: the folder holds no index.
        ValueError: the index is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            raise FileNotFoundError(
                f"no converted features in {str(folder)!r}: {INDEX} is missing. Write them once: "
                f"unshuffle.data.bottom_up.convert(TABLES, {str(folder)!r})."
            )
        try:
            with open(path, "rb") as file:
                arrays = read_npz(file, ("width", *_PLACES))
            self.width = int(arrays["width"])
            places = np.stack([arrays[name].astype(np.int64, casting="safe") for name in _PLACES], 1)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); convert the features again.") from error
        self.most = int(places[:, 3].max(initial=0))
        self._places = {int(number): (shard, start, count) for number, shard, start, count in places.tolist()}
        self._open: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) and features (n, d) of one picture.

        Raises:
            ValueError: there is no such picture, or its file is cut short.
        """
        if number not in self._places:
            raise ValueError(f"picture {number} has no features")
        shard, start, count = self._places[number]
        if shard not in self._open:
            self._open[shard] = np.load(self.folder / _shard(shard), mmap_mode="r", allow_pickle=False)
        rows = self._open[shard][start : start + count]
        if rows.shape != (count, self.width):
            raise ValueError(f"{_shard(shard)} holds {rows.shape} where ({count}, {self.width}) are expected")
        return rows[:, :4], rows[:, 4:]

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: a process of its own opens its own."""
        return {**self.__dict__, "_open": {}}
