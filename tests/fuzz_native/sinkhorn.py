"""Sinkhorn's iterations on score matrices, and their derivative."""

from __future__ import annotations

import ctypes

import numpy as np
from memory import SPECIAL, Memory, written

CALLED = {"unshuffle_sinkhorn"}
TEMPERATURES = [5e-324, 1e-300, 1e-6, 0.01, 0.1, 1.0, 1.0, 10.0, 1e300]
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33]
UNWRITTEN = 12345


class Case:
    """Random matrices, what is asked of them, and room of exactly the size needed."""

    def __init__(self, library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
        self.library, self.rng, self.memory = library, rng, memory
        self.count, self.n, self.m = int(rng.integers(1, 20)), int(rng.choice(SIZES)), int(rng.choice(SIZES))
        self.dtype = np.dtype(rng.choice(["float32", "float64"]))
        self.lanes, self.steps = int(rng.choice([1, 8])), int(rng.integers(1, 12))
        self.temperature, self.tolerance = float(rng.choice(TEMPERATURES)), float(rng.choice([0.0, 0.0, 1e-6, 0.1]))
        self.scores = self._draw_scores()
        shape = self.scores.shape
        self.mask = memory.copy(rng.random(shape) < rng.choice([0.0, 0.3, 0.9])) if rng.random() < 0.5 else None

    def _draw_scores(self) -> np.ndarray:
        shape = (self.count, self.n, self.m)
        scores = self.rng.normal(size=shape) * self.rng.choice([1e-3, 1.0, 1.0, 100.0])
        if self.rng.random() < 0.4:
            places = self.rng.integers(0, scores.size, size=self.rng.integers(1, 6))
            scores.reshape(-1)[places] = self.rng.choice(SPECIAL, size=len(places))
        with np.errstate(over="ignore"):
            return self.memory.copy(scores.astype(self.dtype))

    def call(self, past: np.ndarray | None, taken: np.ndarray | None, slope: np.ndarray | None) -> np.ndarray:
        """The answer, or given a slope that of the scores."""
        out = self.memory.room(*self.scores.shape, dtype=self.dtype)
        places = [None if array is None else array.ctypes.data for array in (past, taken, slope, out)]
        begin = (self.scores.ctypes.data, None if self.mask is None else self.mask.ctypes.data)
        sizes = (self.count, self.n, self.m, int(self.dtype == np.float64), self.lanes, self.steps)
        threads = int(self.rng.integers(1, 4))
        status = self.library.unshuffle_sinkhorn(*begin, *sizes, self.temperature, self.tolerance, *places, threads)
        assert status == 0, "a call failed"
        assert written(out), "an entry was not written"
        return out

    def run(self) -> None:
        groups = -(-self.count // self.lanes)
        past = self.memory.room(groups * self.steps * (self.n + self.m) * self.lanes, dtype=np.float64)
        taken = self.memory.copy(np.full(self.count, UNWRITTEN, np.int32))
        plan = self.call(past, taken, None)
        assert (np.abs(taken) <= self.steps).all(), "steps beyond the most"
        np.testing.assert_array_equal(self.call(None, None, None), plan, "an answer that depends on what is kept")
        slope = self.memory.copy(self.rng.normal(size=plan.shape).astype(self.dtype))
        back = self.call(past, taken, slope)
        for b in range(self.count):
            allowed = np.ones((self.n, self.m), bool) if self.mask is None else self.mask[b]
            self.check(self.scores[b].astype(np.float64), allowed, plan[b], back[b], int(taken[b]))

    def check(self, scores: np.ndarray, allowed: np.ndarray, plan: np.ndarray, back: np.ndarray, taken: int) -> None:
        """One matrix."""
        rough = 1e-5 if self.dtype == np.float32 else 1e-9
        assert (plan[~allowed] == 0).all(), "a share of a masked pair"
        assert (back[~allowed] == 0).all(), "a slope of a masked pair"
        assert np.isfinite(back).all(), "a slope that is none"
        if np.isnan(scores[allowed]).any():
            assert np.isnan(plan[allowed]).all(), "NaN spoils its matrix whole"
            assert taken == 0, "steps on a matrix that holds NaN"
            assert (back == 0).all(), "a slope from a matrix that holds NaN"
            return
        assert (plan >= 0).all(), "a share below 0"
        infinite = (scores == np.inf) & allowed
        allowed = np.where(infinite.any(-1, keepdims=True), infinite, allowed & (scores > -np.inf))
        rows, columns = allowed.any(-1).sum(), allowed.any(-2)
        share = rows / max(columns.sum(), 1)
        np.testing.assert_allclose(plan.sum(-2), np.where(columns, share, 0), rtol=rough, err_msg="columns")
        if self.temperature >= 0.01 and np.abs(scores[np.isfinite(scores)]).max(initial=0) < 10:
            limit = rough * (1 + self.n + self.m) / self.temperature * max(1.0, share)
            np.testing.assert_allclose(back.sum(-1), 0, atol=limit, err_msg="slope of an offset of a row")


def balances(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Balanced matrices, and the derivative by their scores."""
    Case(library, rng, memory).run()


DRAWS = (balances,)
