"""Picking a few entries out of the rows of a matrix, and setting what was picked side by side again."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


def entries(chosen: Bool[Tensor, "m n"]) -> tuple[Int[Tensor, "c"], Int[Tensor, "c"]]:
    """Rows and columns of what is true, row by row."""
    # Where few are true numpy finds them several times sooner than torch.nonzero does.
    flat = torch.from_numpy(np.flatnonzero(chosen.numpy()))
    rows = flat // max(1, chosen.shape[1])
    return rows, flat - rows * chosen.shape[1]


def side_by_side(rows: Int[Tensor, "c"], count: int, values: Shaped[Tensor, "c"], fill: float) -> Shaped[Tensor, "m w"]:
    """Entries with ascending ``rows`` as a matrix of ``count`` rows, each from the left, filled up on the right."""
    each = rows.bincount(minlength=count)
    place = torch.arange(len(rows)) - (each.cumsum(0) - each)[rows]
    width = int(each.max()) if len(rows) else 0
    matrix = torch.full((count, width), fill, dtype=values.dtype)
    matrix[rows, place] = values
    return matrix


def kth_largest(values: Float[Tensor, "m n"], k: int) -> Float[Tensor, "m 1"]:
    """The k-th largest of each row, or the least where there are no k."""
    # numpy's partition is vectorised: ten times as fast as PyTorch's on a processor.
    place = max(0, values.shape[1] - k)
    return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place, None])


def largest(values: Float[Tensor, "m n"], k: int) -> Float[Tensor, "m k"]:
    """The k largest of each row in any order, or all where there are no k."""
    place = max(0, values.shape[1] - k)
    return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place:])
