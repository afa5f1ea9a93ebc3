"""Sorting networks in PyTorch: which wires meet, how much two values exchange, and sweeps through all layers.

A comparator of values :math:`a, b` keeps the share :math:`f(s (b - a))` of each on its wire and exchanges the rest. A
layer of comparators is a symmetric matrix, so what carries vectors of the items to the positions carries vectors of the
positions to the items in reverse order. Wires come first in all tensors here: ``(n, batch)`` and ``(n, batch, d)``.

Only the m finite items of a set that are present have wires; the network is that of m items, whatever n is. In eager
mode a batch of sets without others runs layer by layer as one; else every set has an order of its own (also wherever
nothing may depend on the numbers: under ``torch.compile`` and ``torch.func``).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from unshuffle.ops import _native

Network = Literal["odd_even", "bitonic"]
Relaxation = Literal["logistic", "logistic_phi", "gaussian", "reciprocal", "cauchy", "optimal"]
NETWORKS: tuple[Network, ...] = ("odd_even", "bitonic")  # numbered as in _native/comparators.h
RELAXATIONS: tuple[Relaxation, ...] = ("logistic", "logistic_phi", "gaussian", "reciprocal", "cauchy", "optimal")

# Beyond these, no share is left, and no derivative may turn into infinity times nothing.
_FAR, _FARTHEST_GAP = 1e300, 1.7e308
# No finite value less one of these is infinite.
_FARTHEST_CENTRE = 1e290


class Kind(NamedTuple):
    """What kind of a differentiable sorting network."""

    network: Network
    relaxation: Relaxation
    steepness: float


class Meeting(NamedTuple):
    """One layer: whom each wire meets (itself, if nobody), and 1 where it receives the smaller value, else -1."""

    partner: Tensor
    direction: Tensor


class Exchange(NamedTuple):
    """What each wire keeps, and what it takes from its partner."""

    partner: Tensor
    keep: Tensor
    cross: Tensor


def depth(network: Network, n: int) -> int:
    """How many layers sort n items."""
    if n < 2:
        return 0
    blocks = (n - 1).bit_length()
    return n if network == "odd_even" else blocks * (blocks + 1) // 2


def meet(network: Network, layer: int, wires: Tensor, m: Tensor) -> Meeting:
    """The comparators of one layer. Rows hold the wires that ``wires`` (n, ...) says, in ascending order.

    Those outside 0, ..., m - 1 meet nobody, and so do all where the network of m items has no such layer.
    """
    if network == "odd_even":
        partner = ((wires + layer % 2) ^ 1) - layer % 2
        first, meets = wires < partner, layer < m
    else:
        block, step = _block_and_step(layer)
        # A network for 2^k wires, of which the first are left out, and all comparators that touch them.
        blocks = (m.unsqueeze(-1) > 2 ** torch.arange(31, device=m.device)).sum(-1)
        left_out = 2**blocks - m
        number = (wires + left_out).clamp_min(0)
        partner = (number ^ 2 ** (block - step)) - left_out
        first, meets = (wires < partner) ^ ((number >> (block + 1)) % 2 == 1), block < blocks
    meets = meets & (wires >= 0) & (wires < m) & (partner >= 0) & (partner < m)
    partner = torch.where(meets, partner, wires) - wires[:1]  # as rows of a tensor
    return Meeting(partner, torch.where(first, 1.0, -1.0).double())


def _block_and_step(layer: int) -> tuple[int, int]:
    """Block b of a bitonic network has b + 1 layers: wires 2^b, 2^(b - 1), ..., 1 apart meet."""
    block = 0
    while layer > block:
        block += 1
        layer -= block
    return block, layer


def exchange(kind: Kind, values: Tensor, meeting: Meeting, other: Tensor) -> tuple[Tensor, Exchange]:
    """The values behind a layer, and what their wires exchange."""
    swapped = (other - values) * meeting.direction < 0
    own, met = torch.where(swapped, other, values), torch.where(swapped, values, other)
    # Both wires of a comparator see the same gap, so that what one gives the other takes.
    share = _share(kind, ((met - own) * meeting.direction).clamp(-_FARTHEST_GAP, _FARTHEST_GAP))
    rest = 1 - share
    moved = own + share * (met - own).clamp(-_FARTHEST_GAP, _FARTHEST_GAP)
    return moved, Exchange(meeting.partner, torch.where(swapped, share, rest), torch.where(swapped, rest, share))


def _share(kind: Kind, gap: Tensor) -> Tensor:
    """How much of two values ``gap`` apart is exchanged, 1 - f(steepness * gap), exact where it is small."""
    if math.isinf(kind.steepness):
        return torch.where(gap > 0, 0.0, 0.5) + 0 * gap  # whose derivative is 0, not missing
    v = (kind.steepness * gap).clamp_max(_FAR)
    match kind.relaxation:
        case "logistic":
            return torch.sigmoid(-v)
        case "logistic_phi":
            return torch.sigmoid(-v / (gap + 1e-10) ** 0.25)
        case "gaussian":
            return 0.5 * torch.special.erfc(v * math.sqrt(0.5))
        case "reciprocal":
            return 1 / (2 + v)
        case "cauchy":
            return torch.atan2(torch.ones_like(v), v) / math.pi
        case "optimal":
            return torch.where(v > 0.25, 0.0625 / v.clamp_min(0.25), 0.5 - v)


def carry(step: Exchange, vectors: Tensor) -> Tensor:
    """Vectors behind a layer: those of each wire and of the one it meets, in shares."""
    met = _of_partners(vectors, step.partner)
    return torch.addcmul(step.keep.unsqueeze(-1) * vectors, step.cross.unsqueeze(-1), met)


def _of_partners(tensor: Tensor, partner: Tensor) -> Tensor:
    """What lies on the wires that are met: one order for the whole batch, (n, 1), or one for each set, (n, batch)."""
    if partner.shape[1] == 1:
        return tensor.index_select(0, partner.squeeze(1))
    return tensor.gather(0, partner.reshape(*partner.shape, *[1] * (tensor.ndim - 2)).expand_as(tensor))


def exchanges(kind: Kind, values: Tensor, wires: Tensor, m: Tensor) -> tuple[Tensor, list[Exchange]]:
    """Values at the end of the network, and what happened in each layer."""
    steps = []
    for layer in range(depth(kind.network, values.shape[0])):
        meeting = meet(kind.network, layer, wires, m)
        values, step = exchange(kind, values, meeting, _of_partners(values, meeting.partner))
        steps.append(step)
    return values, steps


# --------------------------------------------------------------------------------------------------------------- sets


class Sets(NamedTuple):
    """Sets of n slots on n rows of wires: items at minus infinity, finite ones, at infinity, and masked ones."""

    values: Tensor
    """(n, batch) less the centre; 0 where they are not finite."""
    centre: Tensor
    """(batch,) the finite value nearest to 0. Only differences matter, and none is rounded by a common offset."""
    wires: Tensor
    """(n, 1 or batch) the number of each row's wire; those of the m finite items count from 0."""
    m: Tensor
    item: Tensor | None
    """(n, batch) the slot of each row's item; None: all are where they were."""
    place: Tensor | None
    """(n, batch) the slot of each row's position."""
    parts: Tensor | None
    """(n, batch) 0: at minus infinity, 1: finite, 2: at infinity, 3: masked."""
    spoilt: Tensor | None
    """(batch,) whether it holds NaN."""


