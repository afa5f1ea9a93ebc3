"""Differentiable ranking, sorting, matching and transport.

Operators on sets take ``(..., n)`` with a ``dim``, and ranks count from 1; operators on score matrices take
``(..., n, m)``, items on rows and positions on columns, and positions count from 0. Any floating dtype, any device.
``ALL`` lists them; two contract suites run over it. ``perturbed`` and ``blackbox`` make an operator of any solver.
"""

from unshuffle.ops.assignment import assign
from unshuffle.ops.blackbox import blackbox, blackbox_rank
from unshuffle.ops.local_search import settle_neighbours
from unshuffle.ops.neighbours import arrange_by_neighbours, neighbour_cost, neighbour_gradient
from unshuffle.ops.noise import Noise
from unshuffle.ops.ordering import (
    arrange_by_costs,
    arrangement_cost,
    order_by_costs,
    ordering_cost,
    ordering_gradient,
    with_unit_norm,
)
from unshuffle.ops.ot_rank import ot_rank
from unshuffle.ops.perturbed import perturbed, perturbed_rank
from unshuffle.ops.perturbed_sort import perturbed_sort
from unshuffle.ops.relaxed_sort import neural_sort, soft_sort_matrix
from unshuffle.ops.sinkhorn import gumbel_sinkhorn, sinkhorn
from unshuffle.ops.soft_rank import soft_rank, soft_sort
from unshuffle.ops.soft_topk import soft_topk
from unshuffle.ops.sorting_network import NetworkSort, sorting_network, sorting_network_apply
from unshuffle.ops.transport import Transport, transport

ALL = (
    soft_rank,
    soft_sort,
    soft_topk,
    perturbed_rank,
    perturbed_sort,
    neural_sort,
    soft_sort_matrix,
    ot_rank,
    blackbox_rank,
    sorting_network,
    sorting_network_apply,
    sinkhorn,
    gumbel_sinkhorn,
    assign,
    transport,
    order_by_costs,
    arrange_by_costs,
    arrange_by_neighbours,
)

__all__ = [
    "ALL",
    "NetworkSort",
    "Noise",
    "Transport",
    "arrange_by_costs",
    "arrange_by_neighbours",
    "arrangement_cost",
    "assign",
    "blackbox",
    "blackbox_rank",
    "gumbel_sinkhorn",
    "neighbour_cost",
    "neighbour_gradient",
    "neural_sort",
    "order_by_costs",
    "ordering_cost",
    "ordering_gradient",
    "ot_rank",
    "perturbed",
    "perturbed_rank",
    "perturbed_sort",
    "settle_neighbours",
    "sinkhorn",
    "soft_rank",
    "soft_sort",
    "soft_sort_matrix",
    "soft_topk",
    "sorting_network",
    "sorting_network_apply",
    "transport",
    "with_unit_norm",
]
