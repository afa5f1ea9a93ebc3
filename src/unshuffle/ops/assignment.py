"""The best one-to-one assignment of items to positions: the hard answer that relaxed permutations tend to.

Scores in, integers out. Every matrix of a batch is a linear assignment problem, solved exactly: in C by shortest
augmenting paths after a start that places most items at little cost, without the library by ``scipy``, one matrix at a
time. Forbidden pairs and infinite scores become finite costs first, so that one cheapest matching respects them.

Source: Jonker & Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems",
Computing 38, 1987.
"""

from __future__ import annotations

import ctypes
from typing import NoReturn

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unshuffle import _check
from unshuffle.ops import _native

UNPLACED = -1


def assign(
    scores: Float[Tensor, "*batch n m"], *, mask: Bool[Tensor, "..."] | None = None
) -> Int64[Tensor, "*batch n"]:
    r"""Gives every item a position of its own, such that the total score is the largest possible.

    .. math:: \arg\max_{p \text{ one-to-one}} \; \sum_i S_{i, p(i)}

    For square scores that is the permutation matrix nearest to them.

    Args:
        scores: (..., n, m) real numbers, items on rows and positions on columns; larger means a better fit. For costs
            pass their negatives. A pair of score minus infinity is forbidden. As many pairs of score plus infinity as
            possible are made, and the largest total is that of the others.
        mask: True where a pair is allowed, broadcast to the shape of ``scores``. What lies in a forbidden pair, NaN
            too, does not matter.

    Returns:
        (..., n) int64 on the device of ``scores``: ``answer[..., i]`` is the position of item i, counted from 0, or -1
        where it has none. As many items are placed as the sizes and the forbidden pairs let be, and of all such
        placements this is one with the largest total. Where several are, the choice is the same in every call and
        whatever else is in the batch. The total is the largest one to the precision of float64, relative to the
        largest score of the matrix; times min(n, m) if some pairs are forbidden, or infinite, and squared if both.

        The answer has no gradient, being integers: to learn from it, relax the scores or take a loss on them. It is
        computed on the CPU, for scores of any device; under ``torch.compile`` it cannot be part of a full graph.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: an allowed score is NaN, ``scores`` has no two axes, or ``mask`` does not broadcast to it.

    Example:
        >>> from unshuffle import permutations
        >>> scores = torch.tensor([[0.1, 0.2, 0.9], [0.8, 0.7, 0.1], [0.6, 0.1, 0.3]])
        >>> position = assign(scores)
        >>> position
        tensor([2, 1, 0])
        >>> permutations.to_matrix(permutations.invert(position))
        tensor([[0., 0., 1.],
                [0., 1., 0.],
                [1., 0., 0.]])

    Source: Jonker & Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems",
    Computing 38, 1987.
    """
    _check.floating("assign", "scores", scores)
    if scores.ndim < 2:
        raise ValueError(
            f"assign: `scores` must be (..., n, m), items on rows and positions on columns; got "
            f"{tuple(scores.shape)}. Call `scores.unsqueeze(0)` for one item."
        )
    if mask is not None:
        _check.mask("assign", mask, "scores", scores)
        mask = mask.expand_as(scores)
    if torch.compiler.is_compiling():
        outside = torch.compiler.disable(_assign)  # breaks the graph
        return outside(scores.detach(), mask)  # pyright: ignore[reportCallIssue]
    if torch._C._are_functorch_transforms_active():
        answer = _Transformed.apply(scores, mask)
        assert isinstance(answer, Tensor)  # `apply` has no return type
        return answer
    return _assign(scores.detach(), mask)


