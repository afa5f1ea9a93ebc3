"""Which flag sets which field, and refusals in words that name the flag as a user types it."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from unshuffle import _ranges


class Member(NamedTuple):
    """A dataclass among a command's options, and what its flags begin with: ``optim.``, or nothing."""

    value: Any
    prefix: str

    def flag(self, field: str) -> str:
        """The flag of a field, or the prefix of the flags below it."""
        return f"--{self.prefix}{field}".replace("_", "-")


def members(options: Any, prefix: str = "") -> Iterator[Member]:
    """All dataclasses among a command's options, the innermost first and the options themselves last."""
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        own = "" if _is_unnamed(hints[field.name]) else f"{field.name}."
        if dataclasses.is_dataclass(value):
            yield from members(value, prefix + own)
        elif isinstance(value, tuple):
            for number, part in enumerate(value):
                if dataclasses.is_dataclass(part):
                    yield from members(part, f"{prefix}{own}{number}.")
    yield Member(options, prefix)


def refused(options: Any) -> list[str]:
    """Check a command's options that were made unchecked, and tell of each refusal in a sentence.

    Ranges of numbers come first. Conditions on several fields are asked only where all numbers are in range.
    """
    parts = list(members(options))
    told = [f"{part.flag(field)} {reason}" for part in parts for field, reason, _ in _ranges.refusals(part.value)]
    if told:
        return told
    return [message for part in parts if (message := _misfit(part, parts))][:1]


def _misfit(part: Member, parts: list[Member]) -> str | None:
    """Why the fields of a member do not go together; None where they do."""
    try:
        getattr(part.value, "__post_init__", lambda: None)()
    except ValueError as error:
        return _with_flags(str(error), part, parts)
    return None


def _with_flags(message: str, part: Member, parts: list[Member]) -> str:
    """A message such as "Grid: `rows` must …" with ``--patches.rows`` for the field."""
    owner, colon, rest = message.partition(": ")
    named = [other for other in (part, *parts) if type(other.value).__name__ == owner]
    if not colon or not named:
        return message
    fields = {field.name for field in dataclasses.fields(named[0].value)}

    def flag(quoted: re.Match[str]) -> str:
        return named[0].flag(quoted[1]) if quoted[1].partition(".")[0] in fields else quoted[0]

    return re.sub(r"`([\w.]+)`", flag, rest)


def _is_unnamed(hint: Any) -> bool:
    """Whether the fields of a member are flags without a prefix, as ``tyro.conf.arg(name="")`` has it."""
    return any(getattr(extra, "name", None) == "" for extra in getattr(hint, "__metadata__", ()))
