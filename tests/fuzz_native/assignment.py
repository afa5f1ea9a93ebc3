"""Matchings of items to positions: with every kind of score, forbidden pairs, ties."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
from memory import SPECIAL, Memory, written

CALLED = {"unshuffle_assign"}
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 31, 33, 50]
ENUMERATED = 5  # items and positions at the most


def draw_scores(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    n, m = shape[1:]
    scores = rng.normal(size=shape) * rng.choice([1e-300, 1e-3, 1.0, 1.0, 1.0, 100.0, 1e300])
    kind = rng.random()
    if kind < 0.3:
        scores = rng.integers(0, rng.integers(1, 20), size=shape).astype(float)
    elif kind < 0.4:
        scores = scores * 0 + np.outer(np.arange(n), np.arange(m)) * rng.choice([-1.0, 1.0])
    if rng.random() < 0.3:
        odd = rng.random(shape) < rng.choice([0.01, 0.2])
        scores[odd] = rng.choice(SPECIAL[1:] if rng.random() < 0.7 else SPECIAL, size=odd.sum())
    if rng.random() < 0.3:
        scores[rng.random(shape) < rng.random()] = -np.inf
    with np.errstate(over="ignore"):
        return scores.astype(rng.choice(["float32", "float64"]))


def assignments(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """One call, and what its answer must be."""
    small = rng.random() < 0.5
    n, m = (int(rng.integers(1, ENUMERATED + 1) if small else rng.choice(SIZES)) for _ in range(2))
    m = n if rng.random() < 0.5 else m
    shape = (int(rng.integers(1, 6)), n, m)
    scores = memory.copy(draw_scores(rng, shape))
    mask = memory.copy(rng.random(shape) < rng.choice([0.0, 0.1, 0.5, 0.9])) if rng.random() < 0.5 else None
    out, spoilt = memory.room(shape[0], n, dtype=np.int64), memory.room(1, dtype=np.int32)
    places = (scores.ctypes.data, None if mask is None else mask.ctypes.data)
    wide, threads = int(scores.dtype == np.float64), int(rng.integers(1, 4))
    answers = (out.ctypes.data, spoilt.ctypes.data)
    assert library.unshuffle_assign(*places, *shape, wide, *answers, threads) == 0
    assert written(out), "an item that was not answered"
    there = np.ones(shape, bool) if mask is None else mask
    assert bool(spoilt[0]) == bool((np.isnan(scores) & there).any()), "NaN among the allowed"
    for one, allowed, positions in zip(scores.astype(float), there, out):
        if not (np.isnan(one) & allowed).any():
            check_matching(one, allowed & (one != -np.inf), positions)


def check_matching(scores: np.ndarray, allowed: np.ndarray, positions: np.ndarray) -> None:
    pairs = [(i, k) for i, k in enumerate(positions) if k != -1]
    assert len({k for _, k in pairs}) == len(pairs), "a position that is taken twice"
    assert all(0 <= k < scores.shape[1] and allowed[i, k] for i, k in pairs), "a forbidden pair"
    free_items = [i for i, k in enumerate(positions) if k == -1]
    free_positions = np.setdiff1d(np.arange(scores.shape[1]), positions)
    assert not allowed[np.ix_(free_items, free_positions)].any(), "a pair that was left out"
    unit = np.abs(scores[allowed & np.isfinite(scores)]).max(initial=0) or 1.0
    with np.errstate(over="ignore"):  # what is not allowed may be any number
        scores = scores / unit
    rough = 1e-12 * scores.size
    best = by_enumeration if max(scores.shape) <= ENUMERATED else greedily
    number, certain, total = worth(scores, best(scores, allowed))
    ours = worth(scores, pairs)
    assert ours[0] >= number, "more could have been placed"
    if ours[0] == number:
        assert ours[1] >= certain, "more certain pairs could have been made"
    if ours[:2] == (number, certain):
        assert ours[2] >= total - rough, "a larger total could have been had"


def worth(scores: np.ndarray, pairs: list[tuple[int, int]]) -> tuple[int, int, float]:
    """How many pairs, how many of them certain, and the total of the others."""
    made = [float(scores[pair]) for pair in pairs]
    return len(made), made.count(np.inf), sum(score for score in made if score != np.inf)


def greedily(scores: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Always the best pair that is left."""
    left, pairs = np.where(allowed, scores, -np.inf), []
    while left.size and left.max() > -np.inf:
        i, k = divmod(int(left.argmax()), left.shape[1])
        pairs.append((i, k))
        left[i], left[:, k] = -np.inf, -np.inf
    return pairs


def by_enumeration(scores: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    n, m = scores.shape
    if n > m:
        return [(i, k) for k, i in by_enumeration(scores.T, allowed.T)]
    orders = (zip(range(n), order) for order in itertools.permutations(range(m), n))
    made = ([pair for pair in pairs if allowed[pair]] for pairs in orders)
    return max(made, key=lambda pairs: worth(scores, pairs))


DRAWS = (assignments,)
