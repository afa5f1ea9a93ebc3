"""Curves for TensorBoard. Written at once and by this thread: a full disk is an error here, not in a thread's log."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from unshuffle._files import make_subfolder


class Board:
    """Appends scalars to a new event file.

    Args:
        folder: where TensorBoard looks; made if it is not there.
        upto: TensorBoard forgets what earlier files say of later steps: it will be written again.
    """

    def __init__(self, folder: Path, *, upto: int) -> None:
        make_subfolder(folder)
        path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._writer = RecordWriter(path.open("xb"))
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=upto + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, split: str, logs: dict[str, float]) -> None:
        """Adds one point to each curve."""
        points = [Summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in logs.items()]
        self._add(Event(step=step, summary=Summary(value=points)))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()
