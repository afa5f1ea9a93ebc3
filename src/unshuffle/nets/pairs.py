"""Scores of all pairs of items by one hidden layer whose units are never all there at once.

Of b sets of n items with h units, all pairs have b n n h hidden values: 64 MB for one set of 1024 items and 16 units.
:func:`score_pairs` makes them block by block, small enough to stay near the processor, and makes them again to find the
slopes: less memory, and in eager mode less time too. Where nothing may be written over (in transforms, under
``torch.compile``, for second derivatives) they are there at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd import forward_ad

# Bytes of a block: on the CPU what its caches hold (measured from n = 9 to 1024), elsewhere what fills the device.
_BLOCK = {"cpu": 2**20}
_BLOCK_ELSEWHERE = 2**28


def score_pairs(before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    """The scores of all pairs, f[b, c, i, j] = sum over h of weight[c, h] relu(before[b, i, h] + after[b, j, h]).

    Args:
        before: (B, n, h), what the item that comes first gives to each unit.
        after: (B, n, h), what the other one gives.
        weight: (c, h).

    Returns:
        (B, c, n, n).
    """
    if torch.compiler.is_compiling() or _in_batches(before) or forward_ad._current_level >= 0:
        return _at_once(before, after, weight)
    scores = _Blockwise.apply(before, after, weight)
    assert isinstance(scores, Tensor)  # `apply` has no return type
    return scores


def _at_once(before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    return (weight @ (before.unsqueeze(-1) + after.mT.unsqueeze(1)).relu()).transpose(1, 2)


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(before, after, weight)
        batch, n, _ = before.shape
        scores, room = before.new_empty(batch, len(weight), n, n), _room(before)
        first, second = _by_unit(before, after)
        for sets, rows in _blocks(before):
            units = _units(room, first[:, sets, rows], second[:, sets])
            found = weight.detach() @ units.flatten(1)
            scores[sets, :, rows] = found.view(-1, *units.shape[1:]).transpose(0, 1)
        return scores

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled() or _in_batches(slope):
            return _slopes_at_once(ctx.saved_tensors, slope)
        before, after, weight = ctx.saved_tensors
        first, second = _by_unit(before, after)
        by_first, by_second, by_weight = torch.empty_like(first), torch.zeros_like(second), torch.zeros_like(weight)
        room, other = _room(before), _room(before)
        for sets, rows in _blocks(before):
            units = _units(room, first[:, sets, rows], second[:, sets])
            given = slope[sets, :, rows].transpose(0, 1).flatten(1)
            by_weight += given @ units.flatten(1).mT
            moved = torch.matmul(weight.detach().mT, given, out=other[: units.numel()].view(len(units), -1))
            moved = moved.view_as(units).mul_(units.sign_())
            by_first[:, sets, rows] = moved.sum(-1)
            by_second[:, sets] += moved.sum(2)
        return by_first.movedim(0, -1), by_second.movedim(0, -1), by_weight


def _slopes_at_once(saved: tuple[Tensor, ...], slope: Tensor) -> tuple[Tensor, ...]:
    """The same from the hidden values of all pairs, for a backward pass that is differentiated itself."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        at = saved if again else tuple(tensor.detach().requires_grad_() for tensor in saved)
        return torch.autograd.grad(_at_once(*at), at, slope, create_graph=again)


def _in_batches(values: Tensor) -> bool:
    """Whether this is inside a transform of ``torch.func``, or a batch of gradients."""
    older = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    return torch._C._are_functorch_transforms_active() or older(values)


def _most(before: Tensor) -> int:
    """Hidden values of a block."""
    return _BLOCK.get(before.device.type, _BLOCK_ELSEWHERE) // before.element_size()


def _room(before: Tensor) -> Tensor:
    """For the hidden values of any block: as many as are asked for, or one row's, or all."""
    batch, n, hidden = before.shape
    return before.new_empty(min(max(_most(before), n * hidden), batch * n * n * hidden))


def _blocks(before: Tensor) -> Iterator[tuple[slice, slice]]:
    """Some whole sets, or some rows of one set."""
    batch, n, hidden = before.shape
    rows = max(1, _most(before) // max(1, n * hidden))
    sets = max(1, rows // max(1, n))
    for first in range(0, batch, sets):
        for row in range(0, n, rows):
            yield slice(first, min(first + sets, batch)), slice(row, min(row + rows, n))


def _by_unit(*tensors: Tensor) -> tuple[Tensor, ...]:
    """(B, n, h) as (h, B, n)."""
    return tuple(tensor.movedim(-1, 0).contiguous() for tensor in tensors)


def _units(room: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Hidden values (h, sets, rows, n) of a block, in the room for them."""
    shape = (*first.shape, second.shape[-1])
    units = room[: first.numel() * second.shape[-1]].view(shape)
    return torch.add(first.unsqueeze(-1), second.unsqueeze(2), out=units).relu_()
