"""The rows of a bank that are most like each query, exactly, in a memory that does not grow with the bank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from unshuffle import _check
from unshuffle.evals import scaling, screening
from unshuffle.evals.selecting import entries, kth_largest, side_by_side

# Queries at a time, and values of the bank at a time: with 512 features 2,048 rows, 8 MiB of similarities.
_QUERIES, _BANK_VALUES, _MOST_ROWS, _HELD = 1024, 2**20, 2048, 2**20


class Nearest(NamedTuple):
    """Of each query the rows most like it, best first: which they are, (m, k), and their cosine similarities."""

    index: Int[np.ndarray, "m k"]  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    similarity: Float[np.ndarray, "m k"]


def nearest_rows(
    features: Num[np.ndarray, "n d"],
    test_features: Num[np.ndarray, "m d"],
    *,
    k: int,
    screen: bool | None = None,
) -> Nearest:
    """Finds the k rows of a bank with the largest cosine similarity to each query.

    Similarities are inner products of normalised rows in float32; of equal ones the row with the smaller index comes
    first. They are computed tile by tile, and of each tile only those above the k-th best so far are looked at again.

    Where the processor multiplies bfloat16 numbers in hardware, that happens in two passes: products of rounded rows
    tell, with a proven bound on what rounding may change, which few rows can be among the nearest, and those alone
    are computed in float32. The answer is the same, three times sooner.

    Args:
        features: (n, d) of the bank, in any type. A zero row is similar to nothing (0), not NaN.
        test_features: (m, d) of the queries.
        k: how many; all rows where there are fewer.
        screen: take two passes; None: where that is faster.

    Returns:
        ``index`` (m, k) int64 and ``similarity`` (m, k) float32.

    Raises:
        ValueError: shapes do not fit, there are no rows, or ``k`` is not positive.

    Example:
        >>> bank = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> nearest_rows(bank, np.array([[2.0, 0.1]]), k=2).index
        array([[0, 2]])
    """
    _check.positive("nearest_rows", "k", k)
    refuse_shapes("nearest_rows", features, test_features)
    k = min(k, len(features))
    step = max(1, min(_QUERIES, _HELD // (10 * k)))
    if screen is None:
        screen = screening.is_faster(len(features), features.shape[1], k)
    bank, queries = as_bank(features), as_bank(test_features)
    found = [
        _nearest(bank, _real(queries.rows[i : i + step]) / queries.lengths[i : i + step, None], k, screen)
        for i in range(0, len(test_features), step)
    ]
    if not found:
        return Nearest(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    index, similarity = (torch.cat(part).numpy() for part in zip(*found))
    return Nearest(index, similarity)


def refuse_shapes(function: str, features: np.ndarray, test_features: np.ndarray) -> None:
    """Refuses a bank and queries that do not fit each other, and an empty bank."""
    if features.ndim != 2 or test_features.ndim != 2 or features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"{function}: `features` and `test_features` must be (n, d) and (m, d) with one d; got "
            f"{features.shape} and {test_features.shape}. Flatten each sample to one row first."
        )
    if len(features) == 0:
        raise ValueError(f"{function}: `features` must hold at least one row; got {features.shape}.")


class Bank(NamedTuple):
    """Rows to search and their lengths (n,) in float32; that of a row of zeros is 1."""

    rows: np.ndarray
    lengths: Tensor

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Parts that fit the cache, as (number of the first row, rows of length 1)."""
        step = max(1, min(_MOST_ROWS, _BANK_VALUES // max(1, self.rows.shape[1])))
        for start in range(0, len(self.rows), step):
            yield start, _real(self.rows[start : start + step]) / self.lengths[start : start + step, None]

    def products(self, index: np.ndarray, query: Tensor) -> Tensor:
        """Cosine similarities of some rows to one query of length 1."""
        return (_real(self.rows[index]) @ query) / self.lengths[index]


def as_bank(rows: np.ndarray) -> Bank:
    """Rows of any type with their lengths. Very long and very short ones are scaled: only directions count.

    Raises:
        TypeError: the rows are not real numbers.
        ValueError: a number is not finite.
    """
    if rows.dtype.kind not in "fiub":
        raise TypeError(f"nearest_rows: features must be real numbers; got dtype {rows.dtype}.")
    step = max(1, _BANK_VALUES // max(1, rows.shape[1]))
    parts = [torch.linalg.vector_norm(_real(rows[i : i + step]), dim=1) for i in range(0, len(rows), step)]
    lengths = torch.cat(parts) if parts else torch.empty(0)
    unusual = np.flatnonzero(~((lengths > 2.0**-scaling.SAFE) & (lengths < 2.0**scaling.SAFE)).numpy())
    if len(unusual):  # rows of zeros among them
        powers = np.zeros((len(rows), 1), dtype=np.int64)
        powers[unusual] = scaling.exponents(rows[unusual])
        rows = scaling.scaled(rows, powers)
        lengths[unusual] = torch.linalg.vector_norm(_real(rows[unusual]), dim=1)
    if not lengths.isfinite().all():
        wrong = int(lengths.isfinite().int().argmin())
        raise ValueError(f"nearest_rows: features must be finite; row {wrong} is not.")
    return Bank(rows, lengths.masked_fill_(lengths == 0, 1))


def _real(rows: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # what overflows is scaled, see `as_bank`
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))


def _nearest(bank: Bank, queries: Tensor, k: int, screen: bool) -> tuple[Tensor, Tensor]:
    """Index and similarity, (m, k), for a handful of queries of length 1."""
    found = screening.nearest(bank.tiles(), queries, k, products=bank.products) if screen else None
    return _streamed(bank, queries, k) if found is None else found


def _streamed(bank: Bank, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One pass in float32, the k best so far being carried from tile to tile."""
    index = torch.empty(len(queries), 0, dtype=torch.int64)
    similarity = torch.empty(len(queries), 0)
    for start, tile in bank.tiles():
        new = queries @ tile.T
        # An equal one comes later in the bank, so it stands behind: only what is above matters.
        full = similarity.shape[1] == k
        rows, columns = entries(new > similarity[:, -1:] if full else new >= kth_largest(new, k))
        if not len(rows):
            continue
        added = side_by_side(rows, len(new), new[rows, columns], -torch.inf)
        similarity, order = torch.cat([similarity, added], 1).sort(dim=1, descending=True, stable=True)
        index = torch.cat([index, side_by_side(rows, len(new), columns + start, 0)], 1).gather(1, order)
        index, similarity = index[:, :k], similarity[:, :k]
    return index, similarity
