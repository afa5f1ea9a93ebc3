"""Series in text files: ``.tsv`` of the UCR archive and ``.ts`` of sktime and aeon.

``.tsv``: one sample a line, its class in the first cell, then its values. ``.ts``: a header of ``@`` lines, then one
sample a line, its channels parted by ``:``, values by commas, and the class last. Missing values are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class TextSeries(NamedTuple):
    """Samples, (time,) or (channels, time), and the label of each, as written; None where the file has none."""

    samples: list[np.ndarray]
    labels: list[str] | None


class Ragged:
    """Samples that differ in length.

    Args:
        samples: by number.
    """

    def __init__(self, samples: Sequence[np.ndarray]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.samples[index]


def read_ucr(path: Path) -> TextSeries:
    """Read a ``.tsv`` of the UCR archive.

    Raises:
        ValueError: a cell is no number, or a line has a class only; its line is named.
    """
    samples, labels = [], []
    for number, line in _lines(path):
        label, *cells = line.split("\t")
        if not cells:
            raise ValueError(f"line {number} has one cell; expected a class, a tab and values parted by tabs")
        samples.append(_numbers(cells, number))
        labels.append(label.strip())
    return TextSeries(samples, labels)


def read_ts(path: Path) -> TextSeries:
    """Read a ``.ts`` of sktime and aeon.

    Raises:
        ValueError: there is no ``@data``, values carry time stamps, or a line is malformed; its line is named.
    """
    head: dict[str, list[str]] = {}
    samples, labels = [], []
    lines = _lines(path)
    for number, line in lines:
        if line.startswith("#"):
            continue
        key, *values = line.split()
        if not key.startswith("@"):
            raise ValueError(f"line {number}: expected a header line that begins with @, or @data")
        if key.lower() == "@data":
            break
        head[key.lower()] = values
    else:
        raise ValueError("it has no line @data")
    if _is_true(head.get("@timestamps")):
        raise ValueError("its values carry time stamps (@timeStamps true), which are not read; resample them evenly")
    classes = head.get("@classlabel", [])
    labelled = _is_true(classes) or _is_true(head.get("@targetlabel"))
    for number, line in lines:
        if line.startswith("#"):
            continue
        *channels, last = line.split(":")
        if not labelled:
            channels.append(last)
        elif not channels:
            raise ValueError(f"line {number} has no label; expected one behind the last colon")
        elif len(classes) > 1 and last.strip() not in classes[1:]:
            raise ValueError(f"line {number} has the class {last.strip()!r}; @classLabel has {', '.join(classes[1:])}")
        samples.append(_stacked([_numbers(channel.split(","), number) for channel in channels]))
        labels.append(last.strip())
    return TextSeries(samples, labels if labelled else None)


def as_rows(samples: list[np.ndarray]) -> Any:
    """One array where all samples have one shape, else each by itself.

    Raises:
        ValueError: there is none.
    """
    if not samples:
        raise ValueError("it holds no samples")
    return np.stack(samples) if len({sample.shape for sample in samples}) == 1 else Ragged(samples)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers."""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def _numbers(cells: Sequence[str], line: int) -> np.ndarray:
    words = [cell.strip() for cell in cells]
    try:
        return np.array(["nan" if word in ("", "?") else word for word in words], dtype=np.float64)
    except ValueError:
        column = next(k for k, word in enumerate(words) if word not in ("", "?") and not _is_number(word))
        raise ValueError(f"line {line}: value {column + 1} is {words[column]!r}, no number") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
        return True
    except ValueError:
        return False


def _stacked(channels: list[np.ndarray]) -> np.ndarray:
    """One channel as (time,), several as (channels, time); shorter ones end in NaN."""
    if len(channels) == 1:
        return channels[0]
    longest = max(map(len, channels))
    return np.stack([np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in channels])


def _is_true(values: list[str] | None) -> bool:
    return bool(values) and values[0].lower() == "true"  # type: ignore[index]
