"""Series in arrays: ``.npy``, ``.npz``, Parquet columns of lists, ``.tsv``, ``.ts``, and folders of ``.npy`` files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle import _check
from unshuffle._ranges import Count, Range
from unshuffle.data import tables
from unshuffle.data.files import FileDataset, Files, called, find, reason
from unshuffle.data.labels import found_labels
from unshuffle.data.loaders import Unreadable
from unshuffle.data.precision import centered, loses_precision
from unshuffle.values import register

Shape = tuple[int, ...]
LOOKED_AT = 200
"""Samples whose shapes are looked at, where one is to be chosen."""


@register
@dataclass(frozen=True)
class Series:
    """How arrays become samples: sensor series, EEG, sequences of rows, anything else with an axis to be ordered.

    The data are a ``.npy`` (N, ...), an ``.npz``, a ``.parquet`` with a column of lists, a ``.tsv`` of the UCR
    archive or a ``.ts`` of sktime, one sample a row; or a folder, zip or tar of ``.npy`` files, one sample each. A
    sample (time,) or (channels, time) becomes an item (channels, 1, time), so that a network mixes all channels
    from its first layer on; one of three axes, (channels, rows, time), is an item as it is, and so is one of four,
    a clip (frames, channels, height, width). Items are float32, but bytes stay bytes. NaN of all channels at the
    end is padding, and trimmed.
    """

    key: str | None = None
    """Array of an .npz, or column of a .parquet, with the samples; by default x, data, items, or the only one."""
    labels: str | None = None
    """Array or column with a class for each sample; by default y, label or labels, where there is one."""
    time: Annotated[int, Range(0, 63)] | None = None
    """Which axis of a sample, from 0, is its time; by default the last, and of clips the first."""
    lengths: Literal["refuse", "crop", "pad"] = "refuse"
    """What becomes of samples that are not of one length: they are refused; or cropped to their middle; or padded by
    repeating their outermost entries."""
    length: Count | None = None
    """Entries along time of an item; by default that of the data, with crop their shortest, with pad their longest."""
    shape: tuple[Count, ...] | None = None
    """Of an item; by default that of the data."""
    center: bool | None = None
    """Subtract the mean of each channel, in float64 or exact integers. By default where float32 would round off values
    that lie far from 0; and where that was not seen beforehand, such samples are refused."""

    noun: ClassVar[str] = "array"
    any_size: ClassVar[str] = "For arrays as they lie in files give a list, one array a sample."

    def __post_init__(self) -> None:
        _check.one_of("Series", "lengths", self.lengths, ("refuse", "crop", "pad"))

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of an item.

        Raises:
            ValueError: it is still to be chosen.
        """
        if self.shape is None:
            raise ValueError("Series: `shape` must be known by now; `settle` chooses it from the data.")
        return self.shape

    def settle(self, root: str | Path) -> tuple[Series, list[str]]:
        """Chooses the shape of an item, where it is open, from at most 200 samples.

        Returns:
            The same source with nothing left open, and a line for each choice.

        Raises:
            FileNotFoundError: there are no such data.
            ValueError: they cannot be read, or are of several lengths.
        """
        return self._settle(_found(Path(root), self))

    def _settle(self, found: tables.Table | Files) -> tuple[Series, list[str]]:
        if self.shape is not None:
            return self, []
        looked, total = _looked_at(found, self)
        shapes = Counter(one.shape for one in looked)
        shape, others = self._with_length(shapes), len(looked) - max(shapes.values())
        told = f"items: {' x '.join(map(str, shape))}, {_axes(shape)} ({len(looked)} of {total} looked at)"
        if others:
            told += f"; {others} of these have another shape"
        lines = [told]
        if isinstance(found, tables.Table):
            classes = f"{len(found.labels.classes)} classes" if found.labels.classes else "no classes"
            known = f", labels: {found.label_key!r}, {classes}" if found.label_key else ""
            lines.append(f"samples: {found.key!r}{known}")
        settled = replace(self, shape=shape)
        if self.center is None and any(one.lossy for one in looked):
            settled = replace(settled, center=True)
            lines.append("center: each channel's mean is subtracted, as float32 would round off values so far from 0")
        return settled, lines

    def _with_length(self, shapes: Counter[tuple[int, ...]]) -> tuple[int, ...]:
        """The commonest shape, with the one length that items are to have.

        Raises:
            ValueError: there are several, and none was named.
        """
        commonest = shapes.most_common(1)[0][0]
        along = _time_axis(len(commonest))
        lengths = {shape[along] for shape in shapes if len(shape) == len(commonest)}
        if self.length is None and self.lengths == "refuse" and len(lengths) > 1:
            raise ValueError(
                f"the samples are {min(lengths)} to {max(lengths)} entries long: crop them to their middle "
                "(--source.lengths crop), pad them (--source.lengths pad), or name the one --source.length to keep."
            )
        chosen = {"refuse": commonest[along], "crop": min(lengths), "pad": max(lengths)}[self.lengths]
        return (*commonest[:along], self.length or chosen, *commonest[along + 1 :])

    def open(self, root: str | Path) -> SeriesTable | FileDataset:
        """The samples at ``root`` as a data set; what is still to be chosen is chosen from them."""
        found = _found(Path(root), self)
        settled, _ = self._settle(found)
        if isinstance(found, tables.Table):
            return SeriesTable(found, settled, name=Path(root).stem)
        return FileDataset(found, settled.decode, settled, found_labels(found), name=called(root))

    def decode(self, file: BinaryIO, name: str = "") -> Tensor:
        """The array of a ``.npy`` file as an item.

        Raises:
            ValueError: it is no such file, holds objects or NaN, or has another shape.
        """
        return self.as_item(np.load(file, allow_pickle=False))

    def as_item(self, sample: Any) -> Tensor:
        """A sample as it lies in the data as an item.

        Raises:
            ValueError: its entries are no real numbers or not finite, or its shape is another.
        """
        item = self._fitted(self._laid_out(sample))
        if item.dtype != np.uint8:
            item = self._as_float32(item)
        return torch.from_numpy(np.ascontiguousarray(item))

    def _laid_out(self, sample: Any) -> np.ndarray:
        """The sample with the axes of an item, without padding, in its own type and length."""
        array = np.asarray(sample.detach().cpu() if isinstance(sample, Tensor) else sample)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"its entries are {array.dtype}; real numbers are needed")
        item = np.moveaxis(array, self._axis(array.ndim), _time_axis(array.ndim)).reshape(self._item_shape(array.shape))
        return _trimmed(item)

    def _as_float32(self, item: np.ndarray) -> np.ndarray:
        """The entries as float32.

        Raises:
            ValueError: some are NaN or infinite, or would be rounded off.
        """
        finite = np.isfinite(item)
        if not finite.all():
            along = _time_axis(item.ndim)
            first = int((~finite).any(tuple(axis for axis in range(item.ndim) if axis != along)).argmax())
            raise ValueError(f"it holds NaN or infinite values, the first at entry {first} of its time")
        if self.center:
            item = centered(item)
        elif loses_precision(item):
            raise ValueError(
                f"float32 would round off its values, as far from 0 as {float(np.abs(item).max()):.3g}; subtract each "
                "channel's mean (--source.center True)"
            )
        with np.errstate(over="ignore"):
            small = item.astype(np.float32)
        if not np.isfinite(small).all():
            raise ValueError("its values are too large for float32")
        return small

    def _item_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the item that a sample of this shape becomes, before it is cropped or padded."""
        if not 1 <= len(shape) <= 4 or 0 in shape:
            raise ValueError(f"a sample must have one to four axes and none empty; got shape {tuple(shape)}")
        rest = [size for axis, size in enumerate(shape) if axis != self._axis(len(shape))]
        time = shape[self._axis(len(shape))]
        if len(shape) == 4:
            return (time, *rest)
        return (*rest, time) if len(shape) == 3 else (*(rest or [1]), 1, time)

    def _axis(self, ndim: int) -> int:
        """The axis of a sample that is its time."""
        if self.time is None:
            return _time_axis(ndim)
        if not -ndim <= self.time < ndim:
            raise ValueError(f"`time` is axis {self.time}, and a sample has {ndim}; name one from 0 to {ndim - 1}")
        return self.time % ndim

    def _fitted(self, item: np.ndarray) -> np.ndarray:
        """The item at the length that all have."""
        if self.shape is None or item.shape == self.shape:
            return item
        along = _time_axis(item.ndim)
        have, want = item.shape[along], self.shape[along] if item.ndim == len(self.shape) else 0
        if (*item.shape[:along], want, *item.shape[along + 1 :]) != self.shape:
            raise ValueError(f"an item of shape {item.shape}; the others are {self.shape}")
        if self.lengths == "refuse" or (self.lengths == "crop" and have < want):
            raise ValueError(f"{have} entries long; {want} needed")
        start = (have - want) // 2  # where negative, so many lie before the first entry
        return item.take(np.clip(np.arange(start, start + want), 0, have - 1), axis=along)


class SeriesTable(Dataset):
    """A table's rows as samples: what cannot be an item comes back as :class:`Unreadable`.

    Args:
        table: the samples and their labels.
        source: the frozen value that knows how samples become items; an encoder keeps it.
        name: what results call the data set.
    """

    def __init__(self, table: tables.Table, source: Series, *, name: str) -> None:
        self.rows, self.source, self.name = table.rows, source, name
        self.classes: tuple[str, ...] = table.labels.classes
        self.labels: Sequence[int] | np.ndarray | None = table.labels.labels
        self.names = [f"{table.key}[{row}]" for row in range(len(table.rows))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Any] | Unreadable:
        try:
            item = self.source.as_item(self.rows[index])
        except Exception as error:
            return Unreadable(self.names[index], reason(error))
        return item, None if self.labels is None else self.labels[index]


def _found(root: Path, source: Series) -> tables.Table | Files:
    """The table at ``root``, or the files below it."""
    if root.suffix.lower() in tables.SUFFIXES and not root.is_dir():
        return tables.read_table(root, key=source.key, label_key=source.labels)
    return find(root, (".npy",), what=source.noun)


class _Looked(NamedTuple):
    """Facts about a sample: the shape of its item, and whether float32 would round off what varies in it."""

    shape: Shape
    lossy: bool


def _looked_at(found: tables.Table | Files, source: Series) -> tuple[list[_Looked], int]:
    """At most :data:`LOOKED_AT` samples, evenly spaced, or all of an array without padding; and how many there are."""
    total = len(found.rows if isinstance(found, tables.Table) else found)
    array = found.rows if isinstance(found, tables.Table) and isinstance(found.rows, np.ndarray) else None
    if array is not None and (array.ndim < 2 or not total):
        raise ValueError(
            f"{found.key!r} must be (samples, ...), one sample a row; got shape {array.shape}."  # type: ignore[union-attr]
        )
    if array is not None and array.dtype.kind not in "fiub":
        return [_Looked(source._item_shape(array.shape[1:]), False)] * total, total
    looked, reasons = [], []
    for place in np.linspace(0, total - 1, min(LOOKED_AT, total)).round().astype(int).tolist():
        try:
            item = source._laid_out(_sample(found, place))
            looked.append(_Looked(item.shape, bool(np.isfinite(item).all()) and loses_precision(item)))
        except (ValueError, OSError) as error:  # noqa: PERF203  (each sample may be a bad one)
            reasons.append(f"{place} ({reason(error)})")
    if not looked:
        raise ValueError(f"not one of the arrays looked at could be read: {'; '.join(reasons[:3]) or 'there is none'}.")
    if array is not None and len({one.shape for one in looked}) == 1 and not reasons:
        return [looked[0]._replace(lossy=any(one.lossy for one in looked))] * total, total
    return looked, total


def _sample(found: tables.Table | Files, place: int) -> np.ndarray:
    if isinstance(found, tables.Table):
        return found.rows[place]
    with found.open(place) as file:
        tables.npy_shape(file)  # says what is wrong with a file in words
        file.seek(0)
        return np.load(file, allow_pickle=False)


def _trimmed(item: np.ndarray) -> np.ndarray:
    """An item without the padding at its end: times at which all channels are NaN.

    Raises:
        ValueError: there is nothing else.
    """
    if item.dtype.kind != "f":
        return item
    along = _time_axis(item.ndim)
    if not np.isnan(item.take(-1, axis=along)).all():
        return item
    empty = np.asarray(np.isnan(np.moveaxis(item, along, 0).reshape(item.shape[along], -1)).all(axis=1))
    if empty.all():
        raise ValueError("it holds nothing but NaN")
    return item.take(np.arange(len(empty) - int(empty[::-1].argmin())), axis=along)


def _time_axis(ndim: int) -> int:
    """Where an item, or a sample, has its time unless told otherwise."""
    return 0 if ndim == 4 else ndim - 1


def _axes(shape: tuple[int, ...]) -> str:
    return "frames x channels x height x width" if len(shape) == 4 else "channels x rows x time"
