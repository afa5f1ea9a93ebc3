"""The unrolled descent behind :func:`~unshuffle.ops.ordering.order_by_costs`.

Along each axis of a lattice, B says for every item and place how much of the item lies later on the line, less how much
lies earlier. The slope of the total cost is 2 C B, summed over the axes: one product of matrices for all of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from unshuffle.ops.sinkhorn import sinkhorn
from unshuffle.ops.soft_topk import soft_topk

Update = Literal["alternative", "proper", "projected"]
UPDATES: tuple[Update, ...] = ("alternative", "proper", "projected")

# On lattices of no more places than this, sums over lines are quicker as products by matrices of signs.
_FEW_PLACES = 64


class Lines(NamedTuple):
    """The lines of a lattice, along which there is an earlier and a later."""

    shape: tuple[int, ...]
    signs: Tensor | None
    """Of a small one: for each axis, 1 from a place to those before it on its line, and -1 to those behind it."""


class Descent(NamedTuple):
    """What is asked of :func:`descend`."""

    shape: tuple[int, ...]
    """Of the lattice; (n,) is a sequence."""
    steps: int
    iterations: int
    update: Update


def slope(costs: Tensor, plan: Tensor, shape: tuple[int, ...]) -> Tensor:
    """2 C B, from costs (..., axes, n, n) and a plan (..., n, n)."""
    return 2 * _beside(costs) @ _imbalance(plan, _lines(shape, plan))


def descend(
    costs: Tensor, start: Tensor | None, step_size: float | Tensor, asked: Descent, mask: Tensor | None
) -> Tensor:
    """The relaxed permutation after all steps, (..., n, n), from costs (..., axes, n, n) and a mask (..., n)."""
    if costs.numel() == 0:
        return costs.sum(-3)
    batch, dtype = costs.shape[:-3], torch.promote_types(costs.dtype, torch.float32)
    flat = costs.reshape(-1, *costs.shape[-3:]).to(dtype)
    logits = None if start is None else start.reshape(-1, *start.shape[-2:]).to(dtype)
    present = None if mask is None else mask.reshape(-1, mask.shape[-1])
    if present is not None:
        flat = torch.where((present.unsqueeze(-1) & present.unsqueeze(-2)).unsqueeze(1), flat, 0.0)
    spoilt = ~flat.isfinite().flatten(1).all(-1)[:, None, None]
    flat = torch.where(spoilt.unsqueeze(1), 0.0, flat)
    with torch.autocast(costs.device.type, enabled=False):
        pull = 2 * abs(step_size) * _beside(flat)
        plan = _DESCENTS[asked.update](pull, logits, asked, _lines(asked.shape, pull), present)
    return torch.where(spoilt, torch.nan, plan).reshape(*batch, *plan.shape[-2:]).to(costs.dtype)


def _alternative(pull: Tensor, logits: Tensor | None, asked: Descent, lines: Lines, present: Tensor | None) -> Tensor:
    """The slope by the plan moves the logits (equation 7)."""
    pairs, steps = _pairs(present), asked.steps
    if logits is None and steps:
        # All rows of the first plan are the same, and so are those of B: the product is one of thin matrices.
        weights = _imbalance(_uniform_row(pull, present), lines)
        logits, steps = -(pull.unflatten(-1, (-1, pull.shape[-2])).sum(-1) @ weights), steps - 1
    logits = _flat_logits(pull) if logits is None else logits
    for _ in range(steps):
        plan = sinkhorn(logits, num_iters=asked.iterations, mask=pairs)
        logits = torch.baddbmm(logits, pull, _imbalance(plan, lines), alpha=-1)
    return sinkhorn(logits, num_iters=asked.iterations, mask=pairs)


def _proper(pull: Tensor, logits: Tensor | None, asked: Descent, lines: Lines, present: Tensor | None) -> Tensor:
    """The slope by the logits moves the logits (equation 5)."""
    pairs = _pairs(present)

    def normalised(logits: Tensor) -> Tensor:
        return sinkhorn(logits, num_iters=asked.iterations, mask=pairs)

    at = _flat_logits(pull) if logits is None else logits
    for _ in range(asked.steps):
        found = torch.func.vjp(normalised, at)
        at = at - found[1](pull @ _imbalance(found[0], lines))[0]
    return normalised(at)


def _projected(pull: Tensor, logits: Tensor | None, asked: Descent, lines: Lines, present: Tensor | None) -> Tensor:
    """The slope by the plan moves the plan, which is then projected."""
    pairs = _pairs(present)
    logits = _flat_logits(pull) if logits is None else logits
    plan = sinkhorn(logits, num_iters=asked.iterations, mask=pairs)
    allowed = logits > -torch.inf if pairs is None else pairs & (logits > -torch.inf)
    for _ in range(asked.steps):
        moved = torch.baddbmm(plan, pull, _imbalance(plan, lines), alpha=-1)
        plan = _nearest_plan(moved, asked.iterations, allowed)
    return plan


_DESCENTS = {"alternative": _alternative, "proper": _proper, "projected": _projected}


def _nearest_plan(matrix: Tensor, iterations: int, allowed: Tensor) -> Tensor:
    """Dykstra's projections onto rows, then columns, that are distributions: in the limit the nearest such matrix."""
    from_rows = from_columns = torch.zeros_like(matrix)
    for _ in range(iterations):
        rows = soft_topk(matrix + from_rows, 1, dim=-1, mask=allowed)
        from_rows = matrix + from_rows - rows
        matrix = soft_topk(rows + from_columns, 1, dim=-2, mask=allowed)
        from_columns = rows + from_columns - matrix
    return matrix


