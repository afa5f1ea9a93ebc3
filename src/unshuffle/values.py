"""Frozen values that travel as JSON: recipes, transforms, networks' descriptions.

A choice (which patches, which loss, which backbone) is a frozen dataclass beside what it builds. Marked with
:func:`register`, it can be written as ``{"type": "Grid", "rows": 3, ...}`` and read back. The registry is closed: a
name that was not registered is refused, nothing is ever imported by name, so a file from a stranger cannot run code.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from unshuffle._ranges import ranged

T = TypeVar("T")
_REGISTRY: dict[str, type] = {}


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


def from_json(data: Any) -> Any:
    """Rebuilds what :func:`to_json` wrote; lists come back as tuples.

    Raises:
        ValueError: the type is not a registered one, or a field is unknown or missing.
    """
    if isinstance(data, list):
        return tuple(from_json(v) for v in data)
    if not isinstance(data, dict):
        return data
    name = data.get("type")
    if not isinstance(name, str) or name not in _REGISTRY:
        raise ValueError(f"unknown type {name!r}; known: {', '.join(sorted(_REGISTRY))}")
    cls = _REGISTRY[name]
    given = {k: from_json(v) for k, v in data.items() if k != "type"}
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := set(given) - known:
        raise ValueError(f"{name} has no field {sorted(unknown)[0]!r}; its fields: {', '.join(sorted(known))}")
    try:
        return cls(**given)
    except TypeError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def is_registered(value: Any) -> bool:
    """Whether :func:`to_json` can write this value."""
    return type(value).__name__ in _REGISTRY
