"""What a run writes down as it goes: ``metrics.csv``, and curves for TensorBoard where that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle.train.metrics import Metrics

if TYPE_CHECKING:
    from unshuffle.train.board import Board


class Journal:
    """The two records of one run.

    Args:
        place: the run's folder.
        upto: what was written about later steps is dropped: it will be written again.
        also: columns of rows to come that the first one does not have.
    """

    def __init__(self, place: Path, *, upto: int, also: tuple[str, ...] = ()) -> None:
        self._metrics = Metrics(place / "metrics.csv", upto=upto, also=also)
        self._board = _board(place / "tensorboard", upto=upto)

    def write(
        self, step: int, epoch: int, split: str, seconds: float, lr: float | None, logs: dict[str, float]
    ) -> None:
        """Adds one row, and one point to each curve."""
        self._metrics.write(step, epoch, split, seconds, lr, logs)
        if self._board is not None:
            self._board.write(step, split, logs)

    def sync(self) -> None:
        """Waits until all rows are on the disk: a checkpoint that is about to be written counts on them."""
        self._metrics.sync()

    def close(self) -> None:
        """Closes what is open."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path, *, upto: int) -> Board | None:
    try:
        from unshuffle.train.board import Board
    except ImportError:
        return None
    return Board(folder, upto=upto)