def lay_out(rows: Tensor, mask: Tensor | None) -> Sets:
    """Sets (batch, n) as wires."""
    n = rows.shape[-1]
    wires = torch.arange(n, device=rows.device).unsqueeze(-1)
    if mask is None and not _native.transformed() and bool(rows.isfinite().all()):
        centre = _nearest_to_zero(rows, rows.abs())
        return Sets((rows - centre).T.contiguous(), centre.squeeze(-1), wires, wires.new_full((1, 1), n), *[None] * 4)
    rows = rows if mask is None else rows.masked_fill(~mask, 0.0)
    spoilt = rows.isnan().any(-1)
    rows = rows.masked_fill(spoilt.unsqueeze(-1), 0.0)  # so that NaN has gradient 0
    parts = torch.where(rows == -torch.inf, 0, torch.where(rows == torch.inf, 2, 1))
    parts = parts if mask is None else torch.where(mask, parts, 3)
    item, place = parts.argsort(dim=-1, stable=True).T, (parts == 3).long().argsort(dim=-1, stable=True).T
    below, m = (parts == 0).sum(-1), (parts == 1).sum(-1)
    centre = _nearest_to_zero(rows, rows.abs().masked_fill(parts != 1, torch.inf))
    values = (rows - centre).masked_fill(parts != 1, 0.0).T.gather(0, item)
    return Sets(values, centre.squeeze(-1), wires - below, m, item, place, parts.T.gather(0, item), spoilt)


