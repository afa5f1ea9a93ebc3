"""The list of a run's samples, ``samples.jsonl.gz``: what is stored for each sample is matched with data by name.

The first line describes the list; then one line for each sample, ``["cat/01.png", 4711]``: its name and its size in
bytes (null where it is not a file of its own). Line k is the sample whose index is k in everything that the run stores.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from torch.utils.data import Dataset, Subset

from unshuffle._check import Explained
from unshuffle._files import write_atomically
from unshuffle.train.folder import SAMPLES, RunError

FILE = SAMPLES
"""Below a run's folder."""
LARGEST = 1 << 30
"""Bytes that the list may have once it is unpacked: about ten million samples. More is taken for a bomb."""
UNKNOWN = -1
"""A size that is not known."""
_NAMED = 3
"""Examples of each kind of change that messages give."""


class BadManifest(Explained):
    """A list of samples that is damaged, or of another run."""


class DataChanged(RunError):
    """The data are not those that the run was trained on; the message counts and names the differences."""


class Manifest(NamedTuple):
    """Names, sizes and order of the samples of one data set.

    ``names`` is None where samples have none. ``sizes`` (N,) holds -1 where a size is not known, and ``labels`` is a
    hash of the labels, or "" without labels.
    """

    samples: int
    shape: tuple[int, ...] | None
    names: list[str] | None
    sizes: np.ndarray | None
    labels: str

    def digest(self) -> str:
        """One hash of everything but the item's shape; names are hashed in their order."""
        parts = [str(self.samples), self.labels, names_digest(self.names)]
        parts.append("" if self.sizes is None else hashlib.sha256(self.sizes.astype("<i8").tobytes()).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Change(NamedTuple):
    """What differs between a stored list and the present data.

    ``rows`` (N,) has, for each stored sample, its index in the present data, or -1: it is missing, or of another size.
    """

    rows: np.ndarray
    missing: list[str]
    new: list[str]
    resized: list[str]
    labels: bool

    def __bool__(self) -> bool:
        return bool(self.missing or self.new or self.resized or self.labels)

    @property
    def moved(self) -> bool:
        """Whether the same samples come in another order."""
        return not np.array_equal(self.rows, np.arange(len(self.rows)))

    def __str__(self) -> str:
        """For example ``2 missing (a.png, b.png), 1 new (z.png)``."""
        kinds = ((self.missing, "missing"), (self.new, "new"), (self.resized, "with another size"))
        parts = [f"{len(names)} {what} ({_few(names)})" for names, what in kinds if names]
        return ", ".join([*parts, "other labels"] if self.labels else parts)


def describe(dataset: Dataset, *, shape: tuple[int, ...] | None = None, sizes: bool = True) -> Manifest:
    """The list of a data set's samples.

    Args:
        dataset: any; names are its ``names``, sizes those of its ``files``, or of what a ``Subset`` is a part of.
        shape: of an item.
        sizes: whether to ask for the sizes, which costs a system call for each file of a folder.
    """
    names, held = _attribute(dataset, "names"), None
    files = _attribute(dataset, "files") if sizes and names is not None else None
    if files is not None and hasattr(files.whole, "sizes"):
        held = files.taken(np.asarray(files.whole.sizes(), dtype=np.int64))
    listed = None if names is None else [str(name) for name in names.taken(names.whole)]
    return Manifest(len(cast(Sequence, dataset)), shape, listed, held, _labels_digest(dataset))


def names_digest(names: Sequence[str] | None) -> str:
    """A hash of names in their order; "" without names."""
    if names is None:
        return ""
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def write(folder: str | Path, manifest: Manifest) -> Path:
    """Writes the list below a run's folder, whole or not at all.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    head = {
        "format": 1, "samples": manifest.samples, "shape": manifest.shape, "named": manifest.names is not None,
        "sized": manifest.sizes is not None, "labels": manifest.labels, "digest": manifest.digest(),
    }  # fmt: skip
    lines = [json.dumps(head)]
    if manifest.names is not None:
        sizes = [UNKNOWN] * manifest.samples if manifest.sizes is None else manifest.sizes.tolist()
        lines += [f"[{quoted(n)}, {'null' if s == UNKNOWN else s}]" for n, s in zip(manifest.names, sizes)]
    packed = gzip.compress("\n".join([*lines, ""]).encode("ascii"), compresslevel=4, mtime=0)
    path = Path(folder) / FILE
    write_atomically(path, lambda file: file.write(packed))
    return path


def read(folder: str | Path) -> Manifest | None:
    """Reads the list of a run; None where there is none: runs of earlier versions have none.

    Raises:
        BadManifest: the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    with _refusing(path), gzip.open(path, "rb") as file:
        text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        first, *lines = text.decode("ascii").splitlines()
        manifest = _parsed(json.loads(first), lines)
        if manifest.digest() != json.loads(first)["digest"]:
            raise ValueError("its hash is another")
        return manifest


class Head(NamedTuple):
    """What the first line of a list says: its hash, how many samples there are, and the shape of an item."""

    digest: str
    samples: int
    shape: tuple[int, ...] | None


def read_head(folder: str | Path) -> Head | None:
    """The first line of a run's list, which costs nothing to read; None where there is no list.

    Raises:
        BadManifest: the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    with _refusing(path), gzip.open(path, "rb") as file:
        head = json.loads(file.readline(10_000))
        shape = None if head["shape"] is None else tuple(int(side) for side in head["shape"])
        return Head(str(head["digest"]), int(head["samples"]), shape)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error, OverflowError, RecursionError) as error:
        raise BadManifest(
            f"{path}, the list of the run's samples, is damaged: {error}. Put a good copy in its place."
        ) from error


def compare(stored: Manifest, now: Manifest) -> Change:
    """What differs, sample by sample; both lists must have names, or neither.

    Names are the same across Unicode's normal forms. Sizes that either list does not know count as equal.
    """
    assert stored.names is not None
    assert now.names is not None
    others = stored.labels != now.labels
    equal = stored.names == now.names
    rows = np.arange(stored.samples) if equal else _matched(stored.names, now.names)
    missing = [stored.names[k] for k in np.flatnonzero(rows < 0)]
    known = np.zeros(now.samples, dtype=bool)
    known[rows[rows >= 0]] = True
    new = [now.names[k] for k in np.flatnonzero(~known)]
    resized: list[str] = []
    if stored.sizes is not None and now.sizes is not None:
        sizes = np.where(rows >= 0, now.sizes[rows], UNKNOWN)
        other = (rows >= 0) & (sizes != UNKNOWN) & (stored.sizes != UNKNOWN) & (sizes != stored.sizes)
        resized = [stored.names[k] for k in np.flatnonzero(other)]
        rows = np.where(other, -1, rows)
    same = len(rows) == now.samples and np.array_equal(rows, np.arange(len(rows)))
    return Change(rows, missing, new, resized, others and same)


class Reordered(Dataset):
    """The samples of a data set in another order, with everything else that the data set has.

    Args:
        dataset: what is reordered.
        rows: for each sample its index in ``dataset``.
    """

    def __init__(self, dataset: Dataset, rows: Sequence[int]) -> None:
        self.dataset, self.rows = dataset, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.rows[index]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("dataset", "rows"):
            raise AttributeError(name)
        value = getattr(self.dataset, name)
        if name == "take":
            return lambda rows: value([self.rows[row] for row in rows])
        if name == "names":
            return [value[row] for row in self.rows]
        if name == "labels" and value is not None:
            return np.asarray(value)[self.rows]
        return value


class _Taken(NamedTuple):
    """An attribute of the whole of which a data set is a part, and the rows of the part."""

    whole: Any
    rows: np.ndarray | None

    def taken(self, values: Any) -> Any:
        if self.rows is None:
            return values
        return values[self.rows] if isinstance(values, np.ndarray) else [values[row] for row in self.rows]


def _attribute(dataset: Any, name: str) -> _Taken | None:
    rows = None
    while isinstance(dataset, (Subset, Reordered)):
        if name != "files" and isinstance(dataset, Reordered):
            break
        indices = np.asarray(dataset.indices if isinstance(dataset, Subset) else dataset.rows, dtype=np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    value = getattr(dataset, name, None)
    return None if value is None else _Taken(value, rows)


def _labels_digest(dataset: Dataset) -> str:
    labels = _attribute(dataset, "labels")
    try:
        values = None if labels is None else np.asarray(labels.taken(np.asarray(labels.whole)), dtype="<f8")
    except (TypeError, ValueError):  # not numbers: a data set of the user's own
        return ""
    if values is None:
        return ""
    return hashlib.sha256(str(values.shape).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


def _parsed(head: dict[str, Any], lines: list[str]) -> Manifest:
    samples, named = int(head["samples"]), head["named"] is True
    if len(lines) != (samples if named else 0):
        raise ValueError(f"{len(lines)} lines for {samples} samples")
    shape = None if head["shape"] is None else tuple(int(side) for side in head["shape"])
    if not named:
        return Manifest(samples, shape, None, None, str(head["labels"]))
    rows = json.loads(f"[{','.join(lines)}]")
    names = [name for name, _ in rows]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name is not a text")
    sizes = None
    if head["sized"] is True:
        sizes = np.array([UNKNOWN if size is None else size for _, size in rows], dtype=np.int64)
    return Manifest(samples, shape, names, sizes, str(head["labels"]))


def _matched(stored: list[str], now: list[str]) -> np.ndarray:
    """For each stored name the index of the same name, else that of one with the same normal form; -1 without one."""
    exact = {name: place for place, name in enumerate(now)}
    rows = [exact.get(name, -1) for name in stored]
    taken = set(rows)
    normal = {_normal(name): place for name, place in exact.items() if not name.isascii() and place not in taken}
    if normal:
        rows = [normal.pop(_normal(n), -1) if row < 0 and not n.isascii() else row for n, row in zip(stored, rows)]
    return np.array(rows, dtype=np.int64)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _few(names: Iterable[str]) -> str:
    names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
