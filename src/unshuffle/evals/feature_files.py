"""Embedded samples as a file: Parquet, CSV, or arrays of NumPy.

Names are written as :func:`~unshuffle._names.escape_name` does; labels are words, numbers, or of several classes a
sample the names of those that are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unshuffle._files import write_atomically
from unshuffle._names import encodable, escape_name


def write_features(path: Path, vectors: np.ndarray, names: Sequence[str], labels: Sequence[Any] | None) -> list[Path]:
    """Writes one row a sample, in the format that the file's ending asks for.

    ========  ==========================================================================================
    .parquet  columns name, label (where known) and features, a list of float32
    .csv      columns name, label (where known), feature_0, feature_1, …; several classes as a JSON list
    .npz      arrays name, label (where known; several classes as JSON lists) and features
    .npy      the features alone; the names, one a line, go into a file of that name with .names.txt
    ========  ==========================================================================================

    Args:
        path: with one of these endings.
        vectors: (N, d).
        names: of the samples.
        labels: of the samples.

    Returns:
        The files written.
    """
    known = [escape_name(name) for name in names]
    told = None if labels is None else [_plain(label) for label in labels]
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    written = [path]
    if path.suffix.lower() == ".npy":
        written.append(names_beside(path))
        text = "".join(f"{name}\n" for name in known).encode()
        write_atomically(written[1], lambda file: file.write(text))
    write = WRITERS[path.suffix.lower()]
    write_atomically(path, lambda file: write(file, rows, known, told))
    return written


def names_beside(path: Path) -> Path:
    """Where the names of a ``.npy`` go: ``features.names.txt``."""
    return path.with_name(f"{path.stem}.names.txt")


def _plain(label: Any) -> Any:
    if isinstance(label, str):
        return encodable(label)
    return [_plain(one) for one in label] if isinstance(label, list) else label


def _flat(labels: list[Any]) -> list[Any]:
    """Labels without lists."""
    return [json.dumps(label, ensure_ascii=False) if isinstance(label, list) else label for label in labels]


def _parquet(file: BinaryIO, vectors: np.ndarray, names: list[str], labels: list[Any] | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"name": pa.array(names)} | ({} if labels is None else {"label": pa.array(labels)})
    columns["features"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    pq.write_table(pa.table(columns), file)


def _csv(file: BinaryIO, vectors: np.ndarray, names: list[str], labels: list[Any] | None) -> None:
    import pyarrow as pa
    import pyarrow.csv

    columns = {"name": pa.array(names)} | ({} if labels is None else {"label": pa.array(_flat(labels))})
    columns |= {f"feature_{k}": pa.array(column) for k, column in enumerate(vectors.T.copy())}
    pyarrow.csv.write_csv(pa.table(columns), file)


def _npy(file: BinaryIO, vectors: np.ndarray, names: list[str], labels: list[Any] | None) -> None:
    np.save(file, vectors, allow_pickle=False)


def _npz(file: BinaryIO, vectors: np.ndarray, names: list[str], labels: list[Any] | None) -> None:
    arrays = {"name": np.array(names, dtype=str)} | ({} if labels is None else {"label": np.array(_flat(labels))})
    np.savez(file, **arrays, features=vectors)  # pyright: ignore[reportArgumentType]


WRITERS: dict[str, Callable[[BinaryIO, np.ndarray, list[str], list[Any] | None], None]] = {
    ".parquet": _parquet, ".csv": _csv, ".npy": _npy, ".npz": _npz,
}  # fmt: skip