class _Transformed(torch.autograd.Function):
    """The same inside transforms of ``torch.func``: their axis is one more axis of the batch."""

    generate_vmap_rule = False

    @staticmethod
    def forward(scores: Tensor, mask: Tensor | None) -> Tensor:
        return assign(scores, mask=mask)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx, *tangents: Tensor | None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: integers do not move."""

    @staticmethod
    def vmap(info, in_dims, scores: Tensor, mask: Tensor | None):  # pyright: ignore[reportIncompatibleMethodOverride]
        at, mask_at = in_dims
        scores = scores.expand(info.batch_size, *scores.shape) if at is None else scores.movedim(at, 0)
        if mask is not None:
            mask = mask.expand_as(scores) if mask_at is None else mask.movedim(mask_at, 0)
        return assign(scores, mask=mask), 0


def _assign(scores: Tensor, mask: Tensor | None) -> Tensor:
    if scores.dtype in (torch.float16, torch.bfloat16):
        return _assign(scores.float(), mask)
    if mask is not None:
        mask = mask.cpu()
    if not scores.is_cpu:
        return _assign(scores.cpu(), mask).to(scores.device)
    if scores.numel() == 0:
        return torch.full(scores.shape[:-1], UNPLACED)
    return _assign_in_c(scores, mask) if _native.takes(scores) else _assign_with_scipy(scores, mask)


def _assign_in_c(scores: Tensor, mask: Tensor | None) -> Tensor:
    dense = scores.contiguous()
    allowed = None if mask is None else mask.contiguous()
    n, m = dense.shape[-2:]
    answer = torch.empty(dense.shape[:-1], dtype=torch.int64, device="cpu")
    spoilt = ctypes.c_int32(0)
    hidden = None if allowed is None else allowed.data_ptr()
    wide = dense.dtype == torch.float64
    places = (answer.data_ptr(), ctypes.byref(spoilt))
    arguments = (dense.data_ptr(), hidden, dense.numel() // (n * m), n, m, wide, *places)
    _native.call("unshuffle_assign", *arguments, work=dense.numel())
    if spoilt.value:
        _refuse_nan(dense, allowed)
    return answer


def _assign_with_scipy(scores: Tensor, mask: Tensor | None) -> Tensor:
    from scipy.optimize import linear_sum_assignment  # here, so that operators import in a blink

    allowed = scores != -torch.inf if mask is None else mask & (scores != -torch.inf)
    if (scores.isnan() & allowed).any():
        _refuse_nan(scores, mask)
    costs = _costs(scores.double(), allowed).reshape(-1, *scores.shape[-2:])
    answer = torch.full(costs.shape[:-1], UNPLACED)
    for matrix, place in zip(costs.numpy(), answer.numpy()):
        items, positions = linear_sum_assignment(matrix)
        place[items] = positions
    answer = answer.reshape(scores.shape[:-1])
    placed = allowed.gather(-1, answer.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return answer.masked_fill(~placed, UNPLACED)


def _costs(scores: Tensor, allowed: Tensor) -> Tensor:
    """Finite costs: a forbidden pair is dearer than all others together, a certain one worth more than they are."""
    certain = allowed & (scores == torch.inf)
    finite = scores.masked_fill(~allowed | certain, 0.0)
    largest = finite.abs().amax((-2, -1), keepdim=True)
    # A power of two, so that nothing is rounded and no sum overflows.
    scale = torch.ldexp(torch.ones_like(largest), -largest.frexp().exponent.clamp(-1000, 1000))
    bound = torch.where(largest > 0, largest * scale, 1.0)
    pairs = min(scores.shape[-2:])
    reach = 2 * pairs * bound
    costs = torch.where(certain, -reach, -finite * scale)
    forbidden = 2 * pairs * torch.where(certain.any(-1, keepdim=True).any(-2, keepdim=True), reach, bound)
    return torch.where(allowed, costs, forbidden)


def _refuse_nan(scores: Tensor, mask: Tensor | None) -> NoReturn:
    spoilt = scores.isnan() if mask is None else scores.isnan() & mask
    *matrix, row, column = spoilt.nonzero()[0].tolist()
    within = f" of matrix {tuple(matrix)}" if matrix else ""
    raise ValueError(
        f"assign: `scores` must not be NaN where a pair is allowed; got NaN at row {row}, column {column}{within}. "
        f"Mask such pairs, or mend what made the scores (`torch.isnan(scores)` finds all)."
    )
