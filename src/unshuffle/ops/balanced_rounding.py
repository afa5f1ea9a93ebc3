"""Labels of exactly prescribed sizes, from the offsets of a transport problem: an auction.

The offsets of the entropic plan, negated, are nearly the prices at which every class would be asked for by as many
samples as it has places. From there an auction needs few bids to find labels whose total is within ``EPSILON`` a sample
of the best.

Source: Bertsekas & Castanon, "The auction algorithm for the transportation problem", Annals of Operations Research
1989, for objects that are alike.
"""

from __future__ import annotations

import math
from heapq import heappush, heapreplace
from typing import NoReturn

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron, vstack
from torch import Tensor

from unshuffle._dist import group_gather
from unshuffle.ops import _native
from unshuffle.ops.shares import Samples

EPSILON = 0.01
"""By how much a sample's ``power * log_probability`` may fall short of the best labels', on average."""
# Bids rise by no less than this. Small steps are slow where the first prices are far from the last; these are not.
_COARSE, _ROUGH = 1000.0, 1.0


def round_exactly(samples: Samples, offsets: Tensor, target: Tensor) -> Tensor:
    """The label of each sample, int64 on the CPU: class k has ``target[k]`` of all, to the nearest whole numbers."""
    places = _places(samples, target)
    prices = torch.where(places > 0, -offsets, math.inf)
    market = _MarketInC if _native.available() else _MarketInPython
    if _forbids(samples):  # whether there are such labels at all, a coarse auction knows soon
        _hold(market(samples, places, prices, _COARSE))
    rough = market(samples, places, prices, _ROUGH)
    _hold(rough)
    found = torch.as_tensor(rough.prices)  # infinite where the places belong to samples that may go nowhere else
    return _hold(market(samples, places, torch.where(found < math.inf, found, prices), EPSILON))


def _hold(market: _MarketInC | _MarketInPython) -> Tensor:
    """Reads the chunks in which samples wait, until none does."""
    samples, labels, starts = market.samples, market.labels, market.samples.starts()
    while bool((labels < 0).any()):
        for number, start in enumerate(starts[:-1]):
            if bool((labels[start : starts[number + 1]] < 0).any()):
                for begin, block in samples.blocks(samples.chunk(number)):
                    market.serve(block, start + begin)
    return labels


def _forbids(samples: Samples) -> bool:
    """Whether an entry is minus infinity."""
    chunks = map(samples.chunk, range(len(samples.chunks)))
    return any(len(chunk) and float(chunk.min()) == -math.inf for chunk in chunks)


def whole_sizes(total: int, shares: Tensor) -> Tensor:
    """Whole numbers in proportion to ``shares``, by the largest remainders; the first ones win a tie."""
    exact = total * shares
    sizes = exact.floor().long()
    by_remainder = (exact - sizes).argsort(descending=True, stable=True)
    sizes[by_remainder[: total - int(sizes.sum())]] += 1
    return sizes


def _places(samples: Samples, target: Tensor) -> Tensor:
    """How many samples of this process each class has: all of its size, or this process's part of it."""
    sizes = whole_sizes(round(samples.total), target)
    if samples.group is None:
        return sizes
    local, rank = group_gather(samples.masses.to(samples.device), samples.group)
    rows, _ = group_gather(torch.tensor(samples.starts()[-1], device=samples.device), samples.group)
    return torch.from_numpy(_whole_table(local.cpu().numpy(), rows.cpu().numpy(), sizes.numpy())[rank])


