"""Nearest rows in two passes: products of rounded rows leave few candidates, and those alone are computed exactly.

Rounding to bfloat16 moves a component by at most 2^-9 of itself, so the inner product of two rounded rows of length 1
lies within a known distance of the true one. A row whose rounded product falls short of the k-th largest by twice that
distance cannot be among the k nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unshuffle.evals.selecting import entries, largest, side_by_side

ROUNDING = 2.0**-9
"""Of a number to bfloat16, relative to it."""
_PENDING = 2**21  # candidates kept at a time: 16 MiB
_FEWEST = 2**23  # numbers of a bank below which one pass is as fast


def is_faster(rows: int, columns: int, k: int) -> bool:
    """Whether this processor multiplies bfloat16 numbers itself, and the bank is large enough for it to matter."""
    told = getattr(torch.cpu, "get_capabilities", dict)()
    able = told.get("avx512_bf16", False) or told.get("amx_bf16", False)
    return bool(able) and rows * columns >= _FEWEST and 32 * k <= rows


def nearest(
    tiles: Iterable[tuple[int, Float[Tensor, "t d"]]],
    queries: Float[Tensor, "m d"],
    k: int,
    *,
    products: Callable[[np.ndarray, Tensor], Tensor],
) -> tuple[Int[Tensor, "m k"], Float[Tensor, "m k"]] | None:
    """The k nearest rows of each query, as :func:`~unshuffle.evals.nearest.nearest_rows` returns them.

    Args:
        tiles: the bank in parts, as (number of the first row, rows of length 1 or 0); k rows at least in all.
        queries: of length 1 or 0.
        k: how many.
        products: of rows, by their numbers, and one query; exact ones.

    Returns:
        Index and similarity; None where the rows are so much alike that rounding leaves too many candidates.
    """
    candidates = _candidates(tiles, queries, k)
    if candidates is None:
        return None
    rows, columns = candidates
    parts = columns.split(rows.bincount(minlength=len(queries)).tolist())
    exact = torch.cat([products(mine.numpy(), query) for query, mine in zip(queries, parts)])
    similarity = side_by_side(rows, len(queries), exact, -torch.inf)
    # Candidates stand in the order of the bank: a stable sort leaves the first of equal ones in front.
    similarity, order = similarity.sort(dim=1, descending=True, stable=True)
    index = side_by_side(rows, len(queries), columns, 0).gather(1, order)
    return index[:, :k], similarity[:, :k]


def floor(best: Float[Tensor, "m k"], columns: int) -> Float[Tensor, "m 1"]:
    """What a rounded product must reach for its row to be among the nearest, given k rounded products.

    Every true product lies within ``error`` of the one of rounded rows: two roundings, and the sum's own in float32. So
    the true k-th largest is ``error`` below the smallest of ``best`` at most, and a row above it may have lost as much
    again. Products are rounded once more as they are stored, and so is the floor.
    """
    error = 2 * ROUNDING + ROUNDING**2 + columns * 2.0**-23
    least = best.amin(1, keepdim=True)
    return least - 2 * error - 3.1 * ROUNDING * (least.abs() + 2 * error)


def _candidates(
    tiles: Iterable[tuple[int, Tensor]], queries: Tensor, k: int
) -> tuple[Int[Tensor, "c"], Int[Tensor, "c"]] | None:
    """Queries and bank rows of all pairs that may belong together, by query and then by bank row."""
    rounded, width = queries.bfloat16(), queries.shape[1]
    best = torch.full((len(queries), k), -torch.inf)
    pending: list[tuple[Tensor, Tensor, Tensor]] = []
    seen = 0
    for start, tile in tiles:
        products = rounded @ tile.bfloat16().T
        if seen < k:
            best = largest(torch.cat([best, products.float()], 1), k)
        rows, columns = entries(products >= floor(best, width).bfloat16())
        values = products[rows, columns].float()
        if seen >= k and len(rows):
            best = largest(torch.cat([best, side_by_side(rows, len(best), values, -torch.inf)], 1), k)
        pending.append((rows.to(torch.int16), (columns + start).to(torch.int32), values))
        seen += len(tile)
        if sum(len(part[0]) for part in pending) > _PENDING:
            pending = [_still_possible(pending, floor(best, width))]
            if len(pending[0][0]) > _PENDING // 2:
                return None
    rows, columns, _ = _still_possible(pending, floor(best, width))
    order = torch.from_numpy(np.argsort(rows.numpy(), kind="stable"))
    return rows[order].long(), columns[order].long()


def _still_possible(
    pending: list[tuple[Tensor, Tensor, Tensor]], least: Float[Tensor, "m 1"]
) -> tuple[Tensor, Tensor, Tensor]:
    """All pending candidates in one piece, without those that the floor has risen above."""
    rows, columns, values = (torch.cat(part) for part in zip(*pending))
    kept = values >= least[rows.long(), 0]
    return rows[kept], columns[kept], values[kept]
