"""Sinkhorn's iterations in PyTorch: on scalings, with a derivative written by hand, and on their logarithms.

Both derivatives need what every step found, n + m numbers each, and no matrix but the logits. With p_t and q_t the
matrices as they are after the rows' and the columns' part of step t,

    S' = P' * P - sum_t (p_t * f'_t + q_t * g'_t)

where f'_t and g'_t are the derivatives by the logarithms of the scalings, found backwards, one step after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unshuffle.ops import _native

# Scalings within these leave every product of two of them and an exponential among the numbers; a share of an answer
# that is lost to underflow is then below 1e-100.
_LEAST, _MOST = 1e-100, 1e100
# Below this many products a matrix, torch.bmm runs loops of its own.
_FEW_CELLS = 400


class Logits(NamedTuple):
    """Matrices to balance."""

    values: Tensor
    """(..., n, m) in float64; minus infinity where a pair is masked."""
    rows: Tensor
    """(..., n, 1) what each row is to sum to: 1, or 0 where it is absent."""
    columns: Tensor
    """(..., 1, m) what each column is to sum to."""


class Steps(NamedTuple):
    """How many are made."""

    most: int
    tolerance: float


def balance_logits(logits: Logits, steps: Steps) -> Tensor:
    """The balanced matrices, on logarithms: plain operations, any number of derivatives, no choice by the numbers."""
    rows, *_ = _potentials(logits, steps)
    return logits.columns * _shares(logits.values + rows[-1], -2)


def scale_logits(logits: Logits, steps: Steps) -> Tensor:
    """The same, faster: on scalings, and on logarithms those matrices alone whose scalings leave the range."""
    plan = _Scaled.apply(*logits, steps)
    assert isinstance(plan, Tensor)  # `apply` has no return type
    return plan


class _Scaled(torch.autograd.Function):
    """(batch, n, m) on scalings; a second derivative by :func:`balance_logits`."""

    @staticmethod
    def forward(ctx, values: Tensor, rows: Tensor, columns: Tensor, steps: Steps) -> Tensor:
        logits = Logits(values, rows, columns)
        kernel = values.exp()
        r, c, taken = _scalings(kernel, logits, steps)
        inside = _within(r, rows.mT) & _within(c, columns)
        plan = kernel * r[-1].mT * c[-1]
        saved: tuple[Tensor, ...] = (values, rows, columns, r, c, taken)
        outside = (~inside).nonzero()[:, 0]
        if len(outside):
            some = _some(logits, outside)
            f, g, far_taken = _potentials(some, steps)
            plan[outside] = some.columns * _shares(some.values + f[-1], -2)
            saved = (*saved, outside, torch.stack(f), torch.stack(g), far_taken)
        ctx.save_for_backward(*saved)
        ctx.steps = steps
        return plan

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        values, rows, columns, r, c, taken, *rest = ctx.saved_tensors
        logits = Logits(values, rows, columns)
        if torch.is_grad_enabled() or batched(slope):
            again = lambda v: balance_logits(logits._replace(values=v), ctx.steps)  # noqa: E731
            return _native.slope_in_pytorch(again, values, slope), None, None, None
        out = _scaled_slope(logits, r, c, taken, slope)
        if rest:
            outside, f, g, taken = rest
            out[outside] = _logarithmic_slope(_some(logits, outside), f, g, taken, slope[outside])
        return out, None, None, None


def batched(*tensors: Tensor) -> bool:
    """Whether this is inside a transform, also one of the older kind: nothing may depend on the numbers."""
    older = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    return _native.transformed() or any(map(older, tensors))


def _some(logits: Logits, which: Tensor) -> Logits:
    return Logits(*(part[which] for part in logits))


# ------------------------------------------------------------------------------------------------------ on scalings


# Vectors are rows of one: products of these with a batch of matrices are several times faster than of columns.


def _across(kernel: Tensor) -> Tensor:
    """The same matrices, small ones laid out by columns: PyTorch sums products of these in the order of memory."""
    return kernel.mT.contiguous().mT if kernel.shape[-1] * kernel.shape[-2] < _FEW_CELLS else kernel


def _scalings(kernel: Tensor, logits: Logits, steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
    """Scalings after every step, (steps, batch, 1, n) and (steps, batch, 1, m), and how many steps each matrix took."""
    rows, columns = logits.rows.mT, logits.columns
    no_row, no_column = (rows == 0).double(), (columns == 0).double()
    taken = torch.full((len(kernel), 1, 1), steps.most, device=kernel.device)
    running = torch.ones_like(taken, dtype=torch.bool)
    across, along = _across(kernel), kernel.mT
    r: list[Tensor] = []
    c = [torch.ones_like(columns)]
    for step in range(steps.most):
        scaling = rows / torch.baddbmm(no_row, c[-1], along)
        if step and steps.tolerance:
            near = ((r[-1] / (scaling + no_row) - rows).abs() <= steps.tolerance).all(-1, keepdim=True)
            taken = torch.where(running & near, step, taken)
            running = running & ~near
            if not running.any():
                break
            scaling = torch.where(running, scaling, r[-1])
        r.append(scaling)
        scaling = columns / torch.baddbmm(no_column, scaling, across)
        c.append(torch.where(running, scaling, c[-1]) if steps.tolerance else scaling)
    return torch.stack(r), torch.stack(c[1:]), taken


def _within(scaling: Tensor, mass: Tensor) -> Tensor:
    """Which matrices' scalings never left the range; those of absent rows and columns are 0."""
    return ((scaling > _LEAST) & (scaling < _MOST) | (mass == 0)).all(0).all(-1)[:, 0]


