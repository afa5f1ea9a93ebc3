"""Differentiable ranking and sorting.

Every operator takes ``(..., n)`` with a ``dim``, any floating dtype and device, and returns ranks counted from 1 in
ascending order. ``ALL`` lists the public operators; the shared contract suite runs over it.
"""

from unshuffle.ops.perturbed import perturbed_rank
from unshuffle.ops.soft_rank import soft_rank, soft_sort

ALL = (soft_rank, soft_sort, perturbed_rank)

__all__ = ["ALL", "perturbed_rank", "soft_rank", "soft_sort"]
