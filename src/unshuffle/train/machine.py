"""Where and how a job runs; nothing here changes what is learned, but for the precision and the batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from unshuffle._ranges import Count, Few, MaybeCount, MaybeFew, Range
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Machine:
    """Hardware and bookkeeping of one job."""

    device: str = "auto"
    """auto, cpu, cuda, mps: any accelerator that Lightning knows."""
    devices: Few = 1
    """Devices (processes) on each machine."""
    nodes: Few = 1
    """Machines that train together."""
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    """Arithmetic of the network; losses always compute in at least single precision."""
    sync_norms: bool = True
    """Several CUDA devices: batch norms see the batch of all of them; else each device's own."""
    workers: MaybeFew = 0
    """Processes that read samples, beside each training process."""
    save_every: Annotated[float, Range(0, 1_000_000_000)] = 60.0
    """Seconds between resumable checkpoints; 0 saves after every step."""
    log_every: Count = 10
    """Steps between rows of metrics.csv."""
    max_unreadable: MaybeCount = 100
    """Samples that may be unreadable and are skipped; one more stops the job."""
    timeout: Annotated[float, Range(0, 1_000_000, open_low=True)] = 10.0
    """Several processes: minutes for which the others wait for one that does not move, or does not start."""
