"""The few collective operations that losses and evaluations need; no-ops in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

_ALONE = False


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if not _ALONE and dist.is_available() and dist.is_initialized() else 1


def everyone() -> dist.ProcessGroup | None:
    """The group of all processes that train together; None for one alone."""
    return dist.group.WORLD if world_size() > 1 else None


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this process counts as the only one: for what every process does by itself, on the same samples."""
    global _ALONE
    before, _ALONE = _ALONE, True
    try:
        yield
    finally:
        _ALONE = before


def send_first(values: Tensor) -> None:
    """Overwrites a tensor with that of the first process."""
    if world_size() > 1:
        dist.broadcast(values, 0)


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


def gather_rows(rows: Tensor, *, dim: int = 0) -> tuple[Tensor, int]:
    """Joins the rows of all processes, in their order; and where those of this process begin.

    Shares may differ in size, as after an uneven last batch. In the backward pass a row gets what all processes make of
    it: with losses as in :func:`global_mean` the gradients that an engine averages equal those of one process. What is
    gathered is differentiable once.

    Args:
        rows: numbers of this process; of another size along ``dim`` than others' at the most.
        dim: the axis that holds the rows.
    """
    if world_size() == 1:
        return rows, 0
    own = torch.tensor([rows.shape[dim]], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    counts = torch.cat(sizes).tolist()
    gathered = _GatherRows.apply(rows, dim, counts)
    assert isinstance(gathered, Tensor)  # `apply` has no return type
    return gathered, sum(counts[: dist.get_rank()])


class _GatherRows(torch.autograd.Function):
    """Shares padded to one size, exchanged and cut; the slope of a row summed over the processes."""

    @staticmethod
    def forward(ctx, rows: Tensor, dim: int, counts: list[int]) -> Tensor:
        ctx.dim, ctx.counts = dim, counts
        shape = list(rows.shape)
        shape[dim] = max(counts)
        padded = rows.new_zeros(shape)
        padded.narrow(dim, 0, rows.shape[dim]).copy_(rows)
        shares = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(shares, padded)
        return torch.cat([share.narrow(dim, 0, count) for share, count in zip(shares, counts)], dim)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        total, rank = slope.clone(memory_format=torch.contiguous_format), dist.get_rank()
        dist.all_reduce(total)
        return total.narrow(ctx.dim, sum(ctx.counts[:rank]), ctx.counts[rank]), None, None


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