def _beside(costs: Tensor) -> Tensor:
    """The costs of all axes beside each other, (..., n, axes * n)."""
    return costs.movedim(-3, -2).flatten(-2)


def _imbalance(plan: Tensor, lines: Lines) -> Tensor:
    """B of all axes below each other, (..., axes * rows, n), for as many rows as the plan has."""
    if lines.signs is not None:
        return (plan.unsqueeze(-3) @ lines.signs).flatten(-3, -2)
    cells, found = plan.unflatten(-1, lines.shape), []
    for axis in range(-len(lines.shape), 0):
        later = cells.sum(axis, keepdim=True) - 2 * cells.cumsum(axis) + cells
        found.append(later.flatten(-len(lines.shape)))
    return found[0] if len(found) == 1 else torch.cat(found, -2)


def _lines(shape: tuple[int, ...], like: Tensor) -> Lines:
    if like.shape[-2] > _FEW_PLACES:
        return Lines(shape, None)
    signs = []
    for axis, length in enumerate(shape):
        along = torch.ones(length, length, dtype=like.dtype, device=like.device)
        parts = [torch.eye(other, dtype=like.dtype, device=like.device) for other in shape]
        parts[axis] = along.tril(-1) - along.triu(1)
        whole = parts[0]
        for part in parts[1:]:
            whole = torch.kron(whole, part)
        signs.append(whole)
    return Lines(shape, torch.stack(signs))


def _flat_logits(pull: Tensor) -> Tensor:
    return torch.zeros_like(pull[..., : pull.shape[-2]])


def _uniform_row(pull: Tensor, present: Tensor | None) -> Tensor:
    """Shares of an item that is everywhere alike, (1 or batch, 1, n)."""
    n = pull.shape[-2]
    if present is None:
        return torch.full((1, 1, n), 1 / n, dtype=pull.dtype, device=pull.device)
    filled = _filled(present).to(pull.dtype)
    return (filled / filled.sum(-1, keepdim=True).clamp_min(1.0)).unsqueeze(-2)


def _pairs(present: Tensor | None) -> Tensor | None:
    """Which items may be at which positions."""
    return None if present is None else present.unsqueeze(-1) & _filled(present).unsqueeze(-2)


def _filled(present: Tensor) -> Tensor:
    """As many of the first positions as there are items."""
    return torch.arange(present.shape[-1], device=present.device) < present.sum(-1, keepdim=True)
