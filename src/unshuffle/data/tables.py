"""Arrays in files, one sample a row: ``.npy``, ``.npz``, Parquet columns of lists, text in ``.tsv`` and ``.ts``.

Nothing in them can run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

import numpy as np

from unshuffle.data.labels import Labels, numbered
from unshuffle.data.series_text import as_rows, read_ts, read_ucr

SUFFIXES = (".npy", ".npz", ".parquet", ".tsv", ".ts")
SAMPLES, LABELS = ("x", "data", "items"), ("y", "label", "labels")
"""Names by which samples and labels are found; capitals do not matter."""


@runtime_checkable
class Rows(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class Table(NamedTuple):
    """Samples and what is known of them; ``key`` and ``label_key`` are what they are called in the file."""

    rows: Rows
    key: str
    labels: Labels
    label_key: str | None


def read_table(path: Path, *, key: str | None = None, label_key: str | None = None) -> Table:
    """Opens a table; a ``.npy`` is mapped into memory and not read.

    Args:
        path: a ``.npy`` (N, ...), an ``.npz``, a ``.parquet``, a ``.tsv`` of the UCR archive or a ``.ts`` of sktime.
        key: array or column of the samples; by default ``x``, ``data``, ``items``, or the only one that can be.
        label_key: array or column of the labels; by default ``y``, ``label`` or ``labels``, where there is one.

    Returns:
        The samples, and classes where the labels are words, whole numbers (floats among them), booleans, or one-hot
        rows; (N, 1) counts as (N,).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds objects, or it is open which array or column is meant.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}: give a {', '.join(SUFFIXES)}, or a folder of .npy.")
    read = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".tsv": _text, ".ts": _text}[path.suffix.lower()]
    try:
        return read(path, key, label_key)
    except _Unclear:
        raise
    except Exception as error:  # damaged files lead to BadZipFile, zlib.error, EOFError, ArrowInvalid, …
        raise ValueError(f"{str(path)!r} cannot be read: {_first_line(error)}.") from error


