"""K-means over the rows of one process or of several, and the whitening that DeepCluster does before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unshuffle._dist import group_gather, group_total

AT_ONCE = 1 << 24
"""Distances that are computed at a time."""
NUDGE = 1 / 1024
"""By how much the halves of a split cluster part, of each number of its centre."""


@torch.no_grad()
def kmeans(
    rows: Float[Tensor, "n d"],
    clusters: int,
    *,
    iterations: int = 20,
    generator: torch.Generator,
    group: dist.ProcessGroup | None = None,
) -> Int[Tensor, "n"]:
    """Puts each row into the cluster of its nearest centre.

    Centres begin at rows drawn by chance and move to the mean of their rows, again and again. One that has lost all its
    rows is put beside that of the largest cluster, so that this is split.

    Args:
        rows: of this process.
        clusters: how many.
        iterations: moves of the centres.
        generator: draws the first centres; alike in all processes.
        group: the processes that hold one share of the rows each.

    Returns:
        A cluster each row.

    Raises:
        ValueError: there are no rows in any process.

    Example:
        >>> rows = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> a, b, c, d = kmeans(rows, 2, generator=torch.Generator().manual_seed(0)).tolist()
        >>> (a == b, c == d, a == c)
        (True, True, False)

    Source: Caron et al., "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018, and its code.
    """
    centres = _drawn(rows, clusters, generator, group)
    # Everything is computed about the first centres' mean: far from 0, float32 would not tell near rows apart.
    origin = centres.mean(0)
    centres = centres - origin
    step = max(1, AT_ONCE // clusters)
    for _ in range(iterations):
        sums, counts = torch.zeros_like(centres), centres.new_zeros(clusters)
        for part in rows.split(step):
            centred = part - origin
            labels = nearest(centred, centres)
            sums.index_add_(0, labels, centred)
            counts += torch.bincount(labels, minlength=clusters)
        sums, counts = group_total(sums, group), group_total(counts, group)
        centres = _split(sums / counts.clamp(min=1)[:, None], counts, origin)
    parts = [nearest(part - origin, centres) for part in rows.split(step)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long, device=rows.device)


def nearest(rows: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Int[Tensor, "n"]:
    """The nearest centre of each row; the first of several that are equally near.

    Squares are expanded, so that both must be small numbers about a common origin.
    """
    return torch.addmm(centres.square().sum(1), rows, centres.T, alpha=-2).argmin(1)


@torch.no_grad()
def whitened(
    blocks: Sequence[Float[Tensor, "_ d"]],
    components: int,
    *,
    group: dist.ProcessGroup | None = None,
    device: torch.device | None = None,
) -> Float[Tensor, "n c"]:
    """The leading principal components of all rows, each of variance 1, and every row of length 1, in float64.

    Args:
        blocks: the rows of this process, a few at a time; never all of them are copied at once.
        components: how many are kept, where there are as many.
        group: the processes that hold one share of the rows each.
        device: where to compute; where the rows are by default.
    """
    size, device = blocks[0].shape[1], blocks[0].device if device is None else device
    parts = [part for block in blocks for part in block.split(max(1, AT_ONCE // size))]
    count = torch.tensor(float(sum(map(len, parts))), dtype=torch.float64, device=device)
    count = group_total(count, group)
    sums, products = (torch.zeros(*shape, dtype=torch.float64, device=device) for shape in ((size,), (size, size)))
    for part in parts:
        sums += part.to(device, torch.float64).sum(0)
    mean = group_total(sums, group) / count
    for part in parts:
        centred = part.to(device, torch.float64) - mean
        products += centred.T @ centred
    covariance = group_total(products, group) / count
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances > 1e-10 * variances[-1].clamp(min=1e-30)  # what does not vary cannot be made to
    kept[: max(0, len(kept) - components)] = False
    turn = axes[:, kept] / variances[kept].sqrt()
    return torch.cat([F.normalize((part.to(device, torch.float64) - mean) @ turn, dim=1) for part in parts])


def _drawn(rows: Tensor, clusters: int, generator: torch.Generator, group: dist.ProcessGroup | None) -> Tensor:
    """Rows by chance, of all processes: different ones while there are enough."""
    counts, rank = group_gather(torch.tensor(len(rows), device=rows.device), group)
    total = int(counts.sum())
    if not total:
        raise ValueError("kmeans: there are no rows, so there is nothing to put into clusters.")
    chosen = torch.randperm(total, generator=generator).repeat(-(-clusters // total))[:clusters].to(rows.device)
    own = chosen - int(counts[:rank].sum())
    here = (own >= 0) & (own < len(rows))
    centres = rows.new_zeros(clusters, rows.shape[1])
    centres[here] = rows[own[here]]
    return group_total(centres, group)


def _split(centres: Tensor, counts: Tensor, origin: Tensor) -> Tensor:
    """Gives clusters without rows a half of the largest one's; ``centres`` are relative to ``origin``."""
    counts, sign = counts.clone(), torch.ones(centres.shape[1], dtype=centres.dtype, device=centres.device)
    sign[1::2] = -1
    for empty in (counts == 0).nonzero()[:, 0].tolist():
        largest = int(counts.argmax())
        if counts[largest] <= 1:
            break
        offset = NUDGE * sign * (centres[largest] + origin)
        centres[empty] = centres[largest] + offset
        centres[largest] = centres[largest] - offset
        counts[empty], counts[largest] = counts[largest] / 2, counts[largest] / 2
    return centres
