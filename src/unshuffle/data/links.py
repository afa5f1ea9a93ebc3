"""Symbolic links between the entries of an archive, followed as a file system would, never out of the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from unshuffle.data.left_out import DANGLING, LOOP, OUTSIDE, REVISITED, TWICE, LeftOut
from unshuffle.data.walk import MOST_NAMES

T = TypeVar("T")
HOPS = 40
"""Links that may lead to each other, as in Linux; more are a loop."""


class _File(NamedTuple):
    place: object


class _Link(NamedTuple):
    target: str


class _Dir(dict[str, Any]):
    """The entries of a folder by name."""

    above: _Dir | None = None


def linked(files: Mapping[str, T], links: Mapping[str, str], left_out: LeftOut) -> Iterator[tuple[str, T]]:
    """The names that links add to the entries of an archive, with the places of their targets.

    Args:
        files: name to place of all entries that are files.
        links: name to target of all symbolic links, the target relative to the link's folder.
        left_out: counts links that lead nowhere, out of the archive or in a circle.

    Returns:
        Names that are not in ``files``; a link to a folder gives one for each file below it.
    """
    return _Tree(files, links, left_out).names()


class _Tree(Generic[T]):
    """The archive as a tree of folders."""

    def __init__(self, files: Mapping[str, T], links: Mapping[str, str], left_out: LeftOut) -> None:
        self.root, self.left_out, self.visits = _Dir(), left_out, Counter[int]()
        for name, place in files.items():
            self._put(name, _File(place))
        for name, target in links.items():
            self._put(name, _Link(target))

    def _put(self, name: str, entry: _File | _Link) -> None:
        *folders, last = name.split("/")
        here = self.root
        for folder in folders:
            below = here.get(folder)
            if not isinstance(below, _Dir):
                below = here[folder] = _Dir()
                below.above = here
            here = below
        if not isinstance(here.get(last), _Dir):
            here[last] = entry

    def names(self) -> Iterator[tuple[str, T]]:
        """All names that go through a link."""
        waiting: list[tuple[_Dir, str, tuple[int, ...], bool]] = [(self.root, "", (), False)]
        while waiting:
            here, prefix, above, through = waiting.pop()
            if not self._enter(here, prefix, above):
                continue
            for name, entry in here.items():
                if name.startswith("."):  # hidden, as in a folder; a link may still lead to it
                    continue
                found, by_link = entry, through
                if isinstance(entry, _Link):
                    found, by_link = self._target(here, entry, prefix + name), True
                if isinstance(found, _Dir):
                    waiting.append((found, f"{prefix}{name}/", (*above, id(here)), by_link))
                elif isinstance(found, _File) and by_link:
                    yield prefix + name, found.place  # pyright: ignore[reportReturnType]

    def _enter(self, here: _Dir, prefix: str, above: tuple[int, ...]) -> bool:
        if id(here) in above:
            self.left_out.add(LOOP, prefix[:-1])
            return False
        self.visits[id(here)] += 1
        if self.visits[id(here)] > MOST_NAMES:
            self.left_out.add(REVISITED, prefix[:-1])
            return False
        if self.visits[id(here)] == 2:
            self.left_out.add(TWICE, prefix[:-1])
        return True

    def _target(self, folder: _Dir, link: _Link, name: str) -> _File | _Dir | None:
        """What a link leads to; None where that is nothing, or outside."""
        here: _Dir | _File = folder
        waiting, hops = _parts(link.target), 1
        if link.target.startswith("/"):
            self.left_out.add(OUTSIDE, name)
            return None
        while waiting:
            part = waiting.pop()
            found = None
            if isinstance(here, _Dir):
                found = here.above if part == ".." else here.get(part)
                if part == ".." and found is None:
                    self.left_out.add(OUTSIDE, name)
                    return None
            if isinstance(found, _Link):
                hops += 1
                if hops > HOPS or found.target.startswith("/"):
                    self.left_out.add(LOOP if hops > HOPS else OUTSIDE, name)
                    return None
                waiting += _parts(found.target)
                continue
            if found is None:
                self.left_out.add(DANGLING, name)
                return None
            here = found
        return here


def _parts(target: str) -> list[str]:
    """The parts of a path, the first one last."""
    return [part for part in reversed(target.split("/")) if part not in ("", ".")]
