"""How a command reads samples and where its network runs: flags that embed, search, order and eval share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle._ranges import Many, MaybeCount, MaybeFew, ranged
from unshuffle.cli.parsing import usable_device

if TYPE_CHECKING:
    from unshuffle.data.loaders import SkipLog
    from unshuffle.evals.encoder import Encoder
    from unshuffle.train.progress import Terminal


@ranged
@dataclass(frozen=True)
class Reading:
    """Of a trained run and of the samples that it is shown."""

    batch_size: Many = 256
    """Samples at a time."""
    workers: MaybeFew = 0
    """Processes that read samples."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, mps."""
    max_unreadable: MaybeCount = 100
    """Samples that may be unreadable and are skipped; one more stops the command."""

    def encoder(self, run: Path) -> Encoder:
        """The encoder of a run, where it is to compute."""
        from unshuffle.evals.encoder import load

        return load(run, device=usable_device(self.device))

    def skip_log(self, terminal: Terminal) -> SkipLog:
        """Counts what cannot be read, and tells it."""
        from unshuffle.data.loaders import SkipLog

        return SkipLog(self.max_unreadable, terminal.say)
