"""Which files of ``--data`` count, and what their labels are: flags that train, embed and eval share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unshuffle._ranges import Few, ranged

if TYPE_CHECKING:
    from unshuffle.data.named import Layout
    from unshuffle.evals.encoder import Encoder

Named = Literal[
    "nsynth", "fsdd", "imagenet", "voc", "ssv2", "mnist", "cifar10", "osr", "pubfig", "aircraft", "caltech101", "cars",
    "cifar100", "dtd", "flowers102", "food101", "pets", "places205", "sun397", "svhn",
]  # fmt: skip


def opened(encoder: Encoder, data: str | Path, layout: Layout | None = None, *, besides: Any = None) -> Any:
    """The samples of ``--data`` as an encoder reads them; says what was left out and how labels were found.

    Args:
        encoder: of a trained run.
        data: the folder or the archive.
        layout: of the data; None: all files count.
        besides: a data set of which that was said already.
    """
    dataset = encoder.open(data, layout)
    say_messages(dataset, besides=besides)
    return dataset


def say_messages(dataset: Any, *, besides: Any = None) -> None:
    """Writes the messages of a data set, or of the whole of which it is a part, to standard error."""
    from unshuffle.train.progress import Terminal

    known = getattr(besides, "messages", ())
    for line in getattr(getattr(dataset, "dataset", dataset), "messages", ()):
        if line not in known:
            Terminal().say(line)


@ranged
@dataclass(frozen=True)
class Where:
    """How the data are laid out; by default every file counts and sub-folders are classes."""

    dataset: Named | None = None
    """A known data set, read in its own layout."""
    split: str | None = None
    """Part of that data set; by default the one to train on."""
    target: str | None = None
    """Labels of that data set: family, instrument or pitch of nsynth; digit or speaker of fsdd; an attribute of osr,
    pubfig or --class-orders."""
    label_table: Path | None = None
    """Table of labels for files of one's own: a .csv or .parquet with a column of file names."""
    label_column: str | None = None
    """Column of that table, where it has several besides the names."""
    class_orders: Path | None = None
    """JSON file with orders of the classes, weak to strong, by attribute: what order recipes learn from classes."""
    class_depth: Few | None = None
    """Folders above a file that name its class: 2 for a/abbey/1.jpg. By default the class is the first folder in which
    files differ. Folders named as parts of a data set (train, val) are not counted."""

    def layout(self, *, ordered: bool = False) -> Layout | None:
        """The layout asked for; None for plain folders, and for the recipe's own.

        Args:
            ordered: the values of a table are to be put in order, so they are no classes.

        Raises:
            ValueError: the flags do not fit each other.
        """
        from unshuffle.data.named import ALL, ClassFolders, LabelTable, RankedFolders, RankTable

        self._refuse_misfits()
        table = None if self.label_table is None else str(self.label_table.absolute())
        if self.class_orders is not None:
            orders = str(self.class_orders.absolute() if self.class_orders.exists() else self.class_orders)
            if table is None:
                return RankedFolders(orders, self.target, self.class_depth)
            return RankTable(table, self.label_column, orders, self.target)
        if table is not None:
            return RankTable(table, self.label_column) if ordered else LabelTable(table, self.label_column)
        if self.class_depth is not None:
            return RankedFolders(depth=self.class_depth) if ordered else ClassFolders(self.class_depth)
        return None if self.dataset is None else self._named(ALL[self.dataset])

    def _refuse_misfits(self) -> None:
        if self.dataset is not None and self.label_table is not None:
            raise ValueError("--dataset has labels of its own: leave --label-table out, or --dataset.")
        if self.dataset is not None and self.class_orders is not None:
            raise ValueError("--dataset has labels of its own: leave --class-orders out, or --dataset.")
        if self.class_depth is not None and (self.dataset is not None or self.label_table is not None):
            other = "--dataset" if self.dataset is not None else "--label-table"
            raise ValueError(f"--class-depth reads labels from folders: leave it out, or {other}.")
        for flag, given, needed, there in (
            ("--split", self.split, "--dataset", self.dataset),
            ("--target", self.target, "--dataset or --class-orders", self.dataset or self.class_orders),
            ("--label-column", self.label_column, "--label-table", self.label_table),
        ):
            if given is not None and there is None:
                raise ValueError(f"{flag} needs {needed}: give that too.")

    def _named(self, kind: type) -> Layout:
        choices: dict[str, Any] = {"split": self.split, "target": self.target}
        given = {name: choice for name, choice in choices.items() if choice is not None}
        if "target" in given and "target" not in kind.__dataclass_fields__:  # type: ignore[attr-defined]
            raise ValueError(f"--target: {self.dataset} has labels of one kind only; leave it out.")
        return kind(**given)
