"""Labels of samples in tars that entries beside them hold, as in WebDataset: ``0001.jpg`` and ``0001.cls``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from unshuffle.data.left_out import some

DESCRIBING = (".cls", ".json", ".txt")
"""Suffixes of entries that may hold a label, in the order in which they are believed."""
LARGEST = {".cls": 1 << 10, ".json": 1 << 20, ".txt": 1 << 10}
"""Bytes of an entry that is read as a label."""
KEYS = ("label", "class")
"""Keys of a JSON object that hold a label, in the order in which they are believed."""
LOOKED_AT = 100
"""Entries that are read to see whether they hold labels."""
_KEY = re.compile(r"((?:.*/)?[^/.][^/.]*)\.([^/]+)", re.DOTALL)


@runtime_checkable
class Described(Protocol):
    """Samples with entries beside them."""

    names: list[str]
    beside: Mapping[str, tuple[int, int, int]]

    def read_beside(self, names: Iterable[str]) -> Iterable[tuple[str, bytes]]:
        """Names and contents of these entries."""
        ...


class DescribedClasses(NamedTuple):
    """The class of each sample, None where no entry holds one, and lines that should be shown."""

    words: list[str | None]
    messages: list[str]


def described_classes(files: Described, *, texts: bool) -> DescribedClasses | None:
    """The classes that ``.cls``, ``.json`` or ``.txt`` entries give to the samples of the same name.

    A ``.cls`` holds a number or a word. A ``.json`` counts where it is an object with the key ``label`` or ``class``.
    A ``.txt`` counts where all hold one word; otherwise they are captions.

    Args:
        files: the samples.
        texts: whether ``.txt`` entries may be labels.

    Returns:
        None where there are no such entries.

    Raises:
        ValueError: an entry is too large or holds no label, while others do; the entry is named.
    """
    keys = [_parted(name)[0] for name in files.names]
    wanted = set(keys)
    for suffix in DESCRIBING[: None if texts else 2]:
        found = [name for name in files.beside if "." + _parted(name)[1] == suffix and _parted(name)[0] in wanted]
        if not found:
            continue
        read = _READERS[suffix]
        if suffix != ".cls" and not _are_labels(files, found, suffix, read):
            continue
        labels = {_parted(name)[0]: read(name, content) for name, content in _contents(files, found, suffix)}
        words = [labels.get(key) for key in keys]
        return DescribedClasses(words, _messages(files.names, words, suffix))
    return None


def _messages(names: Sequence[str], words: Sequence[str | None], suffix: str) -> list[str]:
    classes = len({word for word in words if word is not None})
    lines = [f"labels: from the {suffix} entries of the tars, {classes:,} classes"]
    without = [name for name, word in zip(names, words) if word is None]
    if without:
        lines.append(f"no label: {len(without):,} of {len(names):,} files ({some(without, len(without))})")
    return lines


def _parted(name: str) -> tuple[str, str]:
    """What samples and their descriptions share, a name up to its first dot, and the rest in lower case."""
    match = _KEY.fullmatch(name)
    return (match[1], match[2].lower()) if match else (name, "")


def _contents(files: Described, names: Iterable[str], suffix: str) -> Iterable[tuple[str, bytes]]:
    names = list(names)
    for name in names:
        if files.beside[name][2] > LARGEST[suffix]:
            raise ValueError(
                f"{name!r} has {files.beside[name][2]:,} bytes; as a label it may have {LARGEST[suffix]:,}. Leave such "
                "entries out of the tar."
            )
    return files.read_beside(names)


def _are_labels(files: Described, names: list[str], suffix: str, read: Callable[[str, bytes], str | None]) -> bool:
    """Whether entries hold labels, by the first of them: other JSON and captions are passed over."""
    few = [name for name in islice(names, LOOKED_AT) if files.beside[name][2] <= LARGEST[suffix]]
    if suffix == ".txt" and len(few) < min(len(names), LOOKED_AT):
        return False
    found = [_tried(read, name, content) for name, content in files.read_beside(few)]
    return all(found) if suffix == ".txt" else any(found)


def _tried(read: Callable[[str, bytes], str | None], name: str, content: bytes) -> str | None:
    """The label that an entry holds; None where it holds none that could be read."""
    try:
        return read(name, content)
    except ValueError:
        return None


def _word(name: str, content: bytes) -> str:
    """The number or the word that an entry holds."""
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is no label: it is not UTF-8 ({error}).") from error
    if not text or not text.isprintable():
        raise ValueError(f"{name!r} is no label: it must hold one number or name on one line; got {text!r:.60}.")
    return text


def _single_word(name: str, content: bytes) -> str:
    text = _word(name, content)
    if len(text.split()) > 1:
        raise ValueError(f"{name!r} holds several words where others hold one label; got {text!r:.60}.")
    return text


def _of_json(name: str, content: bytes) -> str | None:
    """The label in a JSON object; None where it has none."""
    try:
        told: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} cannot be read as JSON: {error!r:.80}.") from error
    key = next((key for key in KEYS if key in told), None) if isinstance(told, dict) else None
    if key is None:
        return None
    label = told[key]
    if isinstance(label, bool) or not isinstance(label, (int, str)) or label == "":
        raise ValueError(f"{name!r}: {key!r} must be a whole number or a name to be a label; got {label!r:.60}.")
    return str(label)


_READERS: dict[str, Callable[[str, bytes], str | None]] = {".cls": _word, ".json": _of_json, ".txt": _single_word}
