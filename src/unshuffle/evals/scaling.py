"""Features of any magnitude, brought into the range in which float32 squares neither overflow nor vanish.

Factors are powers of two, so that nothing is rounded; features of usual size come back as they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Num

SAFE = 40
"""Magnitudes from 2^-40 to 2^40 are left alone: sums of a million squares fit float32."""


def exponents(rows: Num[np.ndarray, "n d"]) -> Int[np.ndarray, "n 1"]:
    """Power of two of each row's largest magnitude; 0 where float32 can square it, and where it is not finite."""
    largest = np.abs(rows.astype(np.float64, copy=False)).max(axis=1, keepdims=True, initial=0.0)
    powers = np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1]
    return np.where(np.abs(powers) > SAFE, powers, 0)


def scaled(rows: Num[np.ndarray, "n d"], powers: Int[np.ndarray, "_ 1"]) -> Num[np.ndarray, "n d"]:
    """Rows divided by two to the given powers; the array itself where all powers are 0."""
    if not powers.any():
        return rows
    return np.ldexp(rows.astype(np.float64, copy=False), -powers)
