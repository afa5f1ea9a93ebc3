"""Losses on what a differentiable sorting network does with a list whose order is known: wholly, or by groups.

A network says of each item how likely it stands at each position. Where only two groups are known, those that come
first and the rest, what counts is the sum over the first positions: a vector that rides back through the network. The
matrix is never formed.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check, permutations
from unshuffle.ops.comparators import NETWORKS, Network
from unshuffle.ops.sorting_network import sorting_network, sorting_network_apply

Orientation = Literal["paper", "code"]
ORIENTATIONS: tuple[Orientation, ...] = ("paper", "code")


def group_order(
    positive_distances: Float[Tensor, "*batch positives"],
    negative_distances: Float[Tensor, "*batch negatives"],
    *,
    inverse_temperature: float = 1.0,
    network: Network = "odd_even",
    preorder: bool = True,
    orientation: Orientation = "paper",
) -> Float[Tensor, "*batch"]:
    r"""Measures how far an anchor's K positives are from standing before its N negatives, all sorted by distance.

    .. math:: -\frac1{K + N} \Big( \sum_{i \le K} \log \sum_{k \le K} P_{ik} +
              \sum_{i > K} \log \sum_{k > K} P_{ik} \Big)

    where P is the matrix by which a differentiable network sorts the list of both, items on rows: the binary
    cross-entropy of "stands among the first K" (the two halves of the paper's formula are one, as rows sum to 1). Who
    stands where within a group costs nothing.

    Args:
        positive_distances: (..., K) real numbers, K at least 1: how far the anchor is from each positive.
        negative_distances: (..., N) real numbers, with the same axes before the last. Where N is 0 nothing is to be
            sorted, and the loss is 0.
        inverse_temperature: :math:`\beta > 0` of the network's Cauchy relaxation, in inverse units of the distances.
        network: which comparators sort. The odd-even network has K + N layers, the bitonic one fewer.
        preorder: whether either group enters in ascending order. Otherwise items meet in the order in which they come.
        orientation: how the list enters an odd-even network, which matters when K + N is odd. ``"paper"``: positives,
            then negatives, sorted by distance. ``"code"``: as in the authors' code the same list read backwards,
            negatives first, sorted by similarity.

    Returns:
        One value an anchor, in the dtype that the distances have together; solved in float64 and rounded once. It is
        finite: a share that has underflowed counts as the least positive number, with gradient 0. An anchor with NaN
        costs NaN.

    Raises:
        TypeError: distances are not floating point.
        ValueError: there are no positives, the groups do not fit each other, an unknown option, or an inverse
            temperature that is not positive.

    Example:
        >>> import torch
        >>> nearest, others = torch.tensor([-0.9, -0.7]), torch.tensor([0.1, 0.0, -0.2])
        >>> group_order(nearest, others, inverse_temperature=10.0).round(decimals=2)
        tensor(0.0400)
        >>> group_order(-nearest, others, inverse_temperature=10.0).round(decimals=2)
        tensor(1.8400)

    Source: Shvetsova, Petersen, Kukleva, Schiele & Kuehne, "Learning by Sorting: Self-supervised Learning with Group
    Ordering Constraints", ICCV 2023, sections 3.2 and 3.3, equations 1 to 5.
    """
    _check.floating("group_order", "positive_distances", positive_distances)
    _check.floating("group_order", "negative_distances", negative_distances)
    _check.one_of("group_order", "network", network, NETWORKS)
    _check.one_of("group_order", "orientation", orientation, ORIENTATIONS)
    _check.positive("group_order", "inverse_temperature", inverse_temperature)
    _check.flag("group_order", "preorder", preorder)
    _check_groups(positive_distances, negative_distances)
    dtype = torch.promote_types(positive_distances.dtype, negative_distances.dtype)
    if negative_distances.shape[-1] == 0:
        return _nothing_to_sort(positive_distances).to(dtype)
    groups = [distances.double() for distances in (positive_distances, negative_distances)]
    if preorder:
        groups = [distances.sort(-1).values for distances in groups]
    shares = _shares_of_own_group(*groups, inverse_temperature, network, orientation)
    return -shares.clamp_min(torch.finfo(torch.float64).tiny).log().mean(-1).to(dtype)


def _nothing_to_sort(positives: Tensor) -> Tensor:
    """What positives alone cost: 0 with gradient 0, or NaN."""
    spoilt = positives.isnan().any(-1)
    return positives.masked_fill(~positives.isfinite(), 0.0).mul(0.0).sum(-1).masked_fill(spoilt, torch.nan)


def _shares_of_own_group(
    positives: Tensor, negatives: Tensor, steepness: float, network: Network, orientation: Orientation
) -> Tensor:
    """How likely each item, positives first, stands among the positions of its own group."""
    k = positives.shape[-1]
    values = torch.cat([positives, negatives], -1)
    first = torch.arange(values.shape[-1], device=values.device) < k
    # Both sums ride, as one less the other would lose what is small; the loss is its logarithm.
    groups = torch.stack([first, ~first], -1).to(values.dtype)
    if orientation == "code":  # the list read backwards
        values, groups = -values.flip(-1), groups.flip(-2)
    among = sorting_network_apply(values, groups, vectors_of="positions", network=network, steepness=steepness)
    if orientation == "code":
        among = among.flip(-2)
    return torch.cat([among[..., :k, 0], among[..., k:, 1]], -1)


def _check_groups(positives: Tensor, negatives: Tensor) -> None:
    fit = positives.ndim and negatives.ndim and positives.shape[:-1] == negatives.shape[:-1]
    if not fit or positives.shape[-1] == 0:
        raise ValueError(
            "group_order: `positive_distances` (..., K) and `negative_distances` (..., N) must have the same axes "
            f"before the last, and K must be at least 1; got {tuple(positives.shape)} and "
            f"{tuple(negatives.shape)}."
        )


def full_order(
    values: Float[Tensor, "*batch n"],
    ranks: Float[Tensor, "*batch n"],
    *,
    inverse_temperature: float = 1.0,
    network: Network = "odd_even",
) -> Float[Tensor, "*batch"]:
    r"""Measures how far the matrix by which a network sorts ``values`` is from that of their true ranks.

    .. math:: \frac1{n^2} \sum_{ik} \mathrm{BCE}(P_{ik}, Q_{ik})

    This is supervision by sorting where the whole order is known, matrix against matrix; :func:`group_order` is what is
    left of it when only two groups are. Time and memory O(n^2) a layer.

    Args:
        values: (..., n) real numbers, to be ascending in the true order.
        ranks: (..., n) the true ranks, from 1; tied items share their positions evenly.
        inverse_temperature: as in :func:`group_order`.
        network: as there.

    Returns:
        One value a list, in the dtype of ``values``; solved in float64 and rounded once. NaN where a value is NaN.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: the shapes differ, an unknown network, or an inverse temperature that is not positive.

    Example:
        >>> import torch
        >>> values = torch.tensor([0.1, 0.9, 0.4])
        >>> full_order(values, torch.tensor([1.0, 3.0, 2.0]), inverse_temperature=100.0).round(decimals=2)
        tensor(0.0100)

    Source: as there, section 3.3.1; Petersen et al., "Differentiable Sorting Networks for Scalable Sorting and Ranking
    Supervision", ICML 2021.
    """
    _check.floating("full_order", "values", values)
    _check.has_axis("full_order", "values", values)
    _check.real("full_order", "ranks", ranks)
    _check.same_shape("full_order", "ranks", ranks, "values", values)
    _check.one_of("full_order", "network", network, NETWORKS)
    _check.positive("full_order", "inverse_temperature", inverse_temperature)
    soft = sorting_network(values.double(), network=network, steepness=inverse_temperature).matrix
    true = permutations.rank_matrix(ranks.double())
    tiny = torch.finfo(torch.float64).tiny
    there, elsewhere = (share.clamp_min(tiny).log() for share in (soft, 1 - soft))
    return -(true * there + (1 - true) * elsewhere).mean((-2, -1)).to(values.dtype)
