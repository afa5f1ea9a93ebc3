"""Labels from folders at a depth of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unshuffle import _check
from unshuffle._ranges import Few
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import FoundLabels, folder_labels
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ClassFolders:
    """All files of a folder or an archive, labelled by folders at a depth; ``a/abbey/1.jpg`` has the depth 2.

    See :func:`~unshuffle.data.class_folders.folder_classes`.
    """

    depth: Few = 1
    """Folders above a file that name its class, counted from the root; split folders (train, val) do not count."""

    noun: ClassVar[str] = "sample"

    def __post_init__(self) -> None:
        _check.positive("ClassFolders", "depth", self.depth)

    def tested(self) -> ClassFolders | None:
        """None: folders know no parts."""
        return None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The samples that ``items`` finds there, -1 for those in no folder of that depth.

        Raises:
            FileNotFoundError: there are no samples.
            ValueError: they are no files, or fewer than two folders have that depth.
        """
        data = items.open(root)
        if not isinstance(data, FileDataset):
            raise ValueError(f"folders label files by their names, and {str(root)!r} holds samples without any.")
        labels = labels_at(self.depth, data.names, root)
        return FileDataset(data.files, data.decode, data.source, labels, name=data.name)


def labels_at(depth: int, names: list[str], root: str | Path) -> FoundLabels:
    """Labels by folders at a depth.

    Raises:
        ValueError: there are fewer than two such folders.
    """
    labels = folder_labels(names, depth)
    if labels.labels is None:
        raise ValueError(
            f"--class-depth {depth}: {str(root)!r} has fewer than two class folders there; the first file is "
            f"{names[0]!r}. Count the folders above a file, without split folders (train, val)."
        )
    return labels
