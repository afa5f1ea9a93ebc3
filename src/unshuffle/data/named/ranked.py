"""Files of one's own in an order, weak to strong: by their folders, or by a column of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from unshuffle import _check
from unshuffle._ranges import Few
from unshuffle.data.bounded import read_bounded
from unshuffle.data.files import FileDataset, find
from unshuffle.data.labels import FoundLabels, Labels, column_of, folder_labels
from unshuffle.data.named.folders import labels_at
from unshuffle.data.named.layout import Chosen
from unshuffle.data.ranks import Order, chosen_order, rank_values, rank_words, read_orders
from unshuffle.values import register

LARGEST_ORDERS = 1 << 24
"""Bytes of a file of orders."""


@register
@dataclass(frozen=True)
class RankedFolders:
    """All files of a folder or an archive, ordered by the sub-folders they lie in.

    Without ``orders`` the folders' names tell the order, weak to strong: ``1-calm``, ``2-lively``, …, ``10-wild``.
    """

    orders: str | None = None
    """JSON file with orders of the folders, by attribute; a file, or its name within the data."""
    target: str | None = None
    """The attribute to order by; None: the only one."""
    depth: Few | None = None
    """Folders above a file that name its place in the order, split folders not counted; None: the first one in which
    files differ."""

    noun: ClassVar[str] = "sample"

    def __post_init__(self) -> None:
        if self.depth is not None:
            _check.positive("RankedFolders", "depth", self.depth)

    def tested(self) -> RankedFolders | None:
        """None: folders know no parts."""
        return None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The samples that ``items`` finds there, each with the rank of its folder, from 0; others are left out.

        Raises:
            FileNotFoundError: there are no samples, or no such orders.
            ValueError: the files lie in no sub-folders, or these do not fit the order.
        """
        data = _files(root, items)
        known = folder_labels(data.names) if self.depth is None else labels_at(self.depth, data.names, root)
        if known.labels is None:
            raise ValueError(
                f"{str(root)!r} has no sub-folders to be ordered by: put the {items.noun}s into folders whose names "
                "sort weak to strong (1-weak, 2-strong), or give a table of scores or dates (--label-table)."
            )
        order = _order(root, self.orders, self.target) or tuple((name,) for name in known.classes)
        ranks = rank_words(known.classes, order, str(root))
        places = [place for place, label in enumerate(known.labels) if label >= 0]
        chosen = Chosen(data.files, places, [data.names[place] for place in places])
        found = FoundLabels((), ranks[[known.labels[place] for place in places]])
        found.messages = known.messages
        return FileDataset(chosen, data.decode, data.source, found, name=data.name)


@register
@dataclass(frozen=True)
class RankTable:
    """All files of a folder or an archive, ordered by a column of scores, dates or words."""

    table: str
    """The ``.csv`` or ``.parquet`` with file names and values."""
    column: str | None = None
    """The column of values; None: ``label``, or the only one there is."""
    orders: str | None = None
    """JSON file with orders of the column's words, by attribute; a file, or its name within the data."""
    target: str | None = None
    """The attribute to order by; None: the only one."""

    noun: ClassVar[str] = "sample"

    def tested(self) -> RankTable | None:
        """None: a table knows no parts."""
        return None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The samples that ``items`` finds there, each with its value.

        Raises:
            FileNotFoundError: there is no such table, or no samples.
            ValueError: the table does not fit them, or its values have no order.
        """
        data = _files(root, items)
        values, place = column_of(data.names, Path(self.table), self.column)
        order = _order(root, self.orders, self.target)
        where = repr(self.table)
        if order is None:
            return _ranked(data, Labels((), rank_values(values, where, place=place)))
        ranks = rank_words(list(map(str, values)), order, where)
        return _ranked(data, Labels((), ranks))


def _files(root: str | Path, items: Any) -> FileDataset:
    data = items.open(root)
    if not isinstance(data, FileDataset):
        raise ValueError(f"files are ordered by their names, and {str(root)!r} holds samples without any.")
    return data


def _ranked(data: FileDataset, ranks: Labels) -> FileDataset:
    return FileDataset(data.files, data.decode, data.source, ranks, name=data.name)


def _order(root: str | Path, orders: str | None, target: str | None) -> Order | None:
    """The order asked for: from a file, or from one of that name within the data.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it is no order, or that of other attributes; or an attribute is named without orders.
    """
    if orders is None:
        if target is not None:
            raise ValueError(f"an attribute to order by, {target!r}, needs the orders of attributes: --class-orders.")
        return None
    path = Path(orders)
    if not path.is_file():
        return chosen_order(read_orders(_within(root, orders), orders), target, orders)
    with open(path, "rb") as file:
        return chosen_order(read_orders(_text(file, orders), orders), target, orders)


def _within(root: str | Path, name: str) -> str:
    """The text of a file within the data."""
    missing = FileNotFoundError(f"no orders {name!r}: give a JSON file, or the name of one within {str(root)!r}.")
    try:
        files = find(root, (".json",), what="orders")
    except FileNotFoundError:
        raise missing from None
    places = [place for place, known in enumerate(files.names) if f"/{known}".endswith(f"/{name}")]
    if len(places) != 1:
        raise missing
    with files.open(places[0]) as file:
        return _text(file, name)


def _text(file: BinaryIO, name: str) -> str:
    try:
        return read_bounded(file, name, LARGEST_ORDERS).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} cannot be read as JSON in UTF-8: {error}.") from error
