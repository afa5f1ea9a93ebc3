"""Runs that were made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from unshuffle.train.folder import Stored
    from unshuffle.train.manifest import Change


class Matched(NamedTuple):
    """The data set that a run was trained on, as it is now.

    ``rows`` (N,) has for each sample of the run its index in ``data``, or -1 where it is gone or has changed.
    """

    data: Any
    rows: np.ndarray
    change: Change | None


def stored(run: Path) -> Stored:
    """The recipe of a run, its machine, and where its data lie.

    Raises:
        RunError: there is no run, or its recipe cannot be read.
    """
    from unshuffle import recipes  # noqa: F401  (a recipe that nobody imported is not known by its name)
    from unshuffle.train import folder

    return folder.read(run)


def matched(run: Path, data: Any, root: Path) -> Matched | None:
    """Matches the samples of a run with the data at ``root``, by their names.

    Args:
        run: the run's folder.
        data: what was opened there.
        root: compared with where the run's data lay: elsewhere only an equal list of samples counts as the same data.

    Returns:
        None where these are other data. Where the run keeps no list, samples are matched by their numbers.

    Raises:
        BadManifest: the run's list of samples is damaged.
    """
    from unshuffle.train import manifest, resuming

    head, trained = manifest.read_head(run), stored(run).data
    here = trained is not None and Path(trained) == root.absolute()
    if head is None or not hasattr(data, "names"):
        return Matched(data, np.arange(len(data)), None) if here else None
    change = resuming.changed(run, data)
    rows = np.arange(head.samples) if change is None else change.rows
    if change is None and len(data) != head.samples:  # without names
        return None
    if (change and not here) or not (rows >= 0).any():
        return None
    return Matched(data, rows, change or None)
