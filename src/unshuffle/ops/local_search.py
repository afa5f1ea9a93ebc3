"""Hard placements of low neighbour cost, by moves of whole blocks.

What mean-field steps get wrong is seldom one item: a part of the picture is right in itself and stands a row too low,
or two halves are exchanged. So a move exchanges two blocks of equal size, or rolls a line, a band of lines or the whole
lattice; and the best move of all is made until none helps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unshuffle import _check
from unshuffle.ops.neighbours import check_neighbours

_BLOCK = 2**22
"""Entries of a block of costs: placements are tried so many at a time."""
_MOST_MOVES = 2**12
"""On lattices with more moves, only the smaller blocks are exchanged: single items at least."""


def settle_neighbours(
    costs: Float[Tensor, "*batch axes n n"],
    shape: Sequence[int],
    start: Int[Tensor, "*batch n"],
    places: Float[Tensor, "*batch n n"] | None = None,
    *,
    most: int = 100,
) -> Int[Tensor, "*batch n"]:
    """Lowers the :func:`~unshuffle.ops.neighbour_cost` of a hard placement until no single move lowers it further.

    Args:
        costs: (..., axes, n, n), ``costs[..., a, i, j]`` for placing item j right behind item i along axis a.
        shape: of the lattice, (rows, columns) or any other, with n places.
        start: (..., n), the position of each item, as of :func:`~unshuffle.ops.assign`.
        places: (..., n, n), ``places[..., i, k]`` for placing item i at position k. None: nothing.
        most: moves at the most.

    Returns:
        (..., n), the position of each item: never dearer than ``start``. Where a cost is not finite, ``start``.

    Raises:
        TypeError: ``costs`` or ``places`` is not floating point, or ``start`` not of integers.
        ValueError: ``shape`` has not n places, shapes do not fit, or ``start`` is no permutation.

    Example:
        >>> import torch
        >>> costs = torch.full((1, 4, 4), 9.0)
        >>> costs[0, 2, 0] = costs[0, 0, 3] = costs[0, 3, 1] = 0.0  # 2, 0, 3, 1 follow each other
        >>> settle_neighbours(costs, (4,), torch.arange(4)).argsort()
        tensor([2, 0, 3, 1])
    """
    check_neighbours("settle_neighbours", costs, shape, places=places)
    most = _check.count("settle_neighbours", "most", most, least=0)
    _check.integral("settle_neighbours", "start", start)
    if start.shape != costs[..., 0, :, 0].shape:
        raise ValueError(
            f"settle_neighbours: `start` must be (..., n), a position for each item of `costs` {tuple(costs.shape)}; "
            f"got {tuple(start.shape)}."
        )
    _check.permutation("settle_neighbours", "start", start)
    n, axes = costs.shape[-1], len(shape)
    tables = costs.detach().reshape(-1, axes * n * n).double()
    own = torch.zeros_like(tables[:, : n * n]) if places is None else places.detach().reshape(-1, n * n).double()
    order = start.long().reshape(-1, n).argsort(-1)
    whole = tables.isfinite().all(-1) & own.isfinite().all(-1)
    search = _Search(torch.cat([tables, own], -1), tuple(shape))
    order[whole] = search.descend(whole.nonzero().squeeze(-1), order[whole], most)
    return order.argsort(-1).reshape(start.shape)


class _Search:
    """Placements of several sets, as orders (b, n): the item at each place."""

    def __init__(self, tables: Tensor, shape: tuple[int, ...]) -> None:
        self.tables, self.n = tables, math.prod(shape)
        self.moves = moves(shape).to(tables.device)
        pairs = [_behind(shape, axis) for axis in range(len(shape))]
        self.first = torch.cat([first for first, _ in pairs]).to(tables.device)
        self.second = torch.cat([second for _, second in pairs]).to(tables.device)
        offsets = [torch.full_like(first, axis) for axis, (first, _) in enumerate(pairs)]
        self.table = torch.cat(offsets).to(tables.device) * self.n**2
        self.own = torch.arange(self.n, device=tables.device) + len(shape) * self.n**2

    def descend(self, sets: Tensor, order: Tensor, most: int) -> Tensor:
        """The orders after the best moves of all, one after the other."""
        order, active = order.clone(), torch.arange(len(order), device=order.device)
        room = max(1, _BLOCK // max(1, len(self.moves) * (len(self.first) + self.n)))
        for _ in range(most):
            still = [part[self._improved(sets[part], order, part)] for part in active.split(room)]
            active = torch.cat(still) if still else active
            if not len(active):
                break
        return order

    def _improved(self, sets: Tensor, order: Tensor, part: Tensor) -> Tensor:
        """Moves some orders, in place, and says which were moved."""
        tried = torch.cat([order[part].unsqueeze(1), order[part][:, self.moves]], 1)
        found = self._costs(sets, tried)
        lowest, chosen = found.min(1)
        better = lowest < found[:, 0] - 1e-9 * found[:, 0].abs().clamp_min(1.0)
        order[part[better]] = tried[better, chosen[better]]
        return better

    def _costs(self, sets: Tensor, order: Tensor) -> Tensor:
        """Of orders (b, m, n)."""
        beside = self.table + order[..., self.first] * self.n + order[..., self.second]
        entries = torch.cat([beside, self.own + order * self.n], -1)
        return self.tables[sets].gather(1, entries.flatten(1)).view(entries.shape).sum(-1)


@functools.lru_cache(maxsize=16)
def moves(shape: tuple[int, ...]) -> Int[Tensor, "m n"]:
    """The moves on a lattice, (m, n): the place from which each place is filled."""
    n = math.prod(shape)
    places = torch.arange(n).reshape(shape)
    found = {tuple(moved.flatten().tolist()) for moved in _rolls(places)}
    for size in sorted(product(*(range(1, length + 1) for length in shape)), key=math.prod):
        more = {tuple(moved.flatten().tolist()) for moved in _exchanges(places, size)}
        if math.prod(size) > 1 and len(found) + len(more) > _MOST_MOVES:
            break
        found |= more
    found.discard(tuple(range(n)))
    return torch.tensor(sorted(found), dtype=torch.long).reshape(-1, n)


def _exchanges(places: Tensor, size: tuple[int, ...]) -> Iterator[Tensor]:
    """Two blocks of this size change places."""
    corners = list(product(*(range(length - side + 1) for length, side in zip(places.shape, size))))
    for index, corner in enumerate(corners):
        for other in corners[index + 1 :]:
            if all(abs(a - b) < side for a, b, side in zip(corner, other, size)):
                continue  # they overlap
            here, there = (tuple(slice(a, a + side) for a, side in zip(at, size)) for at in (corner, other))
            moved = places.clone()
            moved[here], moved[there] = places[there], places[here]
            yield moved


def _rolls(places: Tensor) -> Iterator[Tensor]:
    """Bands of lines, from one line to the whole lattice, rolled along themselves or a part of themselves."""
    spans = [[(a, b) for a in range(length) for b in range(a + 1, length + 1)] for length in places.shape]
    for axis, length in enumerate(places.shape):
        for box in product(*spans):
            by = box[axis][1] - box[axis][0]
            if by < length and any(b - a > 1 for other, (a, b) in enumerate(box) if other != axis):
                continue  # a part of one line, or the whole of several
            part = tuple(slice(a, b) for a, b in box)
            for steps in range(1, by):
                moved = places.clone()
                moved[part] = places[part].roll(steps, axis)
                yield moved


def _behind(shape: Sequence[int], axis: int) -> tuple[Tensor, Tensor]:
    """The places that have one right behind them along an axis, and those behind."""
    places = torch.arange(math.prod(shape)).reshape(tuple(shape))
    return tuple(places.narrow(axis, at, shape[axis] - 1).flatten() for at in (0, 1))  # type: ignore[return-value]
