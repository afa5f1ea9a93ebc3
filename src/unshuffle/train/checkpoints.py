"""Resumable state on disk: written whole or not at all, read without running anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from unshuffle._check import Explained
from unshuffle._files import write_atomically


class BadCheckpoint(Explained):
    """A checkpoint that cannot be used: damaged, or not one of ours."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors and plain values.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, lambda file: torch.save(state, file))
    except RuntimeError as error:  # PyTorch's writer reports a failed write as its own failure to close the archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load(path: Path) -> dict[str, Any]:
    """Reads a state; tensors and plain values only, so a file from a stranger cannot run code.

    Raises:
        BadCheckpoint: it is damaged, or holds anything else.
        FileNotFoundError: there is none.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise BadCheckpoint(
            f"{path} is damaged or is not a checkpoint of unshuffle; nothing in it was run ({reason[:160]})"
        ) from error
    if not isinstance(state, dict) or not {"method", "optimizer", "step"} <= set(state):
        raise BadCheckpoint(f"{path} is not a checkpoint of unshuffle: it lacks method, optimizer or step")
    return state
