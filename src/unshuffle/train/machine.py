"""Where and how a job runs; nothing here changes what is learned, but for the precision and the batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unshuffle import _check
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Machine:
    """Hardware and bookkeeping of one job."""

    device: str = "auto"
    """auto, cpu, cuda, mps: any accelerator that Lightning knows."""
    devices: int = 1
    """Devices (processes) on each machine."""
    nodes: int = 1
    """Machines that train together."""
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    """Arithmetic of the network; losses always compute in at least single precision."""
    sync_norms: bool = True
    """Several CUDA devices: batch norms see the batch of all of them; else each device's own."""
    workers: int = 0
    """Processes that read samples, beside each training process."""
    save_every: float = 60.0
    """Seconds between resumable checkpoints; 0 saves after every step."""
    log_every: int = 10
    """Steps between rows of metrics.csv."""
    max_unreadable: int = 100
    """Samples that may be unreadable and are skipped; one more stops the job."""
    timeout: float = 10.0
    """Several processes: minutes for which the others wait for one that does not move, or does not start."""

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "log_every", "timeout"):
            _check.positive("Machine", name, getattr(self, name))
        for name in ("workers", "save_every", "max_unreadable"):
            _check.not_negative("Machine", name, getattr(self, name))
