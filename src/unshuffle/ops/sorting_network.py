"""Differentiable sorting networks (Petersen et al., 2021, 2022): sorted values, and the matrix that sorts them.

A sorting network is a fixed list of comparators. Relaxed, a comparator returns two mixtures of what it compares, and
the network a doubly stochastic matrix: a product of sparse ones, which need not be formed to be applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops import _native
from unshuffle.ops.comparators import (
    NETWORKS,
    RELAXATIONS,
    Kind,
    Network,
    Relaxation,
    carry_in_pytorch,
    depth,
    sort_in_pytorch,
)
from unshuffle.ops.permutahedron import SORT, Projection, project

_HARD = len(RELAXATIONS)  # as in _native/comparators.h


class NetworkSort(NamedTuple):
    """What a sorting network makes of a set: ``sorted_values, matrix = sorting_network(values)``."""

    values: Float[Tensor, "..."]
    matrix: Float[Tensor, "*batch n n"]


def sorting_network(
    values: Float[Tensor, "..."],
    *,
    network: Network = "odd_even",
    relaxation: Relaxation = "cauchy",
    steepness: float = 1.0,
    mask: Bool[Tensor, "..."] | None = None,
    dim: int = -1,
) -> NetworkSort:
    r"""Sorts values by a network of soft comparators, and says who went where.

    Each comparator of values a, b on two wires returns, for a sigmoid f and the steepness s,

    .. math:: \min = \alpha a + (1 - \alpha) b, \qquad \max = (1 - \alpha) a + \alpha b, \qquad
              \alpha = f(s (b - a))

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``, in an order that matters: it says who meets whom.
            Infinite ones have no part in the network and stay at the ends, with gradient 0; those at one end share
            their positions.
        network: ``"odd_even"``: n layers in which neighbours meet. ``"bitonic"``: about (log2 n)^2 / 2 layers.
        relaxation: the sigmoid f. With ``"reciprocal"``, ``"cauchy"`` and ``"optimal"``, which have heavy tails, no
            sorted value falls when a value rises; with ``"logistic"``, ``"logistic_phi"`` and ``"gaussian"`` some do.
        steepness: s > 0, in inverse units of ``values``. Large is sharp; infinite is the hard sort, bit for bit: its
            matrix has gradient 0, and each sorted value that of the item which stands there (tied ones share it).
        mask: True where an item is present, broadcast to the shape of ``values``. Those present are sorted as if alone,
            by the network of their number, into their slots in order; masked slots have values, rows and columns of 0.
        dim: the axis of ``values`` that holds the items. The two axes of the matrix are always its last two.

    Returns:
        The softly sorted values with the shape and dtype of ``values``, smallest first; and the matrix (..., n, n),
        items on rows and positions on columns: ``matrix.mT @ values`` are the sorted values. Its rows and columns sum
        to 1. A set that holds NaN is NaN whole, with gradient 0. Time O(n^2) a layer.

    Raises:
        TypeError: ``values`` is not floating point, or ``mask`` not boolean.
        ValueError: an unknown network or relaxation, a steepness that is not positive, a mask of another shape, or no
            such axis.

    Example:
        >>> import torch
        >>> ordered, matrix = sorting_network(torch.tensor([5.0, 1.0, 2.0]), steepness=1000.0)
        >>> ordered.round(decimals=1), matrix.round(decimals=1)
        (tensor([1., 2., 5.]), tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]]))

    Source: Petersen, Borgelt, Kuehne & Deussen, "Differentiable Sorting Networks for Scalable Sorting and Ranking
    Supervision", ICML 2021 (logistic, logistic_phi), and "Monotonic Differentiable Sorting Networks", ICLR 2022 (the
    others).
    """
    kind = _check_arguments("sorting_network", values, network, relaxation, steepness, mask, dim)
    mask = None if mask is None else mask.expand_as(values).movedim(dim, -1)
    ordered, matrix = _sort(values.movedim(dim, -1), mask, kind)
    return NetworkSort(ordered.movedim(-1, dim), matrix)


def sorting_network_apply(
    values: Float[Tensor, "..."],
    vectors: Float[Tensor, "... n d"],
    *,
    vectors_of: Literal["items", "positions"] = "items",
    network: Network = "odd_even",
    relaxation: Relaxation = "cauchy",
    steepness: float = 1.0,
    mask: Bool[Tensor, "..."] | None = None,
    dim: int = -1,
) -> Float[Tensor, "... n d"]:
    r"""Multiplies vectors with the matrix of :func:`sorting_network`, which is never formed.

    .. math:: P^\top V \;\text{(of items)}, \qquad P V \;\text{(of positions)}

    Vectors ride through the network beside their items, or from their positions back; a layer costs O(n d).

    Args:
        values: (..., n, ...) real numbers, as there.
        vectors: (..., n, d) real numbers; its axes before the last two broadcast with those of ``values`` other than
            ``dim``, as in matmul. What lies at masked slots does not matter.
        vectors_of: ``"items"``: row i belongs to item i, and the answer says what arrives at each position.
            ``"positions"``: row k belongs to position k, and the answer says what each item gets from where it stands:
            with an indicator of some positions, the belief that it stands at one of these.
        network: as there.
        relaxation: as there.
        steepness: as there.
        mask: as there. Masked slots of the answer are 0.
        dim: the axis of ``values`` that holds the items. In ``vectors`` it is always the last but one.

    Returns:
        (..., n, d) in the dtype that ``values`` and ``vectors`` have together. A set that holds NaN is NaN whole, with
        gradient 0.

    Raises:
        TypeError: ``values`` or ``vectors`` is not floating point, or ``mask`` not boolean.
        ValueError: as there; or ``vectors`` does not fit ``values``.

    Example:
        >>> import torch
        >>> scores, letters = torch.tensor([5.0, 1.0, 2.0]), torch.tensor([[50.0], [10.0], [20.0]])
        >>> sorting_network_apply(scores, letters, steepness=1000.0).round(decimals=1)
        tensor([[10.],
                [20.],
                [50.]])
        >>> first_two = torch.tensor([[1.0], [1.0], [0.0]])
        >>> sorting_network_apply(scores, first_two, vectors_of="positions", steepness=1000.0).round(decimals=1)
        tensor([[0.],
                [1.],
                [1.]])

    Source: as there; sums over positions as in Shvetsova et al., "Learning by Sorting: Self-supervised Learning with
    Group Ordering Constraints", ICCV 2023, equation 5.
    """
    kind = _check_arguments("sorting_network_apply", values, network, relaxation, steepness, mask, dim)
    _check.floating("sorting_network_apply", "vectors", vectors)
    _check.one_of("sorting_network_apply", "vectors_of", vectors_of, ("items", "positions"))
    mask = None if mask is None else mask.expand_as(values).movedim(dim, -1)
    values = values.movedim(dim, -1)
    batch = _batch_of_both(values, vectors)
    dtype = torch.promote_types(values.dtype, vectors.dtype)
    values, vectors = values.expand(*batch, -1).to(dtype), vectors.expand(*batch, -1, -1).to(dtype)
    mask = None if mask is None else mask.expand_as(values)
    return _carry(values, vectors, mask, kind, vectors_of == "positions")


def _check_arguments(
    function: str, values: Tensor, network: str, relaxation: str, steepness: float, mask: Tensor | None, dim: int
) -> Kind:
    _check.floating(function, "values", values)
    _check.one_of(function, "network", network, NETWORKS)
    _check.one_of(function, "relaxation", relaxation, RELAXATIONS)
    _check.positive(function, "steepness", steepness)
    _check.axis(function, values, dim, of="values")
    if mask is not None:
        _check.mask(function, mask, "values", values)
    return Kind(network, relaxation, float(steepness))  # pyright: ignore[reportArgumentType]


def _batch_of_both(values: Tensor, vectors: Tensor) -> torch.Size:
    """The batch axes of ``values`` (..., n) and ``vectors`` (..., n, d), broadcast."""
    n = values.shape[-1]
    try:
        if vectors.ndim < 2 or vectors.shape[-2] != n:
            raise ValueError
        return torch.broadcast_shapes(values.shape[:-1], vectors.shape[:-2])
    except (ValueError, RuntimeError):
        raise ValueError(
            f"sorting_network_apply: `vectors` must be (..., n, d) with n = {n} as in `values`, and axes before that "
            f"which broadcast with {tuple(values.shape[:-1])}; got {tuple(vectors.shape)}. For one number an item or "
            f"position call `vectors.unsqueeze(-1)`."
        ) from None


# ------------------------------------------------------------------------------------------------------ two paths


def _sort(values: Tensor, mask: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor]:
    """Sorted values and matrices of sets on the last axis."""
    if values.dtype in (torch.float16, torch.bfloat16):
        ordered, matrix = _sort(values.double(), mask, kind)
        return ordered.to(values.dtype), matrix.to(values.dtype)
    if _native.takes(values):
        ordered, matrix = _NativeSort.apply(values, mask, kind)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        ordered, matrix = _sort_anywhere(values, mask, kind)
    return (_exactly(ordered, values, mask) if math.isinf(kind.steepness) else ordered), matrix


def _exactly(ordered: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """The hard sort of the values, bit for bit, with the derivative of ``ordered``, which rounding has touched."""
    hard = project("sorting_network", values.detach(), mask, Projection(SORT, False, 0.0, -1.0), -1)
    return torch.where(hard.isfinite(), ordered + (hard - ordered).detach(), hard)


def _sort_anywhere(values: Tensor, mask: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor]:
    if values.numel() == 0:
        return values.clone(), values.unsqueeze(-1) * values.unsqueeze(-2)
    *batch, n = values.shape
    rows, hidden = values.reshape(-1, n), None if mask is None else mask.reshape(-1, n)
    ordered, matrix = sort_in_pytorch(rows, hidden, kind)
    return ordered.reshape(values.shape).to(values.dtype), matrix.reshape(*batch, n, n).to(values.dtype)


def _carry(values: Tensor, vectors: Tensor, mask: Tensor | None, kind: Kind, of_positions: bool) -> Tensor:
    """Vectors of items (..., n, d) to positions, or back, by values (..., n) of the same batch and dtype."""
    if values.dtype in (torch.float16, torch.bfloat16):
        return _carry(values.double(), vectors.double(), mask, kind, of_positions).to(values.dtype)
    if _native.takes(values) and _native.takes(vectors):
        answer = _NativeCarry.apply(values, vectors, mask, kind, of_positions)
        assert isinstance(answer, Tensor)  # `apply` has no return type
        return answer
    return _carry_anywhere(values, vectors, mask, kind, of_positions)


def _carry_anywhere(values: Tensor, vectors: Tensor, mask: Tensor | None, kind: Kind, of_positions: bool) -> Tensor:
    if vectors.numel() == 0:
        return vectors + 0 * values.unsqueeze(-1)
    n, d = vectors.shape[-2:]
    rows, hidden = values.reshape(-1, n), None if mask is None else mask.reshape(-1, n)
    answer = carry_in_pytorch(rows, vectors.reshape(-1, n, d), hidden, kind, of_positions)
    return answer.reshape(vectors.shape).to(vectors.dtype)


class _NativeSort(torch.autograd.Function):
    """Values and derivatives by ``_native/network.c``; second derivatives by PyTorch."""

    @staticmethod
    def forward(ctx, values: Tensor, mask: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor]:
        rows = _native.Layout(values, -1)
        hidden = None if mask is None else rows.dense(mask, -1)
        ordered, matrix = rows.empty(), torch.empty((*values.shape, rows.n), dtype=values.dtype, device="cpu")
        arguments = (*rows.arguments(hidden), *_codes(kind), ordered.data_ptr(), matrix.data_ptr())
        _native.call("unshuffle_network_sort", *arguments, work=_work(kind, rows, rows.n))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(values, mask)
            ctx.kind = kind
            ctx.set_materialize_grads(False)
        return ordered, matrix

    @staticmethod
    def backward(ctx, *slopes: Tensor | None):  # pyright: ignore[reportIncompatibleMethodOverride]
        values, mask = ctx.saved_tensors
        kind = ctx.kind
        if not _plain(*slopes):
            return *_slopes_in_pytorch(lambda v: _sort_anywhere(v, mask, kind), (values,), (True,), slopes), None, None
        rows = _native.Layout(values, -1)
        hidden = None if mask is None else rows.dense(mask, -1)
        out = rows.empty()
        dense = [None if slope is None else slope.contiguous() for slope in slopes]
        places = (None if slope is None else slope.data_ptr() for slope in dense)
        arguments = (*rows.arguments(hidden), *_codes(kind), *places, out.data_ptr())
        _native.call("unshuffle_network_sort_slope", *arguments, work=3 * _work(kind, rows, rows.n))
        return out, None, None


class _NativeCarry(torch.autograd.Function):
    """Carried vectors and derivatives by ``_native/network.c``; second derivatives by PyTorch."""

    @staticmethod
    def forward(ctx, values: Tensor, vectors: Tensor, mask: Tensor | None, kind: Kind, of_positions: bool) -> Tensor:
        rows, vectors = _native.Layout(values, -1), vectors.contiguous()
        hidden = None if mask is None else rows.dense(mask, -1)
        out, d = torch.empty_like(vectors), vectors.shape[-1]
        arguments = (*rows.arguments(hidden), *_codes(kind), d, of_positions, vectors.data_ptr(), out.data_ptr())
        _native.call("unshuffle_network_carry", *arguments, work=_work(kind, rows, d))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(values, vectors, mask)
            ctx.kind, ctx.of_positions = kind, of_positions
        return out

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        values, vectors, mask = ctx.saved_tensors
        kind, of_positions, wanted = ctx.kind, ctx.of_positions, ctx.needs_input_grad[:2]
        if not _plain(slope):

            def again(values: Tensor, vectors: Tensor) -> tuple[Tensor]:
                return (_carry_anywhere(values, vectors, mask, kind, of_positions),)

            return *_slopes_in_pytorch(again, (values, vectors), wanted, (slope,)), None, None, None
        rows, slope = _native.Layout(values, -1), slope.contiguous()
        hidden = None if mask is None else rows.dense(mask, -1)
        by_values = rows.empty() if wanted[0] else None
        by_vectors, d = torch.empty_like(vectors), vectors.shape[-1]
        places = (vectors, slope, by_values, by_vectors)
        arguments = (*rows.arguments(hidden), *_codes(kind), d, of_positions)
        pointers = (None if place is None else place.data_ptr() for place in places)
        _native.call("unshuffle_network_carry_slope", *arguments, *pointers, work=3 * _work(kind, rows, d))
        return by_values, by_vectors, None, None, None


def _codes(kind: Kind) -> tuple[int, int, float]:
    relaxation = _HARD if math.isinf(kind.steepness) else RELAXATIONS.index(kind.relaxation)
    return NETWORKS.index(kind.network), relaxation, kind.steepness


def _work(kind: Kind, rows: _native.Layout, width: int) -> int:
    """How much a call does, in the items of other operators."""
    return rows.rows * rows.n * depth(kind.network, rows.n) * (8 + width) // 32


def _plain(*slopes: Tensor | None) -> bool:
    return not torch.is_grad_enabled() and all(slope is None or _native.takes(slope) for slope in slopes)


def _slopes_in_pytorch(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    slopes: tuple[Tensor | None, ...],
) -> tuple[Tensor | None, ...]:
    """As ``_native.slope_in_pytorch``, for several inputs and answers."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        at = inputs if again else tuple(value.detach().requires_grad_() for value in inputs)
        asked = [value for value, wish in zip(at, wanted) if wish]
        known = [(answer, slope) for answer, slope in zip(function(*at), slopes) if slope is not None]
        answers, steep = zip(*known)
        found = iter(torch.autograd.grad(answers, asked, steep, create_graph=again))
    return tuple(next(found) if wish else None for wish in wanted)
