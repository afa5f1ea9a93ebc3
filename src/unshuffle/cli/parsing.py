"""Flags from typed values: tyro over dataclasses."""

from __future__ import annotations

from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], *, command: str, arguments: list[str], description: str, default: Any = None) -> T:
    """Reads ``arguments`` into a ``kind``; exits with status 2 and a readable message where they are wrong."""
    given = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        prog=f"unshuffle {command}",
        description=description,
        args=arguments,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        **given,
    )
