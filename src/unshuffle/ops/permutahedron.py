"""Projections onto permutahedra: the one computation behind soft ranks, soft sorting and soft top-k.

    soft ranks     values / strength  onto the orders of  (n, ..., 1)
    soft top-k     values / strength  onto the orders of  (1, ..., 1, 0, ..., 0)
    soft sorting   (n, ..., 1) / strength  onto the orders of  values

:func:`project` takes the native path for plain CPU tensors and :func:`_project_in_pytorch` for everything else: other
devices, ``torch.compile``, ``torch.func``, second derivatives. Both solve in float64 and round once.

Source: Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, section 4.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from unshuffle import _check
from unshuffle.ops import _native
from unshuffle.ops.isotonic import (
    COMPILED_UP_TO,
    block_first,
    block_mean,
    block_sum,
    decreasing_blocks,
    membership_blocks,
)

Regularization = Literal["l2", "kl"]
RANK, TOPK, SORT = 0, 1, 2  # as in _native/permutahedron.c

# exp of its negative is 0 in any dtype.
_FAR = 1000.0


class Projection(NamedTuple):
    """What is asked of :func:`project`."""

    task: int
    kl: bool
    strength: float
    sign: float
    """-1: the values count negated, so that the smallest is the first of its order."""
    k: int = 0


def check(
    function: str,
    values: Tensor,
    regularization: str,
    strength: float,
    mask: Tensor | None,
    dim: int,
    flag: tuple[str, bool],
) -> None:
    """Refuses what no projection takes."""
    _check.floating(function, "values", values, meta=True)
    _check.one_of(function, "regularization", regularization, ("l2", "kl"))
    _check.not_negative(function, "regularization_strength", strength)
    _check.flag(function, *flag)
    _check.axis(function, values, dim, of="values")
    if mask is not None:
        _check.mask(function, mask, "values", values)


def project(function: str, values: Tensor, mask: Tensor | None, what: Projection, dim: int) -> Tensor:
    """Ranks, memberships or sorted values, with the shape and dtype of ``values``; errors name ``function``."""
    if mask is not None:
        mask = mask.expand_as(values)
    if values.dtype in (torch.float16, torch.bfloat16):
        return project(function, values.double(), mask, what, dim).to(values.dtype)
    if _native.takes(values):
        answer = _Native.apply(values, mask, what, dim)
        assert isinstance(answer, Tensor)  # `apply` has no return type
        return answer
    if torch.compiler.is_compiling() and values.shape[dim] > COMPILED_UP_TO:
        raise ValueError(
            f"{function}: under torch.compile a set may hold up to {COMPILED_UP_TO} items along `dim` (memory is "
            f"n * n); got {values.shape[dim]}. Call it outside the compiled region (torch.compiler.disable)."
        )
    return _project_in_pytorch(values, mask, what, dim)


# ------------------------------------------------------------------------------------------------------- in C


class _Native(torch.autograd.Function):
    """Value and derivative by ``_native/permutahedron.c``; a second derivative by PyTorch."""

    @staticmethod
    def forward(ctx, values: Tensor, mask: Tensor | None, what: Projection, dim: int) -> Tensor:
        rows = _native.Layout(values, dim)
        hidden = None if mask is None else rows.dense(mask, dim)
        out, kept = rows.empty(), None
        places = (None, None)
        if ctx.needs_input_grad[0]:
            # The order, then each row's extent.
            kept = torch.empty(rows.rows * (rows.n + 3), dtype=torch.int32, device="cpu")
            places = (kept.data_ptr(), kept.data_ptr() + 4 * rows.rows * rows.n)
        arguments = (*rows.arguments(hidden), what.task, what.kl, what.strength, what.sign, what.k)
        _native.call("unshuffle_project", *arguments, out.data_ptr(), *places, work=values.numel())
        if kept is not None:
            ctx.save_for_backward(values, mask, kept)
            ctx.what, ctx.dim = what, dim
        return rows.restore(out, dim)

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        values, mask, kept = ctx.saved_tensors
        what, dim = ctx.what, ctx.dim
        if torch.is_grad_enabled() or not _native.takes(slope):
            slope = _native.slope_in_pytorch(lambda v: _project_in_pytorch(v, mask, what, dim), values, slope)
            return slope, None, None, None
        rows = _native.Layout(values, dim)
        hidden = None if mask is None else rows.dense(mask, dim)
        slope = rows.dense(slope, dim)
        out = rows.empty()
        arguments = (*rows.arguments(hidden), what.task, what.kl, what.strength, what.sign, what.k)
        places = (kept.data_ptr(), kept.data_ptr() + 4 * rows.rows * rows.n, slope.data_ptr(), out.data_ptr())
        _native.call("unshuffle_differentiate", *arguments, *places, work=values.numel())
        return rows.restore(out, dim), None, None, None


class _BlocksInC(torch.autograd.Function):
    """The blocks of sorted rows as C pools them, under transforms too: all paths pool ties by one rule."""

    @staticmethod
    def forward(numbers: Tensor, parts: Tensor, what: Projection) -> Tensor:
        rows, n = numbers.shape
        order, extent = torch.empty(rows, n, dtype=torch.int32), torch.empty(rows, 3, dtype=torch.int32)
        present, out = parts != 3, torch.empty_like(numbers)
        layout = _native.Layout(numbers.masked_fill(parts == 0, torch.inf).masked_fill(parts == 2, -torch.inf), -1)
        arguments = (*layout.arguments(present), what.task, what.kl, what.strength, 1.0, what.k)
        places = (out.data_ptr(), order.data_ptr(), extent.data_ptr())
        _native.call("unshuffle_project", *arguments, *places, work=numbers.numel())
        # The sign bit is BLOCK_START of permutahedron.c, set among finite numbers only.
        starts = (order < 0) & (parts == 1)
        starts[:, 1:] |= parts[:, 1:] != parts[:, :-1]
        starts[:, 0] = False
        return starts.cumsum(-1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info, in_dims, numbers: Tensor, parts: Tensor, what: Projection) -> tuple[Tensor, int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows = [x.unsqueeze(0).expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0)
                for x, at in zip((numbers, parts), in_dims)]  # fmt: skip
        blocks = _BlocksInC.apply(*(x.flatten(0, 1).contiguous() for x in rows), what)
        assert isinstance(blocks, Tensor)  # `apply` has no return type
        return blocks.unflatten(0, rows[0].shape[:2]), 0


# ------------------------------------------------------------------------------------------------- in PyTorch


class _Sorted(NamedTuple):
    """Rows in descending order: present ones first, and of these the infinite ones at both ends."""

    numbers: Tensor
    order: Tensor
    parts: Tensor
    """0: plus infinity, 1: finite, 2: minus infinity, 3: masked."""
    present: Tensor
    """(rows, 1) how many are present."""


def _project_in_pytorch(values: Tensor, mask: Tensor | None, what: Projection, dim: int) -> Tensor:
    if values.numel() == 0:
        return values.clone()
    moved = values.movedim(dim, -1)
    shape = moved.shape
    rows = what.sign * moved.to(torch.float64).reshape(math.prod(shape[:-1]), shape[-1])
    present = None if mask is None else mask.movedim(dim, -1).reshape(rows.shape)
    rows = rows if present is None else rows.masked_fill(~present, 0.0)
    spoilt = rows.isnan().any(-1, keepdim=True)
    rows = rows.masked_fill(spoilt, 0.0)  # so that NaN has gradient 0
    ordered = _sort(rows, present)
    solve = _sorted_values if what.task == SORT else _ranks
    answer = solve(ordered, what)
    if what.task != SORT:
        answer = torch.zeros_like(answer).scatter(-1, ordered.order, answer)
    elif present is not None:  # the k-th sorted value goes to the k-th present slot
        answer = answer.gather(-1, (present.cumsum(-1) - 1).clamp_min(0))
    answer = torch.where(spoilt, torch.nan, answer)
    if present is not None:
        answer = torch.where(present, answer, 0.0)
    return answer.reshape(shape).movedim(-1, dim).to(values.dtype)


def _sort(rows: Tensor, present: Tensor | None) -> _Sorted:
    parts = torch.where(rows == torch.inf, 0, torch.where(rows == -torch.inf, 2, 1))
    if present is None:
        numbers, order = rows.sort(dim=-1, descending=True, stable=True)
        return _Sorted(numbers, order, parts.gather(-1, order), torch.full_like(parts[:, :1], rows.shape[-1]))
    parts = torch.where(present, parts, 3)
    order = rows.masked_fill(~present, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, parts.gather(-1, order).argsort(dim=-1, stable=True))
    return _Sorted(rows.gather(-1, order), order, parts.gather(-1, order), present.sum(-1, keepdim=True))


def _ranks(ordered: _Sorted, what: Projection) -> Tensor:
    """Ranks or memberships, largest value first."""
    n = ordered.numbers.shape[-1]
    weights = _weights(ordered, what)
    # Items of one block differ by less than n (L2), or by a factor that its answers could not have (KL).
    theta = _descent(ordered, what.strength, widest=_FAR if what.kl else float(n))
    blocks = _blocks(ordered, what, theta, weights)
    if not what.kl:
        # Values and weights stay apart, so that a block of one has a whole rank, exactly.
        answer = theta - block_mean(theta, blocks) + block_mean(weights, blocks)
        # Rounding may leave the bounds; mending that is no part of the derivative.
        return answer + (answer.clamp(0, 1) - answer).detach() if what.task == TOPK else answer
    if what.strength > 0:  # values lie closer to each other than to the end of a long descent
        theta = ordered.numbers.masked_fill(ordered.parts != 1, 0.0)
    mass = ((theta - block_first(theta, blocks)) / (what.strength or 1.0)).exp()
    return block_sum(weights, blocks) * (mass / block_sum(mass, blocks))


def _sorted_values(ordered: _Sorted, what: Projection) -> Tensor:
    """Softly sorted values, in the ascending or descending order that the sign asks for."""
    numbers, (n, strength) = ordered.numbers, (ordered.numbers.shape[-1], what.strength)
    finite = ordered.parts == 1
    numbers = numbers.masked_fill(~finite, 0.0)
    if strength == 0:
        return what.sign * torch.where(finite, numbers, ordered.numbers.detach())
    weights = torch.arange(n, 0, -1, dtype=numbers.dtype, device=numbers.device).expand_as(numbers)
    if what.kl:
        theta = _descent(ordered, 1.0, widest=n / strength + math.log(n + 1) + _FAR)
        blocks = _blocks(ordered, what, theta, weights)
        answer = _log_sum(numbers, blocks) + _log_shares(weights / strength, blocks)
    else:
        # One gap above n^2 / 2 joins all items in one block, whatever its size.
        theta = _descent(ordered, 1 / strength, widest=float(n**2))
        blocks = _blocks(ordered, what, theta, weights)
        answer = (weights - block_mean(weights, blocks)) / strength + block_mean(numbers, blocks)
    return what.sign * torch.where(finite, answer, ordered.numbers.detach())


def _blocks(ordered: _Sorted, what: Projection, theta: Tensor, weights: Tensor) -> Tensor:
    """Which neighbours of a sorted row share one fit, numbered from 0."""
    if not _native.traced() and theta.is_cpu and type(theta) is Tensor and _native.available():
        blocks = _BlocksInC.apply(ordered.numbers.detach(), ordered.parts, what)
        assert isinstance(blocks, Tensor)  # `apply` has no return type
        return blocks
    if what.task == SORT:
        targets, others = (weights / what.strength, theta) if what.kl else (weights - theta, None)
        return decreasing_blocks(targets, ordered.parts, others)
    if what.task == TOPK and what.kl:
        return membership_blocks(theta, ordered.parts, weights)
    if what.kl:
        return decreasing_blocks(theta, ordered.parts, weights.log())
    blocks = decreasing_blocks(theta - weights, ordered.parts, None)
    return _alone_where_flat(blocks, weights) if what.task == TOPK else blocks


def _descent(ordered: _Sorted, strength: float, *, widest: float) -> Tensor:
    """Counts down from 0 by gaps in units of ``strength``, clipped where a wider one changes nothing.

    Sums over the result are exact to rounding whatever the magnitude and the offset of the values. Between values that
    are infinite or masked there is no gap: they are never fitted together with others.
    """
    finite = ordered.parts == 1
    numbers = ordered.numbers.masked_fill(~finite, 0.0)
    gaps = -numbers.diff(dim=-1, prepend=numbers[:, :1])
    first = torch.nn.functional.pad(ordered.parts[:, 1:] != ordered.parts[:, :-1], (1, 0), value=True)
    gaps = gaps.masked_fill(first | ~finite, 0.0)
    # At strength 0 any gap is the widest, and has slope 0.
    hard = 0 * gaps.clamp_max(1.0) + (gaps > 0) * widest
    return -(hard if strength == 0 else (gaps / strength).clamp_max(widest)).cumsum(-1)


def _weights(ordered: _Sorted, what: Projection) -> Tensor:
    """The corner's entries in descending order: n, ..., 1, or k ones before zeros; masked slots follow, as zeros."""
    like = ordered.numbers
    place = torch.arange(like.shape[-1], dtype=like.dtype, device=like.device)
    if what.task == TOPK:
        return (place < ordered.present.clamp_max(what.k)).to(like.dtype)
    return (ordered.present - place).clamp_min(0)


def _alone_where_flat(blocks: Tensor, weights: Tensor) -> Tensor:
    """Cuts blocks of equal weights into single items: these share an answer, but no constraint ties them."""
    flat = block_mean(weights, blocks) == weights
    starts = (blocks[:, 1:] != blocks[:, :-1]) | flat[:, 1:]
    return torch.nn.functional.pad(starts, (1, 0)).cumsum(-1)


def _log_sum(numbers: Tensor, blocks: Tensor) -> Tensor:
    """The log-sum-exp of each block, whose first entry is its largest."""
    first = block_first(numbers, blocks)
    return first + block_sum((numbers - first).exp(), blocks).log()


def _log_shares(numbers: Tensor, blocks: Tensor) -> Tensor:
    """The log-softmax in each block; exactly 0 in a block of one."""
    inside = numbers - block_first(numbers, blocks)
    return inside - block_sum(inside.exp(), blocks).log()
