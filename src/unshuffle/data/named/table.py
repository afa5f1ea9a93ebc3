"""Labels from a table, for files of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unshuffle.data.files import FileDataset
from unshuffle.data.labels import labels_of
from unshuffle.values import register


@register
@dataclass(frozen=True)
class LabelTable:
    """All files of a folder or an archive, labelled by a table; see :func:`~unshuffle.data.labels.labels_of`."""

    table: str
    """The ``.csv`` or ``.parquet`` with file names and labels."""
    column: str | None = None
    """The column of labels; None: ``label``, or the only one there is."""

    noun: ClassVar[str] = "sample"

    def tested(self) -> LabelTable | None:
        """None: a table knows no parts."""
        return None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The samples that ``items`` finds there, with the table's labels.

        Raises:
            FileNotFoundError: there is no such table, or no samples.
            ValueError: the table does not fit them, or they are no files.
        """
        data = items.open(root)
        if not isinstance(data, FileDataset):
            raise ValueError(f"a table labels files by their names, and {str(root)!r} holds samples without any.")
        labels = labels_of(data.names, Path(self.table), self.column)
        return FileDataset(data.files, data.decode, data.source, labels, name=data.name)
