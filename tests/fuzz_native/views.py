"""Views of pictures: any boxes, sizes, orders and deviations."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np
from memory import Memory, written

CALLED = {"unshuffle_views"}
SIDES = [1, 2, 3, 15, 16, 17, 31, 32, 33, 50]
SIGMAS = [0.0, np.nan, 1e-300, 0.1, 1.0, 2.0, 20.0, 1e9, 1e300, np.inf]


class Case(NamedTuple):
    """Pictures, and what happens to each view of them, as the loader hands it in."""

    images: np.ndarray
    drawn: list[np.ndarray]
    size: int

    def run(self, library: ctypes.CDLL, memory: Memory, threads: int) -> tuple[int, np.ndarray]:
        views, channels = len(self.drawn[0]), self.images.shape[1]
        lengths = memory.copy(np.array([part.size for part in self.drawn]))
        out = memory.room(views, channels, self.size, self.size, dtype=np.float32)
        pointers = [part.ctypes.data for part in self.drawn]
        arguments = (self.images.ctypes.data, *self.images.shape, *pointers, lengths.ctypes.data, self.size, views)
        return library.unshuffle_views(*arguments, out.ctypes.data, threads), out


def draw_case(rng: np.random.Generator, memory: Memory) -> Case:
    count, channels = int(rng.integers(1, 5)), int(rng.choice([1, 3]))
    height, width, size = map(int, rng.choice(SIDES, size=3))
    views = count * int(rng.integers(0, 4))
    high, wide = rng.integers(1, height + 1, size=views), rng.integers(1, width + 1, size=views)
    top, left = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
    coins = [rng.random(views) < 0.5 for _ in range(4)]
    factors = (rng.uniform(0, 3, size=(views, 4)) * rng.choice([0.0, 1.0, 50.0], size=(views, 1))).astype(np.float32)
    factors[:, 3] = rng.uniform(-0.5, 0.5, size=views)
    order = np.argsort(rng.random((views, 4)), axis=1)
    if rng.random() < 0.1:
        order = rng.integers(-5, 9, size=order.shape)  # no order at all: nothing may be read that is not there
    sigma = rng.choice(SIGMAS, size=views)
    line = [np.zeros(channels, np.float32), np.ones(channels, np.float32)]
    parts = [top, left, high, wide, coins[0], factors, order, coins[1], coins[2], sigma, coins[3], *line]
    drawn = [memory.copy(part) for part in parts]
    images = rng.integers(0, 256, size=(count, channels, height, width), dtype=np.uint8)
    return Case(memory.copy(images), drawn, size)


def views(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Levels are levels, greys are grey, solarised ones dark; the number of threads changes no bit."""
    case = draw_case(rng, memory)
    status, out = case.run(library, memory, 1)
    again, same = case.run(library, memory, int(rng.integers(2, 5)))
    assert status == again == 0
    assert written(out)
    assert (out == same).all(), "threads change something"
    assert (out > -0.01).all() and (out < 255.01).all(), "levels that are none"  # noqa: PT018
    *_, grey, _, solarised, _, _ = case.drawn
    assert (out[solarised] < 127.51).all(), "solarised, and bright"
    np.testing.assert_allclose(out[grey], out[grey][:, :1].repeat(out.shape[1], 1), atol=1e-3, err_msg="grey")


def flat_pictures(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """One level everywhere stays one level: all filters sum to one."""
    case = draw_case(rng, memory)
    case.images[:] = rng.integers(0, 256)
    changed, solarised = case.drawn[7], case.drawn[10]
    changed[:], solarised[:] = False, False
    _, out = case.run(library, memory, 1)
    np.testing.assert_allclose(out, float(case.images.flat[0]), atol=0.01)


def outside(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """A box that leaves its picture is refused before anything is read."""
    case = draw_case(rng, memory)
    if not len(case.drawn[0]):
        return
    part, wrong = int(rng.integers(0, 4)), int(rng.choice([-(2**63), -1, 51, 2**62, 2**63 - 1]))
    case.drawn[part][rng.integers(0, len(case.drawn[0]))] = wrong
    assert case.run(library, memory, int(rng.integers(1, 4)))[0] == 2


def refused(library: ctypes.CDLL, case: Case, drawn: list[np.ndarray], size: int, memory: Memory) -> bool:
    """Whether these arrays, for the views and the images of ``case``, are found to be of wrong lengths."""
    pointers, lengths = [part.ctypes.data for part in drawn], memory.copy(np.array([part.size for part in drawn]))
    arguments = (case.images.ctypes.data, *case.images.shape, *pointers, lengths.ctypes.data, size)
    return library.unshuffle_views(*arguments, len(case.drawn[0]), None, 1) == 3


def wrong_lengths(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """An array that is shorter or longer than it must be is refused before anything is read or written."""
    case = draw_case(rng, memory)
    part = int(rng.integers(0, len(case.drawn)))
    length = case.drawn[part].size
    other = int(rng.choice([n for n in (0, 1, length - 1, length + 1, length // 4, 4 * length) if 0 <= n != length]))
    drawn = list(case.drawn)
    drawn[part] = memory.copy(np.resize(drawn[part].reshape(-1), other))
    assert refused(library, case, drawn, case.size, memory), f"array {part} of {other} numbers instead of {length}"


def wrong_sizes(library: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """So is a side that is not positive."""
    case = draw_case(rng, memory)
    assert refused(library, case, case.drawn, int(rng.integers(-3, 1)), memory)


DRAWS = (views, flat_pictures, outside, wrong_lengths, wrong_sizes)