def _scaled_slope(logits: Logits, r: Tensor, c: Tensor, taken: Tensor, slope: Tensor) -> Tensor:
    """The derivative by the logits: what all steps have to do with them is one product of two thin matrices."""
    kernel = logits.values.exp()
    share = kernel * r[-1].mT * c[-1]
    weighed = torch.where(share > 0, share * slope, 0.0)
    from_rows, from_columns = weighed.sum(-1).unsqueeze(-2), weighed.sum(-2, keepdim=True)
    ragged = bool((taken < len(r)).any())
    by_mass = (c / torch.where(logits.columns > 0, logits.columns, 1.0)).unbind()
    earlier, squares = [torch.ones_like(logits.columns), *c[:-1].unbind()], r.square().unbind()
    across, along = _across(kernel), kernel.mT
    pulls, pushes = [], []
    past, seed = from_columns, r[-1] * from_rows
    for step in reversed(range(len(r))):
        if ragged:
            last = taken == step + 1
            past, seed = torch.where(last, from_columns, past), torch.where(last, r[step] * from_rows, 0.0)
            past = torch.where(taken > step, past, 0.0)
        push = by_mass[step] * past
        pull = squares[step] * torch.bmm(push, along)
        if ragged or step + 1 == len(r):
            pull = pull - seed
        past = earlier[step] * torch.bmm(pull, across)
        pulls.append(pull)
        pushes.append(push)
    left = torch.cat([*pulls, *(-r).unbind()], -2)
    right = torch.cat([*reversed(earlier), *reversed(pushes)], -2)
    return weighed + kernel * torch.bmm(left.mT, right)


# ---------------------------------------------------------------------------------------------------- on logarithms


def _potentials(logits: Logits, steps: Steps) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Logarithms of the scalings after every step, (..., n, 1) and (..., 1, m), and how many each matrix took."""
    values, columns = logits.values, logits.columns
    target = torch.where(columns > 0, columns, 1.0).log()
    rows: list[Tensor] = []
    others = [torch.zeros_like(columns)]
    running = torch.ones_like(columns[..., :1], dtype=torch.bool)
    taken = running.long()
    for step in range(steps.most):
        row = -_log_sum(values + others[-1], -1)
        if step and steps.tolerance:
            near = (torch.expm1(rows[-1] - row).abs() <= steps.tolerance) | (logits.rows == 0)
            running = running & ~near.all(-2, keepdim=True)
            if not (batched(values) or running.any()):
                break
            row = torch.where(running, row, rows[-1])
            taken = taken + running
        elif step:
            taken = taken + 1
        column = target - _log_sum(values + row, -2)
        rows.append(row)
        others.append(torch.where(running, column, others[-1]) if steps.tolerance else column)
    return rows, others[1:], taken


def _log_sum(numbers: Tensor, dim: int) -> Tensor:
    """Logarithm of the sum of exponentials; 0, with gradient 0, where there is nothing but minus infinity."""
    top = _top(numbers, dim)
    total = (numbers - top).exp().sum(dim, keepdim=True)
    return torch.where(total > 0, total, 1.0).log() + top


def _shares(numbers: Tensor, dim: int) -> Tensor:
    """Softmax; 0, with gradient 0, where there is nothing but minus infinity."""
    parts = (numbers - _top(numbers, dim)).exp()
    total = parts.sum(dim, keepdim=True)
    return parts / torch.where(total > 0, total, 1.0)


def _top(numbers: Tensor, dim: int) -> Tensor:
    top = numbers.detach().amax(dim, keepdim=True)
    return torch.where(top > -torch.inf, top, 0.0)


def _logarithmic_slope(logits: Logits, f: Tensor, g: Tensor, taken: Tensor, slope: Tensor) -> Tensor:
    """The derivative by the logits; both softmaxes of a step are taken anew, so that rows and columns are exact."""
    share = logits.columns * _shares(logits.values + f[-1], -2)
    out = torch.where(share > 0, share * slope, 0.0)
    from_rows, from_columns = out.sum(-1, keepdim=True), out.sum(-2, keepdim=True)
    past = torch.zeros_like(from_columns)
    for step in reversed(range(len(f))):
        last = taken == step + 1
        after = _shares(logits.values + f[step], -2) * torch.where(last, from_columns, past)
        out -= after
        row = torch.where(last, from_rows, 0.0) - after.sum(-1, keepdim=True)
        before = _shares(logits.values + g[step - 1] if step else logits.values, -1) * row
        out -= before
        past = -before.sum(-2, keepdim=True)
    return out
