"""What the layouts of known data sets share: a tree of files that may lie in a folder, a zip or a tar."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from unshuffle.data.bounded import parse_json, read_bounded
from unshuffle.data.files import FileDataset, Files, find
from unshuffle.data.labels import Labels
from unshuffle.data.pixels import Pixels

L = TypeVar("L", bound="Layout")


@runtime_checkable
class Layout(Protocol):
    """A registered frozen value that knows which files of a data set are samples, and what their labels are.

    How a file becomes a sample it leaves to a source: ``NSynth(target="pitch").open("nsynth/", Sounds())``.
    """

    noun: ClassVar[str]
    """What its samples are: image, sound, clip; sample where that does not matter."""

    def open(self, root: str | Path, items: Any) -> FileDataset | Pixels:
        """The samples of this part, made as the source ``items`` says."""
        ...

    def tested(self: L) -> L | None:
        """The part to test on what was learned from this one; None where there is none."""
        ...


class Chosen:
    """Some of the files of a place, in an order of one's own; a file that is not there fails when it is opened."""

    def __init__(self, files: Files, places: Sequence[int | None], names: Sequence[str]) -> None:
        self.files, self.places, self.names = files, list(places), list(names)
        self.left_out = getattr(files, "left_out", None)

    def __len__(self) -> int:
        return len(self.places)

    def path(self, index: int) -> Path | None:
        """The file itself, where there is one."""
        place = self.places[index]
        return None if place is None else self.files.path(place)

    def open(self, index: int) -> BinaryIO:
        """The file's bytes.

        Raises:
            FileNotFoundError: the data set names this file, and it is not there.
        """
        place = self.places[index]
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.names[index])
        return self.files.open(place)

    def sizes(self) -> list[int]:
        """Bytes of each file; -1 of one that is not there."""
        known = [] if not hasattr(self.files, "sizes") else cast(Any, self.files).sizes()
        return [-1 if place is None or not known else known[place] for place in self.places]


class Tree:
    """The files of a data set as it is distributed, by name.

    Args:
        root: where it lies; see :func:`~unshuffle.data.files.find`.
        suffixes: of the files that matter.
        name: of the data set, for messages.
        shape: how it is laid out, for messages.
    """

    def __init__(self, root: str | Path, suffixes: tuple[str, ...], *, name: str, shape: str) -> None:
        self.root, self.name, self.shape = Path(root), name, shape
        self.files = find(root, suffixes, what=f"{name} file")
        self.place = {name: number for number, name in enumerate(self.files.names)}

    def base(self, mark: str, *, within: Sequence[str] = ("",)) -> str:
        """The folder below which the data set lies, ``""`` or with a ``/`` at its end.

        Args:
            mark: a file that is always there, by its place in the data set.
            within: folders in which that may be, each with a ``/`` at its end; the first one with a mark decides.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: there are several.
        """
        for folder in within:
            found = [name[: -len(mark)] for name in self.place if f"/{name}".endswith(f"/{folder}{mark}")]
            if len(found) > 1:
                raise ValueError(f"{str(self.root)!r} holds {mark!r} {len(found)} times: give the folder of one.")
            if found:
                return found[0]
        raise self.missing(f"{within[0]}{mark}")

    def missing(self, what: str) -> FileNotFoundError:
        """What to raise where a part of the data set is not there."""
        return FileNotFoundError(f"no {self.name} in {str(self.root)!r}: {what} is missing. Expected {self.shape}.")

    def text(self, name: str) -> str:
        """The text of a file.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is no text.
        """
        if name not in self.place:
            raise self.missing(name)
        with self.files.open(self.place[name]) as file:
            return read_bounded(file, name).decode("utf-8-sig")

    def json(self, name: str) -> Any:
        """What a JSON file says.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged.
        """
        try:
            text = self.text(name)
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} of {str(self.root)!r} cannot be read as JSON: {error}.") from error
        return parse_json(text, f"{name} of {str(self.root)!r}")

    def dataset(self, names: Sequence[str], base: str, items: Any, labels: Labels) -> FileDataset:
        """The files of these names as samples, with their labels; named without ``base``.

        Raises:
            FileNotFoundError: not one of them is there.
        """
        places = [self.place.get(name) for name in names]
        if all(place is None for place in places):
            raise self.missing(f"{names[0]}, as all others," if names else "every sample")
        settled, _ = items.settle(self.root)
        chosen = Chosen(self.files, places, [name.removeprefix(base) for name in names])
        return FileDataset(chosen, settled.decode, settled, labels, name=self.name)
