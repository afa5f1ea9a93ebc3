"""How exactly numbers are sorted: sets of many sizes from many intervals, every number in its place or not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unshuffle import _check
from unshuffle.data.numbers import Numbers
from unshuffle.evals.results import Stamp
from unshuffle.methods.arrangers import Arranger, size_of
from unshuffle.types import Result

INTERVALS = ((0, 1), (0, 10), (0, 1000), (1, 2), (10, 11), (100, 101), (1000, 1001))
"""Source: Zhang et al. 2019, appendix F.1, after Mena et al. 2018."""
SIZES = (5, 10, 15, 80, 100, 120)
AT_ONCE = 1 << 17
"""Pairs of numbers that are compared at a time, at the most."""


@torch.no_grad()
def exactly_sorted(
    net: Arranger, numbers: Numbers, count: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Which of ``count`` sets are sorted without a mistake, once every number is given its one place.

    Args:
        net: a network that arranges numbers.
        numbers: which sets.
        count: how many.
        seed: of the sets.
        dtype: of the numbers and of all arithmetic. In float32 the numbers of an interval such as [1000, 1001] are too
            few to tell large sets apart.

    Returns:
        (count,) booleans. Equal numbers may stand in either order.

    Raises:
        ValueError: the network arranges sets of another size.
    """
    _check.positive("exactly_sorted", "count", count)
    size = size_of(net)
    if size not in (None, numbers.size):
        raise ValueError(f"exactly_sorted: this network sorts sets of {size} numbers; got sets of {numbers.size}.")
    exact = copy.deepcopy(net).to(dtype).eval()
    sets = numbers.draw(count, generator=torch.Generator().manual_seed(seed), dtype=dtype).flatten(1)
    device = next(exact.parameters()).device
    found = []
    for part in sets.to(device).split(max(1, AT_ONCE // numbers.size**2)):
        places = exact.places(part.unsqueeze(-1))
        found.append((part.gather(-1, places.argsort(-1)) == part.sort(-1).values).all(-1))
    return torch.cat(found).cpu()


def sorting_results(
    net: Arranger,
    stamp: Stamp,
    *,
    sizes: Sequence[int] = SIZES,
    sets: int = 64,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Result]:
    """The share of the sets that are sorted exactly, for every size and interval, in float64.

    Args:
        net: a network that arranges numbers.
        stamp: the shared fields of the results.
        sizes: of the sets; those that the network cannot sort are left out.
        sets: how many for each size and interval.
        seed: of the sets.
        progress: told before each size.

    Returns:
        One result for each size and interval; ``layer`` is the interval.
    """
    only = size_of(net)
    lines = []
    for size in sizes if only is None else [only]:
        if progress is not None:
            progress(f"sorting sets of {size}")
        for low, high in INTERVALS:
            right = exactly_sorted(net, Numbers(size, low, high), sets, seed=seed).double().mean().item()
            task, layer = f"sets of {size} numbers, sorted exactly", f"[{low}, {high}]"
            lines.append(Result(task, "accuracy", right, sets, seed, layer=layer, **stamp._asdict()))
    return lines
