"""Gradients for solvers that have none (Vlastelica et al., 2020), and for ranking (Rolínek et al., 2020).

The answer is the solver's own, hard. The gradient is a finite difference: how the answer changes when the scores are
moved, by a finite step, against the gradient that comes in. It costs one more call of the solver.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle.permutations import to_ranks


def blackbox(solver: Callable[[Tensor], Tensor], *, interpolation: float) -> Callable[[Tensor], Tensor]:
    r"""Gives a combinatorial solver a gradient, and leaves its answers as they are.

    For a solver of :math:`y(\theta) = \arg\max_y \langle y, \theta \rangle` and an incoming gradient g,

    .. math:: \nabla_\theta = \frac1\lambda \big[ y(\theta) - y(\theta - \lambda g) \big]

    This is the gradient of a piecewise affine interpolation of the loss. It is not linear in g, so it is no Jacobian.

    Args:
        solver: maps scores to the best solution for them, of the same shape; no derivative of it is taken. Whatever
            leading axes it is to be called with are its own to handle. A minimiser of a cost is the maximiser
            ``lambda scores: minimiser(-scores)``, to be called with the negated cost.
        interpolation: :math:`\lambda > 0`, in the units of the scores per unit of the incoming gradient. Small follows
            the loss closely and is zero almost everywhere; large is informative and coarse.

    Returns:
        A function of floating scores (..., n, ...) that gives the solver's answer in their dtype. Half precision is
        handed to the solver as float32. It has no second and no forward-mode derivative. Under ``torch.func.vmap``
        the mapped axis is handed to the solver as a further leading one; under ``torch.compile`` the solver is
        traced, and must be traceable.

    Raises:
        ValueError: ``interpolation`` is not positive; on a call, the answer has another shape than the scores.
        TypeError: on a call, the scores are not floating point.
        RuntimeError: on asking for a second derivative.

    Example:
        >>> def best_of(scores):
        ...     return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])
        >>> scores = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
        >>> choice = blackbox(best_of, interpolation=2.0)(scores)
        >>> choice @ torch.tensor([0.0, 1.0, 0.0])  # a loss: item 1 is the wrong one to choose
        tensor(1., grad_fn=<DotBackward0>)
        >>> (choice @ torch.tensor([0.0, 1.0, 0.0])).backward()
        >>> scores.grad  # the descent lowers item 1 and raises item 2, the runner-up
        tensor([ 0.0000,  0.5000, -0.5000])

    Source: Vlastelica, Paulus, Musil, Martius & Rolínek, "Differentiation of Blackbox Combinatorial Solvers", ICLR
    2020, Algorithm 1 (which minimises).
    """
    _check.function_of("blackbox", "solver", solver)
    _check.positive("blackbox", "interpolation", interpolation)

    def solve(scores: Tensor) -> Tensor:
        _check.floating("blackbox", "scores", scores, meta=True)
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        answer = _Hard.apply(wide, solver, interpolation)
        assert isinstance(answer, Tensor)  # `apply` has no return type
        return answer.to(scores.dtype)

    return solve


def blackbox_rank(scores: Float[Tensor, "..."], *, interpolation: float = 1.0, dim: int = -1) -> Float[Tensor, "..."]:
    r"""Ranks scores exactly, ascending from 1, with a gradient for training.

    .. math:: r(\theta) = \arg\max_{y \in \mathcal{P}(1, \dots, n)} \langle y, \theta \rangle, \qquad
              \nabla_\theta = \frac1\lambda \big[ r(\theta) - r(\theta - \lambda g) \big]

    where g is the gradient that comes in from the loss.

    Args:
        scores: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end ranks, with gradient 0.
        interpolation: :math:`\lambda > 0`, in the units of ``scores`` per unit of the incoming gradient: a step of
            lambda times g must carry items past each other for the gradient to be other than zero.
        dim: the axis that holds the items.

    Returns:
        Hard ranks with the shape and dtype of ``scores``, tied items sharing their average. A set that holds NaN is
        NaN whole, with gradient 0. There is no second and no forward-mode derivative.

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: ``interpolation`` is not positive, or there is no such axis.
        RuntimeError: on asking for a second derivative.

    Example:
        >>> scores = torch.tensor([5.0, 1.0, 2.0], requires_grad=True)
        >>> ranks = blackbox_rank(scores, interpolation=2.0)
        >>> ranks
        tensor([3., 1., 2.], grad_fn=<MaskedFillBackward0>)
        >>> ranks[1].neg().backward()  # item 1 is to rank higher: two units up, it passes item 2
        >>> scores.grad
        tensor([ 0.0000, -0.5000,  0.5000])

    Source: Rolínek, Musil, Paulus, Vlastelica, Michaelis & Martius, "Optimizing Rank-Based Metrics with Blackbox
    Differentiation", CVPR 2020.
    """
    _check.floating("blackbox_rank", "scores", scores, meta=True)
    _check.positive("blackbox_rank", "interpolation", interpolation)
    _check.axis("blackbox_rank", scores, dim, of="scores")
    spoilt = scores.isnan().any(dim=dim, keepdim=True)
    last = scores.masked_fill(spoilt, 0.0).movedim(dim, -1)
    ranks = blackbox(to_ranks, interpolation=interpolation)(last)
    return ranks.movedim(-1, dim).masked_fill(spoilt, torch.nan)


class _Hard(torch.autograd.Function):
    """The solver's answer; its gradient is a :class:`_Difference`."""

    @staticmethod
    def forward(scores: Tensor, solver: Callable[[Tensor], Tensor], interpolation: float) -> Tensor:
        return _solved(solver, scores)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        scores, ctx.solver, ctx.interpolation = inputs
        ctx.save_for_backward(scores, output)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        scores, answer = ctx.saved_tensors
        return _Difference.apply(scores, answer, gradients[0], ctx.solver, ctx.interpolation), None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        scores, *options = args
        return _Hard.apply(scores.movedim(in_dims[0], 0), *options), 0


class _Difference(torch.autograd.Function):
    """The step from the answer to that of moved scores; a function of its own, whose derivative is the second one."""

    @staticmethod
    def forward(scores: Tensor, answer: Tensor, gradient: Tensor, solver, interpolation: float) -> Tensor:
        return (answer - _solved(solver, scores - interpolation * gradient)) / interpolation

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        raise RuntimeError(
            "blackbox: there is no second derivative: the first one is a difference of two solutions, constant almost "
            "everywhere. Differentiate once, or rank with `soft_rank` or `perturbed_rank`."
        )

    @staticmethod
    def vmap(info, in_dims, *args):
        leading = [
            tensor.expand(info.batch_size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
            for tensor, axis in zip(args[:3], in_dims)
        ]
        return _Difference.apply(*leading, *args[3:]), 0


def _solved(solver: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    """The solver's answer, checked, in the dtype of the scores."""
    answer = solver(scores)
    if answer.shape != scores.shape:
        raise ValueError(
            f"blackbox: `solver` must return the shape of its scores, {tuple(scores.shape)}; "
            f"got {tuple(answer.shape)}. Write its solution as one number an entry, such as an indicator."
        )
    return answer.to(scores.dtype)
