"""Resumable state on disk: written whole or not at all, read without running anything."""

from __future__ import annotations

import pickle
import warnings
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
        OSError: there is none, or it may not be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch wonders about the version of what is no pickle at all
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise _refused(path, "is damaged, or holds something else than tensors and plain values") from error
    except Exception as error:  # of a damaged file PyTorch raises anything: RuntimeError, IndexError, struct.error, …
        raise _refused(path, "is damaged") from error
    if not isinstance(state, dict) or not {"method", "optimizer", "step"} <= set(state):
        raise _refused(path, "lacks method, optimizer or step")
    return state


def _refused(path: Path, why: str) -> BadCheckpoint:
    return BadCheckpoint(
        f"{path} is no checkpoint of unshuffle, or no longer one: it {why}. Nothing in it was run. Put a good copy in "
        "its place (best.pt, if it is whole), or delete it to begin again."
    )
