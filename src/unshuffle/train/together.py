"""Several processes fail together: what stops one is told to all, so that none waits for it forever."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist

from unshuffle import _dist
from unshuffle._check import Explained
from unshuffle.train.watch import Elsewhere, here

T = TypeVar("T")


def leads() -> bool:
    """Whether this is the first process, the one that writes and tells."""
    return _dist.world_size() == 1 or dist.get_rank() == 0


def part_at_exit() -> None:
    """Ends the connection between the processes before the interpreter ends, or gloo's threads may abort that."""
    if _dist.world_size() > 1:
        atexit.register(_part)


def _part() -> None:
    gc.collect()  # what still holds the connection would keep its threads
    if dist.is_initialized():
        dist.destroy_process_group()


def everywhere(value: T) -> list[T]:
    """The value of every process, first process first. All must call it."""
    if _dist.world_size() == 1:
        return [value]
    values: list[Any] = [None] * _dist.world_size()
    with here.waiting():
        dist.all_gather_object(values, value)
    return values


def agree(error: Exception | None, wishes: tuple[bool, ...], device: torch.device) -> tuple[bool, ...]:
    """Whether any process has each wish, in one exchange; fails as :func:`share_failure` does."""
    if _dist.world_size() == 1:
        share_failure(error, device)
        return wishes
    flags = torch.tensor([float(error is not None), *map(float, wishes)], device=device)
    with here.waiting():
        dist.all_reduce(flags)
        failed, *wished = [flag > 0 for flag in flags.tolist()]
    if failed:
        _fail(error)
    return tuple(wished)


def share_failure(error: Exception | None, device: torch.device) -> None:
    """Raises ``error``; where another process has one, raises too. All processes must call it.

    Raises:
        Elsewhere: the error is another process's.
    """
    if _dist.world_size() > 1:
        flag = torch.tensor(float(error is not None), device=device)
        with here.waiting():
            dist.all_reduce(flag)
            failed = bool(flag > 0)
        if failed:
            _fail(error)
    if error is not None:
        raise error


def _fail(error: Exception | None) -> NoReturn:
    """Raises the error of the first process that has one: there itself, elsewhere that it is not here."""
    first = [told is not None for told in everywhere(error and str(error))].index(True)
    if first != dist.get_rank():
        raise Elsewhere(f"process {first} failed, and says why; this is process {dist.get_rank()}")
    assert error is not None
    raise error


def on_leader(action: Callable[[], T], device: torch.device) -> T | None:
    """Does something in the first process only; the others get None. All processes must call it.

    Raises:
        Elsewhere: it failed there.
    """
    answer, error = None, None
    if leads():
        try:
            answer = action()
        except (OSError, ValueError, Explained) as failure:
            error = failure
    share_failure(error, device)
    return answer