def _nearest_to_zero(rows: Tensor, distance: Tensor) -> Tensor:
    """(batch, 1) without a derivative: a shift of all values shifts the sorted ones, and nothing else."""
    centre = rows.detach().gather(-1, distance.detach().argmin(dim=-1, keepdim=True))
    return centre.where(centre.abs() < _FARTHEST_CENTRE, 0.0)


def to_wires(vectors: Tensor, slots: Tensor | None) -> Tensor:
    """Vectors (batch, n, d) of slots, by wire."""
    vectors = vectors.transpose(0, 1)
    return vectors.contiguous() if slots is None else vectors.gather(0, _stretched(slots, vectors))


def to_slots(vectors: Tensor, slots: Tensor | None, sets: Sets) -> Tensor:
    """Vectors of wires, (n, batch, d) by slot: masked ones 0, those of a set with NaN all NaN."""
    if slots is None or sets.parts is None or sets.spoilt is None:
        return vectors
    vectors = vectors.masked_fill(sets.spoilt.unsqueeze(-1), torch.nan)
    vectors = vectors.masked_fill((sets.parts == 3).unsqueeze(-1), 0.0)
    return torch.zeros_like(vectors).scatter(0, _stretched(slots, vectors), vectors)


def share_ends(vectors: Tensor, sets: Sets) -> Tensor:
    """Infinite items of one sign share their positions, and so what rides with them."""
    if sets.parts is None:
        return vectors
    for end in (sets.parts == 0, sets.parts == 2):
        total = vectors.masked_fill(~end.unsqueeze(-1), 0.0).sum(0)
        vectors = torch.where(end.unsqueeze(-1), total / end.sum(0).clamp_min(1).unsqueeze(-1), vectors)
    return vectors


def sort_in_pytorch(values: Tensor, mask: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor]:
    """Sorted values (batch, n) and matrices (batch, n, n), in float64."""
    sets = lay_out(values.double(), mask)
    ordered, steps = exchanges(kind, sets.values, sets.wires, sets.m)
    slots = torch.arange(values.shape[-1], device=values.device)
    items = slots.unsqueeze(-1) if sets.item is None else sets.item
    ordered = ordered + sets.centre
    units = (items.unsqueeze(-1) == slots).to(ordered.dtype).expand(-1, values.shape[0], -1)
    if sets.parts is not None:
        infinite = torch.where(sets.parts == 0, -torch.inf, torch.inf)
        ordered = torch.where((sets.parts == 0) | (sets.parts == 2), infinite, ordered)
        units = units.masked_fill((sets.parts == 3).unsqueeze(-1), 0.0)
    units = _connected(units, sets)
    for step in steps:
        units = carry(step, units)
    matrix = to_slots(share_ends(units, sets), sets.place, sets).permute(1, 2, 0)
    if sets.spoilt is not None and mask is not None:  # an item that is not there has no share of NaN
        matrix = matrix.masked_fill(~mask.unsqueeze(-1), 0.0)
    return to_slots(ordered.unsqueeze(-1), sets.place, sets).squeeze(-1).T, matrix


def carry_in_pytorch(values: Tensor, vectors: Tensor, mask: Tensor | None, kind: Kind, of_positions: bool) -> Tensor:
    """Vectors (batch, n, d) carried to the positions, or from them, in float64."""
    sets = lay_out(values.double(), mask)
    _, steps = exchanges(kind, sets.values, sets.wires, sets.m)
    vectors = vectors.double()
    vectors = vectors if mask is None else vectors.masked_fill(~mask.unsqueeze(-1), 0.0)
    start, end = (sets.place, sets.item) if of_positions else (sets.item, sets.place)
    vectors = _connected(to_wires(vectors, start), sets)
    for step in reversed(steps) if of_positions else steps:
        vectors = carry(step, vectors)
    return to_slots(share_ends(vectors, sets), end, sets).transpose(0, 1)


def _connected(vectors: Tensor, sets: Sets) -> Tensor:
    """The same vectors, which have a derivative by the values, 0, even where nothing is compared."""
    return vectors + 0 * sets.values.unsqueeze(-1)


def _stretched(slots: Tensor, vectors: Tensor) -> Tensor:
    return slots.unsqueeze(-1).expand_as(vectors)
