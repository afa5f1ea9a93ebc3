"""Matrices with given row and column sums, by Sinkhorn's iterations: the computation behind :func:`sinkhorn`.

With K the exponentials of the logits, a step finds scalings: of the rows, r = 1 / (K c), then of the columns,
c = (n / m) / (K' r); the answer is diag(r) K diag(c). :func:`balance` takes the native path for plain CPU tensors. In
PyTorch, :mod:`unshuffle.ops.scaling` iterates on scalings in eager mode, and :func:`balance_logits` on their logarithms
everywhere else: in transforms, for second derivatives, and for matrices whose scalings leave the range of numbers.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unshuffle.ops import _native
from unshuffle.ops.implicit import response
from unshuffle.ops.scaling import Logits, Steps, balance_logits, batched, scale_logits

Gradient = Literal["unrolled", "implicit"]

# In C matrices are met eight at a time where rows are short and all eight lie near: measured from 4 x 4 to 64 x 64.
_SHORT, _NEAR = 24, 2000
# A finite score is never further below the largest of its row, in units of the temperature: far, but no masked pair.
_FARTHEST_LOGIT = -1e300


class Balance(NamedTuple):
    """What is asked of :func:`balance`."""

    temperature: float
    num_iters: int
    tolerance: float
    implicit: bool


def balance(scores: Tensor, mask: Tensor | None, asked: Balance) -> Tensor:
    """The balanced matrices, with the shape and dtype of ``scores``."""
    if scores.numel() == 0:
        return scores.clone()
    if mask is not None:
        mask = mask.expand_as(scores)
    if asked.implicit:
        # Dynamo refuses functions that have a forward derivative.
        function = _Implicit if torch.compiler.is_compiling() else _ImplicitBothWays
        plan = function.apply(widen(scores), mask, asked)
        assert isinstance(plan, Tensor)  # `apply` has no return type
        return plan.to(scores.dtype)
    if _native.takes(scores):
        answer = _Native.apply(scores, mask, asked)
        assert isinstance(answer, Tensor)  # `apply` has no return type
        return answer
    wide = widen(scores)
    return (balance(wide, mask, asked) if _native.takes(wide) else _in_pytorch(wide, mask, asked)).to(scores.dtype)


# ------------------------------------------------------------------------------------------------------------- in C


class _Native(torch.autograd.Function):
    """Value and derivative by ``_native/sinkhorn.c``; a second derivative by PyTorch."""

    @staticmethod
    def forward(ctx, scores: Tensor, mask: Tensor | None, asked: Balance) -> Tensor:
        n, m = scores.shape[-2:]
        dense, hidden = _dense(scores, mask)
        count, lanes = scores.numel() // (n * m), 8 if m <= _SHORT and n * m <= _NEAR else 1
        out, past, taken = torch.empty_like(dense), None, None
        if ctx.needs_input_grad[0]:
            groups = -(-count // lanes)
            past = torch.empty(groups * asked.num_iters * (n + m) * lanes, dtype=torch.float64, device="cpu")
            taken = torch.empty(count, dtype=torch.int32, device="cpu")
        sizes = (count, n, m, dense.dtype == torch.float64, lanes, asked.num_iters)
        options = (*sizes, asked.temperature, asked.tolerance)
        places = (_place(past), _place(taken), None, out.data_ptr())
        work = scores.numel() * asked.num_iters // 8
        _native.call("unshuffle_sinkhorn", dense.data_ptr(), _place(hidden), *options, *places, work=work)
        if taken is not None:
            ctx.save_for_backward(scores, mask, past, taken)
            ctx.asked, ctx.options, ctx.work = asked, options, work
        return out

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        scores, mask, past, taken = ctx.saved_tensors
        if torch.is_grad_enabled() or not _native.takes(slope):
            function = lambda s: _in_logarithms(widen(s), mask, ctx.asked).to(s.dtype)  # noqa: E731
            return _native.slope_in_pytorch(function, scores, slope), None, None
        (dense, hidden), slope = _dense(scores, mask), slope.contiguous()
        out = torch.empty_like(dense)
        places = (past.data_ptr(), taken.data_ptr(), slope.data_ptr(), out.data_ptr())
        begin = (dense.data_ptr(), _place(hidden), *ctx.options)
        _native.call("unshuffle_sinkhorn", *begin, *places, work=2 * ctx.work)
        return out, None, None


def _dense(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return scores.contiguous(), None if mask is None else mask.contiguous()


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


# ------------------------------------------------------------------------------------------------------- in PyTorch


def _in_pytorch(scores: Tensor, mask: Tensor | None, asked: Balance) -> Tensor:
    """On scalings; in logarithms where nothing may depend on the numbers. ``scores`` are in float64."""
    if _traced(scores):
        return _in_logarithms(scores, mask, asked)
    flat = scores.reshape(-1, *scores.shape[-2:])
    logits, spoilt = _logits(flat, None if mask is None else mask.reshape(flat.shape), asked.temperature)
    plan = scale_logits(logits, Steps(asked.num_iters, asked.tolerance))
    return _finished(plan.reshape(scores.shape), spoilt.reshape(*scores.shape[:-2], 1, 1), mask)


def _in_logarithms(scores: Tensor, mask: Tensor | None, asked: Balance) -> Tensor:
    logits, spoilt = _logits(scores, mask, asked.temperature)
    return _finished(balance_logits(logits, Steps(asked.num_iters, asked.tolerance)), spoilt, mask)


def _logits(scores: Tensor, mask: Tensor | None, temperature: float) -> tuple[Logits, Tensor]:
    """Scores in units of the temperature, 0 at the top of each row; and which matrices hold NaN, (..., 1, 1)."""
    allowed = scores != -torch.inf if mask is None else (scores != -torch.inf) & mask
    spoilt = (scores.isnan() & allowed).any(-1, keepdim=True).any(-2, keepdim=True)
    allowed = allowed & ~spoilt
    top = scores.detach().masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
    free = allowed & (top < torch.inf)
    # The subtraction comes first: quotients of large scores could overflow alike, and their difference is no number.
    below = torch.where(free, scores, 0.0) - torch.where(top.isfinite(), top, 0.0)
    scaled = (below / temperature).clamp_min(_FARTHEST_LOGIT)
    fixed = torch.where(allowed & (scores == torch.inf), 0.0, -torch.inf)
    values = torch.where(free, scaled, fixed)
    there = values.detach() > -torch.inf
    rows, columns = there.any(-1, keepdim=True).to(values.dtype), there.any(-2, keepdim=True).to(values.dtype)
    share = rows.sum(-2, keepdim=True) / columns.sum(-1, keepdim=True).clamp_min(1.0)
    return Logits(values, rows, columns * share), spoilt


def _finished(plan: Tensor, spoilt: Tensor, mask: Tensor | None) -> Tensor:
    plan = torch.where(spoilt, torch.nan, plan)
    return plan if mask is None else torch.where(mask, plan, 0.0)


def _traced(values: Tensor) -> bool:
    """Whether no choice may depend on the numbers, or a derivative is taken forwards."""
    return batched(values) or forward_ad._current_level >= 0


def widen(scores: Tensor) -> Tensor:
    """The scores in float64; their gradient stays within the numbers of their own dtype at any temperature."""
    if _traced(scores):
        return scores.double()
    wide = _Wide.apply(scores)
    assert isinstance(wide, Tensor)  # `apply` has no return type
    return wide


class _Wide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores: Tensor) -> Tensor:
        ctx.dtype = scores.dtype
        return scores.double() if scores.dtype != torch.float64 else scores.view_as(scores)

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        limit = torch.finfo(ctx.dtype).max
        return slope.clamp(-limit, limit).to(ctx.dtype)


# ------------------------------------------------------------------------------------------------- at the fixed point


class _Implicit(torch.autograd.Function):
    """Value by the iterations, of which no gradient is taken; derivatives at the fixed point."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, mask: Tensor | None, asked: Balance) -> Tensor:
        return balance(scores, mask, asked._replace(implicit=False))

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor | None, Balance], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.temperature = inputs[2].temperature

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        scores, plan = ctx.saved_tensors
        slope = response(torch.where(plan.isnan(), 0.0, plan), slope) / ctx.temperature
        return torch.where(scores.isfinite(), slope, 0.0), None, None


class _ImplicitBothWays(_Implicit):
    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor | None, Balance], output: Tensor) -> None:
        _Implicit.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def jvp(ctx, moves: Tensor, *_: None):  # pyright: ignore[reportIncompatibleMethodOverride]
        scores, plan = ctx.saved_tensors
        moves = torch.where(scores.isfinite(), moves, 0.0)
        return response(torch.where(plan.isnan(), 0.0, plan), moves) / ctx.temperature
