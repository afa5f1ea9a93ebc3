"""Reads of a transport problem's matrix, and auctions for places in classes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from memory import SPECIAL, Memory, written

CALLED = {"unshuffle_transport", "unshuffle_auction"}
OF_HALVES = [65504.0, -65504.0, 65520.0, 6e-5, 6e-8, -6e-8]
"""The largest number of half precision, one beyond, the least normal one, and the least."""
POWERS = [1e-3, 1.0, 25.0, 1e4]
KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3}
CLASSES = [1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100]


class Matrix(NamedTuple):
    """Rows as the loader describes them: dense, perhaps apart, perhaps all the same."""

    storage: np.ndarray
    kind: str
    shape: tuple[int, int]
    stride: int

    @property
    def values(self) -> np.ndarray:
        """The numbers, those of bfloat16 widened: numpy has no such type."""
        held = (self.storage.astype(np.uint32) << 16).view(np.float32) if self.kind == "bfloat16" else self.storage
        return np.lib.stride_tricks.as_strided(held, self.shape, [self.stride * held.itemsize, held.itemsize])

    @property
    def computed(self) -> np.dtype:
        """Of what is computed of them."""
        return np.dtype(np.float64 if self.kind == "float64" else np.float32)

    def arguments(self) -> tuple[object, ...]:
        return self.storage.ctypes.data, *self.shape, self.stride, KINDS[self.kind]


def of_kind(numbers: np.ndarray, kind: str) -> np.ndarray:
    """As they are stored, large ones as infinities."""
    with np.errstate(over="ignore"):
        if kind == "bfloat16":
            return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return numbers.astype(kind)


def draw_matrix(
    rng: np.random.Generator, memory: Memory, rows: int, kinds: Sequence[str], scales: Sequence[float]
) -> Matrix:
    classes, kind = int(rng.choice(CLASSES)), str(rng.choice(kinds))
    stride = [classes, classes + 3, 0][rng.choice(3, p=[0.6, 0.3, 0.1])]
    size = max(0, 1 + (rows - 1) * stride + classes - 1) if rows else 0
    numbers = rng.normal(size=size) * rng.choice(scales)
    if rng.random() < 0.3:
        numbers[rng.random(size) < 0.2] = -np.inf
    return Matrix(memory.copy(of_kind(numbers, kind)), kind, (rows, classes), stride)


def spoil(rng: np.random.Generator, matrix: Matrix) -> None:
    """Numbers that no row may hold, and others that it may."""
    if matrix.storage.size and rng.random() < 0.3:
        places = rng.integers(0, matrix.storage.size, size=2)
        matrix.storage[places] = of_kind(rng.choice([*SPECIAL, *OF_HALVES], size=2), matrix.kind)


def levels_of(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the sum of the exponentials of each row, and the shares of its classes."""
    most = worth.max(1, keepdims=True)
    shares = np.exp(worth - most)
    return (most + np.log(shares.sum(1, keepdims=True)))[:, 0], shares / shares.sum(1, keepdims=True)


