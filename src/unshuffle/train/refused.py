"""A run that is refused before its first recorded step leaves no folder behind, so that the same command can be given
again."""

from __future__ import annotations

import shutil
from pathlib import Path

from unshuffle.train import folder


class Before:
    """What a run's folder held before the run.

    Args:
        out: the folder as it was asked for; None for the next free one below ``runs/``.
    """

    def __init__(self, out: str | Path | None) -> None:
        asked = Path("runs") if out is None else Path(out)
        self._named = out is not None
        self._names = {path.name for path in asked.iterdir()} if self._named and asked.is_dir() else set()
        self._missing = [path for path in (asked, *asked.parents) if not path.exists()]

    def restore(self, place: Path) -> None:
        """Remove what the run wrote into ``place``, unless there is a checkpoint or a recorded step of training."""
        if folder.checkpoint(place).exists() or _has_steps(place / "metrics.csv"):
            return
        for path in place.iterdir():
            if path.name not in self._names:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for made in self._missing if self._named else [place, *self._missing]:
            if not any(made.iterdir()):
                made.rmdir()


def _has_steps(metrics: Path) -> bool:
    return metrics.is_file() and ",train," in metrics.read_text()
