"""Frozen values that travel as JSON: recipes, transforms, networks' descriptions.

A choice (which patches, which loss, which backbone) is a frozen dataclass beside what it builds. Marked with
:func:`register`, it can be written as ``{"type": "Grid", "rows": 3, ...}`` and read back. The registry is closed: a
name that was not registered is refused, nothing is ever imported by name, so a file from a stranger cannot run code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from unshuffle._ranges import ranged

T = TypeVar("T")
_REGISTRY: dict[str, type] = {}
DEEPEST = 32
"""Values inside values, at the most: ours nest a handful."""


def register(cls: type[T]) -> type[T]:
    """Marks a frozen dataclass as a value that may be written to and read from JSON, and checks its numbers' ranges."""
    assert dataclasses.is_dataclass(cls), cls
    assert _REGISTRY.setdefault(cls.__name__, cls).__qualname__ == cls.__qualname__, (
        f"two values are named {cls.__name__}"
    )
    return ranged(cls)


def to_json(value: Any) -> Any:
    """Turns a registered value, or a tuple, list or plain scalar, into what :mod:`json` can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        assert type(value).__name__ in _REGISTRY, f"{type(value).__name__} is not registered"
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def parse(text: bytes | str) -> Any:
    """Reads JSON of a file that may be damaged, or a stranger's.

    Raises:
        ValueError: it is no JSON in UTF-8, holds NaN, or is nested too deeply.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("it holds NaN, which no value of ours is")
    return float(name)


def from_json(data: Any) -> Any:
    """Rebuilds what :func:`to_json` wrote; lists come back as tuples.

    Raises:
        ValueError: the type is not a registered one, a field is unknown, missing or of another type than it is
            declared, or values are nested too deeply.
    """
    return _from_json(data, 0)


def _from_json(data: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"values are nested too deeply: {DEEPEST} levels are the most")
    if isinstance(data, list):
        return tuple(_from_json(v, depth + 1) for v in data)
    if not isinstance(data, dict):
        return data
    name = data.get("type")
    if not isinstance(name, str) or name not in _REGISTRY:
        raise ValueError(f"unknown type {name!r:.80}; known: {', '.join(sorted(_REGISTRY))}")
    cls = _REGISTRY[name]
    given = {k: _from_json(v, depth + 1) for k, v in data.items() if k != "type"}
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := set(given) - known:
        raise ValueError(f"{name} has no field {sorted(unknown)[0]!r:.80}; its fields: {', '.join(sorted(known))}")
    for field, value in given.items():
        if not _fits(value, _declared(cls)[field]):
            raise ValueError(f"{name}: `{field}` must be {_named(_declared(cls)[field])}; got {_shown(value)}.")
    try:
        return cls(**given)
    except TypeError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


@functools.cache
def _declared(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that was read is of its field's declared type."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in get_args(hint))
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(parts) == 2 and parts[1] is ...:
            return all(_fits(v, parts[0]) for v in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:
        return type(value) in (int, float) and not math.isnan(_as_float(value))
    if hint is int:
        return type(value) is int
    if hint is Any:
        return True
    return type(value) is hint or (isinstance(hint, type) and hint is not int and isinstance(value, hint))


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floating point
        return math.nan


def _named(hint: Any) -> str:
    """A type as it is written."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        return f"a list ({', '.join('...' if part is ... else _named(part) for part in parts)})"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text", type(None): "null"}
    return names.get(hint) or getattr(hint, "__name__", str(hint))


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**63:
        return "an integer beyond 64 bits"  # whose digits may be too many to print
    kind = "null" if value is None else type(value).__name__
    return f"{kind} {str(value)[:80]!r}" if isinstance(value, (bool, int, float, str)) else kind


def checksum(data: Any) -> str:
    """A checksum of JSON's content, whatever its spaces and the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_sum(data: Any, noted: Any) -> None:
    """Refuses JSON that was changed since its checksum was noted; None where an earlier version noted none.

    Raises:
        ValueError: it was changed.
    """
    if noted is not None and noted != checksum(data):
        raise ValueError(
            "it is damaged, or was edited: its checksum is of other content. If you edited it, delete its line "
            '"checksum"; else put a copy in its place'
        )


def is_registered(value: Any) -> bool:
    """Whether :func:`to_json` can write this value."""
    return type(value).__name__ in _REGISTRY