def readings(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Reads with and without known levels, labels and kept shares; masses, levels and bad rows as numpy has them."""
    rows = int(rng.choice([0, 1, 5, 31, 33, 1024, 1100]))
    matrix = draw_matrix(rng, memory, rows, list(KINDS), [0.0, 1e-6, 1.0, 100.0, 2e4])  # denormal halves to large
    spoil(rng, matrix)
    classes, power = matrix.shape[1], float(rng.choice(POWERS))
    weights = memory.copy(rng.random(rows) * (rng.random(rows) < 0.8)) if rng.random() < 0.5 else None
    levels, labels = memory.copy(np.full(rows, np.nan)), memory.copy(np.full(rows, -1))
    tops, bad = memory.room(rows, dtype=matrix.computed), memory.room(1, dtype=np.int64)
    shares = memory.room(rows, -(-classes // 16) * 16, dtype=matrix.computed) if rng.random() < 0.5 else None
    first = factors = None
    for labelled in (False, True):
        offsets = rng.normal(size=classes) * rng.choice([0.0, 1.0, 50.0])
        offsets[rng.random(classes) < 0.1] = -np.inf
        offsets = memory.copy(offsets - min(offsets.max(), 1e3) if offsets.max() > -np.inf else offsets)
        if first is None:
            first = offsets
        elif shares is not None and rng.random() < 0.7:
            grown = rng.uniform(0.0, 20.0, size=classes)
            offsets, factors = first + grown, memory.copy(np.exp(grown))
        masses = memory.copy(np.zeros(classes))
        places = (offsets, weights, masses, levels, tops, labels if labelled else None, shares, factors, bad)
        pointers = [None if place is None else place.ctypes.data for place in places]
        assert library.unshuffle_transport(*matrix.arguments(), power, *pointers, int(rng.integers(1, 4))) == 0
        if not check_reading(matrix, power, offsets, weights, masses, levels if labelled else None, labels, bad[0]):
            return


def check_reading(
    matrix: Matrix,
    power: float,
    offsets: np.ndarray,
    weights: np.ndarray | None,
    masses: np.ndarray,
    levels: np.ndarray | None,
    labels: np.ndarray,
    bad: int,
) -> bool:
    """Whether all rows were such as a sample may have; then every number is right."""
    there = np.ones(len(matrix.values), bool) if weights is None else weights > 0
    values, narrow = matrix.values.astype(float), matrix.kind != "float64"
    with np.errstate(all="ignore"):
        top = values.max(1, initial=-np.inf, keepdims=True)
        worth = (values - top) * power + offsets
        if narrow and np.abs(worth[np.isfinite(worth)]).max(initial=0) > 1e37:  # beyond single precision
            return False
    wrong = there & (~np.isfinite(top[:, 0]) | np.isnan(worth).any(1) | (worth.max(1, initial=-np.inf) == -np.inf))
    assert bad == (np.flatnonzero(wrong)[0] if wrong.any() else -1), "the first bad row"
    if wrong.any() or not there.any():
        return not wrong.any()
    expected, shares = levels_of(worth[there])
    size = np.abs(worth[there][np.isfinite(worth[there])]).max()
    rough = 1e-5 + 1e-6 * size if narrow else 1e-11 + 1e-14 * size
    if rough > 0.1 or np.abs(top[there]).max() > 1e30:  # single precision beyond its digits
        return True
    given = np.ones(len(shares)) if weights is None else weights[there]
    np.testing.assert_allclose(masses.sum(), given.sum(), rtol=1e-4 if narrow else 1e-11, err_msg="mass of all")
    np.testing.assert_allclose(masses, given @ shares, rtol=5 * rough, atol=5 * rough * given.sum(), err_msg="masses")
    if levels is not None:
        np.testing.assert_allclose(
            levels[there],
            expected + power * top[there, 0],
            rtol=1e-6 if narrow else 1e-12,
            atol=rough,
            err_msg="levels",
        )
        held = shares[np.arange(len(shares)), labels[there]]
        assert (held >= shares.max(1) * (1 - 5 * rough) - 1e-30).all(), "a label that is not the largest share"
        assert (labels[~there] == -1).all(), "a label of a sample of weight 0"
    return True


def auctions(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Everyone gets one place, no place is given twice, and nobody would gain much by another at the final prices."""
    rows, power = int(rng.integers(0, 60)), float(rng.choice([0.1, 1.0, 5.0]))
    matrix = draw_matrix(rng, memory, rows, ["float32", "float64"], [0.0, 1.0, 100.0])
    epsilon = 1000.0 if np.isneginf(matrix.values).any() else float(rng.choice([1.0, 30.0]))  # small steps are slow
    classes = matrix.shape[1]
    sizes = rng.multinomial(rows, rng.dirichlet(np.full(classes, rng.choice([0.3, 5.0]))))
    starts = memory.copy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
    first = np.where(sizes > 0, rng.normal(size=classes), np.inf)
    prices, counts = memory.copy(first), memory.copy(np.zeros(classes, np.int64))
    bids, holders = memory.room(rows, dtype=float), memory.room(rows, dtype=np.int64)
    labels, waiting = memory.copy(np.full(rows, -1)), memory.copy(np.arange(rows))
    reach, stuck = memory.copy(np.zeros(1)), memory.room(1, dtype=np.int64)
    names = memory.copy(rng.permutation(rows)) if rng.random() < 0.3 else None
    highest = float(first[sizes > 0].max(initial=-np.inf))
    state = [place.ctypes.data for place in (starts, counts, prices, bids, holders, labels, reach)]
    while (labels < 0).any():
        if names is not None:
            waiting = memory.copy(np.flatnonzero(labels[names] < 0))
        arguments = (None if names is None else names.ctypes.data, 0, waiting.ctypes.data, len(waiting))
        library.unshuffle_auction(
            *matrix.arguments(), power, epsilon, *state, highest, *arguments, stuck.ctypes.data, 1
        )
        if stuck[0] >= 0:
            assert np.isneginf(matrix.values).any(), "all classes are allowed, and yet a row found no place"
            return
    if rows:
        check_places(matrix, names, sizes, power, epsilon, labels, holders, prices, starts)
        assert written(bids), "a place without a bid"


def check_places(
    matrix: Matrix,
    names: np.ndarray | None,
    sizes: np.ndarray,
    power: float,
    epsilon: float,
    labels: np.ndarray,
    holders: np.ndarray,
    prices: np.ndarray,
    starts: np.ndarray,
) -> None:
    assert (np.bincount(labels, minlength=len(sizes)) == sizes).all(), "sizes"
    assert (np.sort(holders) == np.arange(len(labels))).all(), "holders"
    for k in range(len(sizes)):
        assert (labels[holders[starts[k] : starts[k + 1]]] == k).all(), "a holder with another label"
    of_row = labels if names is None else labels[names]
    with np.errstate(invalid="ignore"):
        worth = power * matrix.values.astype(float) - prices
    got = worth[np.arange(len(of_row)), of_row]
    finite = np.isfinite(prices[of_row])
    largest = np.nanmax(worth, axis=1, initial=-np.inf)
    assert (got[finite] >= largest[finite] - epsilon - 1e-6).all(), "a sample that would gain by another class"


DRAWS = (readings, auctions)
