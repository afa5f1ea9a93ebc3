"""Which files of ``--data`` count, and what their labels are: flags that train, embed and eval share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from unshuffle.data.named import Layout


@dataclass(frozen=True)
class Where:
    """How the data are laid out; by default every file counts and sub-folders are classes."""

    dataset: Literal["nsynth", "fsdd", "imagenet", "voc", "ssv2", "mnist", "cifar10"] | None = None
    """A known data set, read in its own layout."""
    split: str | None = None
    """Part of that data set; by default the one to train on."""
    target: str | None = None
    """Labels of that data set: family, instrument or pitch of nsynth; digit or speaker of fsdd."""
    label_table: Path | None = None
    """Table of labels for files of one's own: a .csv or .parquet with a column of file names."""
    label_column: str | None = None
    """Column of that table, where it has several besides the names."""

    def layout(self) -> Layout | None:
        """The layout asked for; None for plain folders.

        Raises:
            ValueError: the flags do not fit each other.
        """
        from unshuffle.data.named import ALL, LabelTable

        if self.dataset is not None and self.label_table is not None:
            raise ValueError("--dataset has labels of its own: leave --label-table out, or --dataset.")
        for flag, given, needed, there in (
            ("--split", self.split, "--dataset", self.dataset),
            ("--target", self.target, "--dataset", self.dataset),
            ("--label-column", self.label_column, "--label-table", self.label_table),
        ):
            if given is not None and there is None:
                raise ValueError(f"{flag} needs {needed}: give that too.")
        if self.label_table is not None:
            return LabelTable(str(self.label_table.absolute()), self.label_column)
        return None if self.dataset is None else self._named(ALL[self.dataset])

    def _named(self, kind: type) -> Layout:
        choices: dict[str, Any] = {"split": self.split, "target": self.target}
        given = {name: choice for name, choice in choices.items() if choice is not None}
        if "target" in given and "target" not in kind.__dataclass_fields__:  # type: ignore[attr-defined]
            raise ValueError(f"--target: {self.dataset} has labels of one kind only; leave it out.")
        return kind(**given)
