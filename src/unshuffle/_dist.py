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


def group_total(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Sums tensors of one shape over the processes of a group; without a group, this process is alone."""
    return _reduced(values, dist.ReduceOp.SUM, group) if group is not None else values


def group_logsumexp(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Log of the sum of the exponentials over the processes of a group, whatever their magnitude."""
    if group is None:
        return values
    most = _reduced(values, dist.ReduceOp.MAX, group).clamp_min(torch.finfo(values.dtype).min)
    return most + _reduced((values - most).exp(), dist.ReduceOp.SUM, group).log()


def group_gather(values: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, int]:
    """Stacks tensors of one shape, in the order of the processes; and which of them is this process."""
    if group is None:
        return values.unsqueeze(0), 0
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, values.contiguous(), group=group)
    return torch.stack(gathered), dist.get_rank(group)


def _reduced(values: Tensor, operation: dist.ReduceOp.RedOpType, group: dist.ProcessGroup) -> Tensor:
    reduced = values.clone()
    dist.all_reduce(reduced, op=operation, group=group)
    return reduced
