"""Runs that were made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unshuffle.train.folder import Stored


def stored(run: Path) -> Stored:
    """The recipe of a run, its machine, and where its data lie.

    Raises:
        RunError: there is no run, or its recipe cannot be read.
    """
    from unshuffle import recipes  # noqa: F401  (a recipe that nobody imported is not known by its name)
    from unshuffle.train import folder

    return folder.read(run)
