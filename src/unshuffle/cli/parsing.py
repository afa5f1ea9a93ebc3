"""Flags from typed values: tyro over dataclasses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from unshuffle._ranges import postponed
from unshuffle.cli.flags import refused

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def parse(kind: type[T], *, command: str, arguments: list[str], description: str, default: Any = None) -> T:
    """Reads ``arguments`` into a ``kind``; exits with status 2 and a readable message where they are wrong."""
    given = {} if default is None else {"default": default}
    with postponed():
        options = tyro.cli(
            kind,
            prog=f"unshuffle {command}",
            description=description,
            args=arguments,
            config=(tyro.conf.AvoidSubcommands,),
            **given,
        )
    if told := refused(options):
        print(f"unshuffle {command}: {' '.join(told)} See unshuffle {command} --help.", file=sys.stderr)
        raise SystemExit(2)
    return options


def usable_device(name: str) -> torch.device:
    """The device of that name, if this computer has it.

    Raises:
        ValueError: it has not.
    """
    import torch  # here, so that --help does not wait for it

    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} cannot be had here: {reason}. Give another: cpu, cuda, mps.") from error
