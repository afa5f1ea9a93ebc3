"""Projections onto permutahedra and expected ranks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from memory import SPECIAL, UNWRITTEN, Memory, written

CALLED = {"unshuffle_project", "unshuffle_differentiate", "unshuffle_perturb", "unshuffle_perturb_slope"}
RANK, TOPK, SORT = 0, 1, 2
STRENGTHS = [0.0, 5e-324, 1e-300, 1e-6, 0.1, 1.0, 10.0, 1e6, 1e300, np.inf]
SIGMAS = [1e-300, 1e-6, 0.1, 1.0, 10.0, 1e6, 1e300]
SIZES = [1, 2, 3, 5, 8, 39, 40, 41, 42, 100, 300, 512, 513, 1100]  # 40, 512: where sorting, and pairs, change their way


class Sets(NamedTuple):
    """A batch as the loader describes it."""

    storage: np.ndarray
    values: np.ndarray
    """(rows, n): a view of the storage."""
    mask: np.ndarray | None
    strides: tuple[int, int]

    def arguments(self) -> tuple[object, ...]:
        hidden = None if self.mask is None else self.mask.ctypes.data
        wide = self.storage.dtype == np.float64
        return self.storage.ctypes.data, hidden, *self.values.shape, *self.strides, int(wide)


def draw_sets(rng: np.random.Generator, memory: Memory) -> Sets:
    rows, n = int(rng.integers(1, 6)), int(rng.choice(SIZES) if rng.random() < 0.5 else rng.integers(1, 12))
    dtype = np.dtype(rng.choice(["float32", "float64"]))
    strides = [(n, 1), (0, 1), (1, 0), (1, rows), (3 * n, 2), (1, 1), (0, 0)][rng.integers(7)]
    size = 1 + (rows - 1) * strides[0] + (n - 1) * strides[1]
    numbers = rng.normal(size=size) * rng.choice([1e-3, 1.0, 1.0, 1.0, 100.0])
    if rng.random() < 0.3:
        numbers = numbers.round()
    if rng.random() < 0.3:
        places = rng.integers(0, size, size=rng.integers(1, 4))
        numbers[places] = rng.choice(SPECIAL, size=len(places))
    with np.errstate(over="ignore"):
        storage = memory.copy(numbers.astype(dtype))
    itemsize = storage.itemsize
    values = np.lib.stride_tricks.as_strided(storage, (rows, n), [s * itemsize for s in strides], writeable=False)
    mask = memory.copy(rng.random((rows, n)) < rng.choice([0.0, 0.1, 0.5, 0.9])) if rng.random() < 0.5 else None
    return Sets(storage, values, mask, strides)


class Question(NamedTuple):
    """What is asked of a projection."""

    task: int
    kl: int
    strength: float
    sign: float
    k: int


def check_answer(asked: Question, values: np.ndarray, answer: np.ndarray, rough: float) -> None:
    """One set without its masked slots."""
    m = len(values)
    if np.isnan(values).any():
        assert np.isnan(answer).all(), "NaN spoils its set whole"
    elif asked.task == RANK:
        check_ranks(values * asked.sign, answer, rough)
    elif asked.task == TOPK:
        np.testing.assert_allclose(answer.sum(), min(asked.k, m), rtol=rough, atol=rough, err_msg="memberships")
        assert (answer >= -rough).all(), "a membership below 0"
        assert (answer <= 1 + rough).all(), "a membership above 1"
    elif moderate(asked.strength, values):
        largest = 1 + np.abs(answer).max(initial=0)
        assert np.isfinite(answer).all(), "sorted values"
        assert (np.diff(answer * asked.sign) <= rough * largest).all(), "sorted values out of order"
        if not asked.kl:
            np.testing.assert_allclose(answer.sum(), values.sum(), atol=rough * m * largest, err_msg="sum of values")


def check_ranks(values: np.ndarray, ranks: np.ndarray, rough: float) -> None:
    """Ascending ranks, soft or expected."""
    m = len(values)
    np.testing.assert_allclose(ranks.sum(), m * (m + 1) / 2, rtol=rough, err_msg="sum of ranks")
    assert (ranks >= 1 - rough * m).all(), "a rank below 1"
    assert (ranks <= m * (1 + rough)).all(), "a rank above n"
    assert (np.diff(ranks[np.argsort(values)]) >= -rough * m).all(), "a larger value with a lower rank"


def check_slope(
    strength: float, values: np.ndarray, slope: np.ndarray, out: np.ndarray, rough: float, *, moves: bool
) -> None:
    """The derivative of one set without its masked slots, whose answer ``moves`` or not when all values do."""
    if np.isnan(values).any():
        assert (out == 0).all(), "a slope from a set that is not a number"
    elif moderate(strength, values):
        assert np.isfinite(out).all(), "slopes"
        largest = 1 + np.abs(slope).sum() + np.abs(out).sum()
        expected = slope.sum() if moves else 0.0
        np.testing.assert_allclose(out.sum(), expected, atol=rough * largest, err_msg="slope of a shift")


def check_perturbed(sigma: float, values: np.ndarray, out: np.ndarray, loss: float | None, rough: float) -> None:
    """Expected ranks, or with a loss their difference from true ones, of one set without its masked slots."""
    nan = np.isnan(values).any()
    if loss is None and nan:
        assert np.isnan(out).all(), "NaN spoils its set whole"
    elif loss is None:
        check_ranks(values, out, rough)
    elif nan:
        assert np.isnan(loss), "the loss of a set that is not a number"
        assert (out == 0).all(), "a slope from a set that is not a number"
    elif moderate(sigma, values):
        m = len(values)
        assert loss >= -rough * m * m * (sigma + np.abs(values).max(initial=0)), "a loss below 0"
        np.testing.assert_allclose(out.sum(), 0, atol=rough * m * m, err_msg="slope of the loss")


def moderate(strength: float, values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all()) and np.abs(values).max(initial=0) < 1e4 and 1e-6 <= strength <= 1e6


class Case:
    """Random sets, and room beside them for what comes back."""

    def __init__(self, library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
        self.library, self.rng, self.memory = library, rng, memory
        self.sets = draw_sets(rng, memory)
        self.rows, self.n = self.sets.values.shape
        self.threads = int(rng.integers(1, 4))
        self.out, self.slope = self.room(self.n), self.room(self.n)
        self.slope[:] = rng.normal(size=self.slope.shape)

    def room(self, columns: int, dtype: Any = None) -> np.ndarray:
        return self.memory.room(self.rows, columns, dtype=dtype or self.sets.storage.dtype)

    def call(self, name: str, *arguments: object) -> None:
        places = (a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments)
        self.out[:] = UNWRITTEN
        assert getattr(self.library, name)(*self.sets.arguments(), *places, self.threads) == 0

    def there(self, row: int) -> np.ndarray:
        return np.ones(self.n, bool) if self.sets.mask is None else self.sets.mask[row]

    def present(self) -> Iterator[tuple[int, np.ndarray, float]]:
        """Rows, where they hold items, and how roughly these are right; all slots were written, masked ones with 0."""
        assert written(self.out), "a slot that was not written"
        for row in range(self.rows):
            there = self.there(row)
            assert (self.out[row, ~there] == 0).all(), "a masked slot"
            yield row, there, 2e-6 if self.out.dtype == np.float32 else 1e-9

    def project(self) -> None:
        rng, task = self.rng, int(self.rng.integers(3))
        k = int(rng.integers(0, self.n + 1)) if task == TOPK else 0
        asked = Question(task, int(rng.integers(2)), float(rng.choice(STRENGTHS)), float(rng.choice([-1, 1])), k)
        order, extent = (self.room(columns, np.int32) for columns in (self.n, 3))
        wanted = rng.random() < 0.8  # the derivative
        self.call("unshuffle_project", *asked, self.out, *(order, extent) if wanted else (None, None))
        for row, there, rough in self.present():
            check_answer(asked, self.sets.values[row, there], self.out[row, there], rough)
        if not wanted:
            return
        self.call("unshuffle_differentiate", *asked, order, extent, self.slope, self.out)
        for row, there, rough in self.present():
            values, slope = self.sets.values[row, there], self.slope[row, there]
            check_slope(asked.strength, values, slope, self.out[row, there], rough, moves=task == SORT)

    def perturb(self) -> None:
        noise, sigma = int(self.rng.integers(2)), float(self.rng.choice(SIGMAS))
        loss = ranks = None
        if self.rng.random() < 0.5:
            loss, ranks = self.room(1), self.room(self.n)
            for row in range(self.rows):
                there = self.there(row)
                ranks[row, there] = 1 + self.rng.permutation(there.sum())
        self.call("unshuffle_perturb", noise, sigma, ranks, self.out, loss)
        for row, there, rough in self.present():
            price = None if loss is None else float(loss[row, 0])
            check_perturbed(sigma, self.sets.values[row, there], self.out[row, there], price, rough)
        self.call("unshuffle_perturb_slope", noise, sigma, self.slope, self.out)
        for row, there, rough in self.present():
            values, slope = self.sets.values[row, there], self.slope[row, there]
            check_slope(sigma, values, slope, self.out[row, there], rough, moves=False)


def projections(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Soft ranks, memberships, sorted values, and their derivatives."""
    Case(library, rng, memory).project()


def perturbations(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Expected ranks, the loss, and their derivatives."""
    Case(library, rng, memory).perturb()


DRAWS = (projections, perturbations)
