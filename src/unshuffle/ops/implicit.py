"""The derivative of a balanced matrix at the fixed point of Sinkhorn's iterations, without the iterations.

At P = exp(S + f + g), with the sums of rows and columns held, a change of S moves the potentials f and g so that the
sums stay: P' = P * (S' - x - y) where

    [ diag(P 1)    P        ] [x]   [ (P * S') 1  ]
    [ P'           diag(P'1)] [y] = [ (P * S')' 1 ]

The matrix P -> P' is symmetric, so the same function is the derivative forwards and backwards. One side eliminated, the
system is solved by conjugate gradients, with products by P alone; constants, which one side may give the other, make no
difference to x + y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unshuffle.ops.scaling import batched

# Of the length of the right-hand side, which is known no better than this.
_EXACT = 1e-15


def response(plan: Tensor, slope: Tensor) -> Tensor:
    """How the balanced matrices change with their logits, or the gradient by these; (..., n, m), differentiable."""
    weighed = torch.where(plan > 0, plan * slope, 0.0)
    x, y = _solve(plan, weighed.sum(-1, keepdim=True), weighed.sum(-2).unsqueeze(-1))
    return weighed - plan * (x + y.mT)


def _solve(plan: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    # Dynamo refuses functions that have a forward derivative.
    function = _Potentials if torch.compiler.is_compiling() else _PotentialsBothWays
    x, y = function.apply(plan, rows, columns)  # pyright: ignore[reportGeneralTypeIssues]
    return x, y


class _Potentials(torch.autograd.Function):
    """x (..., n, 1) and y (..., m, 1) of the system above, from the right-hand sides of their shapes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(plan: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        return _conjugate_gradients(plan, rows, columns)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx, slope_x: Tensor, slope_y: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        plan, x, y = ctx.saved_tensors
        u, v = _solve(plan, slope_x, slope_y)
        return -(u + v.mT) * (x + y.mT), u, v


class _PotentialsBothWays(_Potentials):
    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        _Potentials.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], *output)

    @staticmethod
    def jvp(ctx, plan_moves: Tensor, rows_move: Tensor, columns_move: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        plan, x, y = ctx.saved_tensors
        pulled = plan_moves * (x + y.mT)
        rows, columns = rows_move - pulled.sum(-1, keepdim=True), columns_move - pulled.sum(-2).unsqueeze(-1)
        return _solve(plan, rows, columns)


def _conjugate_gradients(plan: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    row_mass, column_mass = plan.sum(-1, keepdim=True), plan.sum(-2).unsqueeze(-1)
    inverse = torch.where(column_mass > 0, 1 / torch.where(column_mass > 0, column_mass, 1.0), 0.0)
    x = torch.zeros_like(rows)
    residual = rows - plan @ (inverse * columns)
    direction, length = residual, _dot(residual, residual)
    enough = _EXACT**2 * (_dot(rows, rows) + _dot(columns, columns))
    going = length > enough
    for _ in range(_most_steps(plan)):
        if not (batched(plan, rows) or going.any()):
            break
        image = row_mass * direction - plan @ (inverse * (plan.mT @ direction))
        bend = _dot(direction, image)
        # Along a direction without curvature but that of rounding, a move changes nothing.
        going = going & (bend > _EXACT * _dot(direction, direction))
        stride = torch.where(going, length / torch.where(going, bend, 1.0), 0.0)
        x = x + stride * direction
        residual = residual - stride * image
        before, length = length, _dot(residual, residual)
        direction = torch.where(going, residual + length / torch.where(going, before, 1.0) * direction, direction)
        going = going & (length > enough)
    return x, inverse * (columns - plan.mT @ x)


def _most_steps(plan: Tensor) -> int:
    """In exact numbers as many as the shorter side has; rounding may ask for some more."""
    return 2 * min(plan.shape[-2:]) + 20


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-2, keepdim=True)