def _whole_table(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whole numbers near those of ``table`` with the given sums: entries go up or down, those of largest parts up."""
    table = np.maximum(table, 1e-9) * (rows[:, None] > 0) * (columns > 0)
    for _ in range(1000):
        table = table * (rows / np.maximum(table.sum(1), 1e-300))[:, None]
        table = table * (columns / np.maximum(table.sum(0), 1e-300))
    down = np.floor(table)
    parts, (height, width) = table - down, table.shape
    sums = vstack([kron(eye_array(height), np.ones((1, width))), kron(np.ones((1, height)), eye_array(width))])
    missing = np.concatenate([rows - down.sum(1), columns - down.sum(0)])
    # A table's equations have whole corners. Two places more than the part asks for are there for what rounding did.
    found = linprog(-parts.ravel(), A_eq=sums, b_eq=missing, bounds=(0, 2), method="highs-ds")
    assert found.success, found.message
    return (down + found.x.reshape(table.shape).round()).astype(np.int64)


class _MarketInC:
    """Places, who holds them, and what they cost; by ``_native/auction.c``."""

    def __init__(self, samples: Samples, places: Tensor, prices: Tensor, epsilon: float) -> None:
        total = int(places.sum())
        self.samples, self.prices, self.epsilon = samples, prices.clone(), epsilon
        self.labels = torch.full((total,), -1, device="cpu")
        self.starts = torch.cat([places.new_zeros(1), places.cumsum(0)])
        self.counts, self.holders = torch.zeros_like(places), torch.empty(total, dtype=torch.int64, device="cpu")
        self.bids = torch.empty(total, dtype=torch.float64, device="cpu")
        self.reach = torch.zeros(1, dtype=torch.float64, device="cpu")
        self.highest = _highest(prices)

    def serve(self, block: Tensor, first: int) -> None:
        """Lets the waiting samples of some rows bid, of which the first is sample ``first``."""
        rows = (self.labels[first : first + len(block)] < 0).nonzero().squeeze(-1)
        if not len(rows):
            return
        names, waiting = None, rows.clone()
        if not _native.takes(block):  # those who wait are brought here, and know nothing of their neighbours
            block, names, waiting = block[rows.to(block.device)].cpu(), rows + first, torch.arange(len(rows))
        stuck = torch.empty(1, dtype=torch.int64, device="cpu")
        values = (block.data_ptr(), *block.shape, block.stride(0), block.dtype == torch.float64)
        state = (self.starts, self.counts, self.prices, self.bids, self.holders, self.labels, self.reach)
        _native.call(
            *("unshuffle_auction", *values, self.samples.power, self.epsilon, *(kept.data_ptr() for kept in state)),
            *(self.highest, None if names is None else names.data_ptr(), first),
            *(waiting.data_ptr(), len(waiting), stuck.data_ptr()),
            work=1,
        )
        if int(stuck) >= 0:
            _refuse(self.samples, int(first + stuck if names is None else names[stuck]))


class _MarketInPython:
    """The same without a compiler."""

    def __init__(self, samples: Samples, places: Tensor, prices: Tensor, epsilon: float) -> None:
        self.samples, self.places, self.epsilon = samples, places.tolist(), epsilon
        self.prices = prices.numpy().copy()
        self.labels = torch.full((int(places.sum()),), -1)
        self.heaps: list[list[tuple[float, int]]] = [[] for _ in self.places]
        self.highest, self.reach = _highest(prices), 0.0

    def serve(self, block: Tensor, first: int) -> None:
        rows = (self.labels[first : first + len(block)] < 0).nonzero().squeeze(-1)
        waiting = (rows + first).tolist()
        numbers = dict(zip(waiting, block[rows.to(block.device)].cpu().double().numpy()))
        while waiting:
            sample = waiting.pop()
            outbid = self._bid(sample, numbers[sample])
            if outbid in numbers:
                waiting.append(outbid)

    def _bid(self, sample: int, numbers: np.ndarray) -> int | None:
        """Finds a place for a sample; returns the one that had it."""
        down = self.samples.power * (numbers - numbers.max())
        self.reach = max(self.reach, -down[down > -math.inf].min())
        worth = down - self.prices
        best = int(worth.argmax())
        price, most = self.prices[best], worth[best]
        limit = self.highest + (len(worth) + 1) * (self.reach + self.epsilon)
        if most == -math.inf or price > limit:
            _refuse(self.samples, sample)
        worth[best] = -math.inf
        bid, heap, outbid = price + (most - worth.max()) + self.epsilon, self.heaps[best], None
        if len(heap) < self.places[best]:
            heappush(heap, (bid, sample))
        else:
            outbid = heapreplace(heap, (bid, sample))[1]
            self.labels[outbid] = -1
        self.labels[sample] = best
        if len(heap) == self.places[best]:
            self.prices[best] = heap[0][0]
        return outbid


def _highest(prices: Tensor) -> float:
    """The first price of the dearest class that has places."""
    return float(torch.where(prices < math.inf, prices, -math.inf).max())


def _refuse(samples: Samples, sample: int) -> NoReturn:
    raise ValueError(
        f"{samples.function}: no labels of these sizes avoid all entries of -inf; row {sample} found no place. "
        f"Forbid fewer classes, change `class_marginals`, or leave `equal_sizes` out."
    )
