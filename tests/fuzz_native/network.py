"""Sorting networks: sorted values, matrices, vectors that ride along, and their derivatives."""

from __future__ import annotations

import ctypes

import numpy as np
from memory import Memory, written
from ranks import draw_sets

CALLED = {
    "unshuffle_network_sort",
    "unshuffle_network_sort_slope",
    "unshuffle_network_carry",
    "unshuffle_network_carry_slope",
}
STEEPNESS = [5e-324, 1e-300, 1e-3, 1.0, 30.0, 1e6, 1e300, np.inf]
HARD = 6
MOST_ITEMS = 100  # the work grows with the cube


class Case:
    """Random sets in a random network, and room for what comes back."""

    def __init__(self, library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
        self.library, self.rng, self.memory = library, rng, memory
        self.sets = draw_sets(rng, memory)
        while self.sets.values.shape[1] > MOST_ITEMS:
            self.sets = draw_sets(rng, memory)
        self.rows, self.n = self.sets.values.shape
        self.steepness = float(rng.choice(STEEPNESS))
        relaxation = HARD if np.isinf(self.steepness) else int(rng.integers(HARD))
        self.kind = (int(rng.integers(2)), relaxation, self.steepness)
        self.threads = int(rng.integers(1, 4))
        self.rough = 1e-5 if self.sets.storage.dtype == np.float32 else 1e-9
        self.there = np.ones((self.rows, self.n), bool) if self.sets.mask is None else self.sets.mask
        self.nan = np.array([np.isnan(self.sets.values[row, there]).any() for row, there in enumerate(self.there)])

    def room(self, *shape: int) -> np.ndarray:
        return self.memory.room(self.rows, self.n, *shape, dtype=self.sets.storage.dtype)

    def draw(self, *shape: int) -> np.ndarray:
        room = self.room(*shape)
        room[:] = self.rng.normal(size=room.shape)
        return room

    def call(self, name: str, *arguments: object) -> None:
        places = (a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments)
        for array in arguments:
            assert not isinstance(array, np.ndarray) or array.size
        assert getattr(self.library, name)(*self.sets.arguments(), *self.kind, *places, self.threads) == 0

    def sort(self) -> None:
        ordered, matrix, slope = self.room(), self.room(self.n), self.room()
        self.call("unshuffle_network_sort", ordered, matrix)
        self.check_matrix(matrix)
        assert written(ordered), "a slot that was not written"
        by_values, by_entries = self.draw(), self.draw(self.n)
        lost = self.rng.integers(3)  # one of the answers may have had no use
        self.call(
            "unshuffle_network_sort_slope", None if lost == 1 else by_values, None if lost == 2 else by_entries, slope
        )
        self.check_slope(slope)

    def check_matrix(self, matrix: np.ndarray) -> None:
        assert written(matrix), "an entry that was not written"
        for row, there in enumerate(self.there):
            assert (matrix[row, ~there] == 0).all(), "a masked row"
            assert (matrix[row][:, ~there] == 0).all(), "a masked column"
            inner = matrix[row][there][:, there]
            if self.nan[row]:
                assert np.isnan(inner).all(), "NaN spoils its set whole"
                continue
            assert (inner >= 0).all(), "a belief below 0"
            np.testing.assert_allclose(inner.sum(0), 1, atol=self.rough * self.n, err_msg="columns")
            np.testing.assert_allclose(inner.sum(1), 1, atol=self.rough * self.n, err_msg="rows")

    def check_slope(self, slope: np.ndarray) -> None:
        assert written(slope), "a slope that was not written"
        assert (slope[~self.there] == 0).all(), "the slope of a masked slot"
        assert (slope[self.nan] == 0).all(), "a slope from a set that is not a number"
        if self.steepness <= 1e6:
            values = np.where(self.there, self.sets.values, 0)
            moderate = np.abs(values).max(-1, initial=0) < 1e4
            assert np.isfinite(slope[moderate]).all(), "slopes"

    def carry(self) -> None:
        d, of_positions = int(self.rng.choice([1, 2, 7, 8, 9])), int(self.rng.integers(2))
        vectors, slope = self.draw(d), self.draw(d)
        answer, back, by_values = self.room(d), self.room(d), self.room()
        self.call("unshuffle_network_carry", d, of_positions, vectors, answer)
        assert written(answer), "a vector that was not written"
        assert (answer[~self.there] == 0).all(), "a masked slot"
        wanted = by_values if self.rng.random() < 0.7 else None
        self.call("unshuffle_network_carry_slope", d, of_positions, vectors, slope, wanted, back)
        assert written(back), "a slope that was not written"
        assert (back[~self.there] == 0).all(), "the slope of a masked slot"
        if wanted is not None:
            self.check_slope(by_values)
        for row, there in enumerate(self.there):
            if self.nan[row]:
                assert np.isnan(answer[row, there]).all(), "NaN spoils its set whole"
                assert (back[row] == 0).all(), "a slope from a set that is not a number"
            else:  # the matrix is doubly stochastic, and the slope its transposed product
                limit = self.rough * self.n * 10
                given, came = vectors[row, there].astype(float), answer[row, there].astype(float)
                np.testing.assert_allclose(came.sum(0), given.sum(0), atol=limit, err_msg="sum of vectors")
                inner = (came * slope[row, there]).sum(), (given * back[row, there]).sum()
                np.testing.assert_allclose(*inner, atol=limit * d, err_msg="transposed product")


def sorts(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Sorted values and matrices, and their derivatives."""
    Case(library, rng, memory).sort()


def carries(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Vectors by either way through a network, and their derivatives."""
    Case(library, rng, memory).carry()


DRAWS = (sorts, carries)