def npy_shape(file: BinaryIO) -> tuple[int, ...]:
    """Shape of the array in a ``.npy``, from its header.

    Raises:
        ValueError: it is no such file, or holds objects.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version} of .npy, of arrays that are no plain numbers")
    one = version == (1, 0)
    shape, _, kind = (np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0)(file)
    if kind.hasobject:
        raise ValueError("it holds objects, which could run code; save plain numbers")
    return shape


class _Unclear(ValueError):
    """A message that is for users already."""


def _npy(path: Path, key: str | None, label_key: str | None) -> Table:
    _refuse_names(path, key, label_key)
    return Table(np.load(path, mmap_mode="r", allow_pickle=False), path.stem, Labels((), None), None)


def _text(path: Path, key: str | None, label_key: str | None) -> Table:
    _refuse_names(path, key, label_key)
    read = (read_ucr if path.suffix.lower() == ".tsv" else read_ts)(path)
    rows = as_rows(read.samples)
    if read.labels is None:
        return Table(rows, path.stem, Labels((), None), None)
    try:
        labels = np.array(read.labels, dtype=np.float64)
    except ValueError:
        labels = np.array(read.labels)
    return Table(rows, path.stem, _classes(path, labels, len(rows)), "class")


def _refuse_names(path: Path, key: str | None, label_key: str | None) -> None:
    """Raise where names are given for a file that has none."""
    if given := [f"`{name}` {value!r}" for name, value in (("key", key), ("labels", label_key)) if value is not None]:
        raise _Unclear(f"{str(path)!r} is a single array without names; leave {' and '.join(given)} out.")


def _npz(path: Path, key: str | None, label_key: str | None) -> Table:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays.files)
        labels = _label_name(path, names, label_key)
        sizes = {name: arrays[name].ndim for name in names if name != labels} if key is None else {}
        samples = _sample_name(path, names, [name for name, axes in sizes.items() if axes > 1], key, "array")
        rows = arrays[samples]
        return Table(rows, samples, _classes(path, arrays[labels], len(rows)) if labels else Labels((), None), labels)


def _parquet(path: Path, key: str | None, label_key: str | None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    fields = {field.name: field.type for field in file.schema_arrow}
    labels = _label_name(path, list(fields), label_key)
    lists = [name for name, kind in fields.items() if _is_list(pa, kind) and _is_numeric(pa, kind)]
    samples = _sample_name(path, list(fields), lists, key, "column of lists")
    if samples not in lists:
        raise _Unclear(f"the column {samples!r} of {str(path)!r} holds no lists of numbers; name another `key`.")
    read = file.read(columns=[samples, *([labels] if labels else [])])
    rows = _rows(pa, read[samples].combine_chunks())
    known = _classes(path, _column(read[labels]), len(rows)) if labels else Labels((), None)
    return Table(rows, samples, known, labels)


def _sample_name(path: Path, names: list[str], fitting: list[str], asked: str | None, what: str) -> str:
    """The array or column that holds the samples."""
    if asked is not None:
        if asked not in names:
            raise _Unclear(f"{str(path)!r} has no {asked!r}; it has {', '.join(names) or 'nothing'}.")
        return asked
    usual = [name for name in fitting if name.lower() in SAMPLES]
    chosen = usual[:1] or (fitting if len(fitting) == 1 else [])
    if not chosen:
        raise _Unclear(
            f"{str(path)!r} has {'several' if fitting else 'no'} {what}s that could be the samples: name one as `key` "
            f"(--source.key); it has {', '.join(names) or 'nothing'}."
        )
    return chosen[0]


def _label_name(path: Path, names: list[str], asked: str | None) -> str | None:
    if asked is not None and asked not in names:
        raise _Unclear(f"{str(path)!r} has no labels {asked!r}; it has {', '.join(names) or 'nothing'}.")
    return asked or next((name for name in names if name.lower() in LABELS), None)


def _column(column: Any) -> np.ndarray:
    """A pyarrow column as an array; text and bytes as objects, so that trailing zero bytes stay."""
    values = column.to_pylist()
    return np.array(values, dtype=object if any(isinstance(value, (str, bytes)) for value in values) else None)


def _classes(path: Path, labels: np.ndarray, count: int) -> Labels:
    """Classes of words, whole numbers, booleans and one-hot rows; real numbers are labels as they are, arrays none."""
    if labels.shape[:1] != (count,):
        raise _Unclear(f"{str(path)!r} has labels of shape {labels.shape} for {count} samples; give one a sample.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if _is_one_hot(labels):
        return Labels(tuple(map(str, range(labels.shape[1]))), labels.argmax(1).tolist())
    missing = _missing(labels)
    if missing.all():
        return Labels((), None)
    if missing.any():
        first = int(missing.argmax())
        raise _Unclear(
            f"{str(path)!r} has no label for sample {first} and {int(missing.sum()) - 1} others of {count} (it holds "
            f"{labels[first]}): give each one, leave these samples out, or name other labels (--source.labels)."
        )
    if labels.ndim == 1 and labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise _Unclear(f"{str(path)!r} has an infinite label, of sample {int((~np.isfinite(labels)).argmax())}.")
        if (labels % 1).any():
            return Labels((), labels)
        return numbered([str(int(label)) for label in labels.tolist()])
    words = labels.ndim == 1 and labels.dtype.kind == "O" and all(isinstance(label, (str, bytes)) for label in labels)
    if labels.ndim != 1 or not (words or labels.dtype.kind in "USbiu"):
        return Labels((), None)
    return numbered([_word(label) for label in labels.tolist()])


def _is_one_hot(labels: np.ndarray) -> bool:
    """Whether each row has a single 1, and 0 elsewhere."""
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        return False
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())


def _missing(labels: np.ndarray) -> np.ndarray:
    """Which labels are null or NaN; of arrays none."""
    if labels.ndim == 1 and labels.dtype.kind == "f":
        return np.isnan(labels)
    if labels.ndim == 1 and labels.dtype.kind == "O":
        return np.array([label is None or label != label for label in labels], dtype=bool)
    return np.zeros(len(labels), dtype=bool)


def _word(label: Any) -> str:
    """A label as text; bytes are UTF-8."""
    return label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else str(label)


# ----------------------------------------------------------------------------------------------------- lists in Parquet


class Lists:
    """Rows of lists that differ in length; of lists of lists, the inner ones are channels.

    Args:
        column: a pyarrow array of lists.
    """

    def __init__(self, column: Any) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> np.ndarray:
        values = self.column[index].values
        if values is None:
            raise ValueError("it is null")
        return _array(values)


def _rows(pa: Any, column: Any) -> Rows:
    """One array where all rows have one shape, else each row by itself."""
    shape, values = [len(column)], column
    while _is_list(pa, values.type):
        lengths = values.value_lengths()
        first = lengths[0].as_py() if len(lengths) else 0
        if values.null_count or len(lengths.unique()) > 1 or not first:
            return Lists(column)
        shape.append(first)
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _array(values: Any) -> np.ndarray:
    """A pyarrow array of numbers, or of lists, as numpy: missing numbers become NaN."""
    if hasattr(values, "flatten") and "list" in str(values.type):
        inner: Sequence[np.ndarray] = [_array(value.values) for value in values if value.values is not None]
        if len(inner) < len(values) or len({one.shape for one in inner}) != 1:
            raise ValueError("its channels have different lengths")
        return np.stack(inner)
    return values.to_numpy(zero_copy_only=False)


def _is_list(pa: Any, kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_numeric(pa: Any, kind: Any) -> bool:
    """Whether the innermost values of lists are numbers."""
    while _is_list(pa, kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(". ") or type(error).__name__
