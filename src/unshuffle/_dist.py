"""The few collective operations that losses and evaluations need; no-ops in one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def global_mean(values: Tensor) -> Tensor:
    """Averages one value per sample over the samples of **all** processes.

    Engines average gradients over processes, so the local value is ``local_sum * world_size / global_count``: its
    gradient, averaged, equals that of one process holding the whole batch, even when the shares differ in size.
    """
    if world_size() == 1:
        return values.mean()
    count = torch.tensor(float(values.numel()), dtype=torch.float64, device=values.device)
    dist.all_reduce(count)
    return values.sum() * float(world_size() / count)
