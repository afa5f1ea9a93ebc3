"""One ranking of any number of items from answers about windows of a few.

A network that puts eight items in order is asked about many windows of eight. Where the items are few, every pair meets
in some window; where they are many, random windows give a rough order, and windows that slide along it, each half over
the last, mend it until nothing moves. All answers about pairs are weighed together: what they say consistently is kept
to the letter, and where they contradict each other, in circles, a Bradley-Terry model of all of them decides.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from unshuffle import _check

Judge = Callable[[np.ndarray], np.ndarray]
"""From windows (W, length) of items' numbers to chances (W, length, length): that item a belongs after item b."""

_PRIOR = 0.01
"""Weight of the prior that keeps scores finite, in answers about pairs: small beside a single one."""


class Merged(NamedTuple):
    """A ranking of n items: (n,) scores and (n,) the items' numbers in order, first to last.

    Scores rise along the order; some may be equal, where the order says more than they. ``windows`` is how many were
    judged; ``kept`` the share of all answers about pairs that the order keeps, each weighed by how sure it is.
    """

    scores: np.ndarray
    order: np.ndarray
    windows: int
    kept: float


def merge(
    judge: Judge, n: int, length: int, *, all_pairs: int = 200, rounds: int = 6, passes: int = 30, seed: int = 0
) -> Merged:
    """Puts n items in order by asking about windows of ``length``.

    If the answers agree with one order, that order is found exactly: at once where every pair is asked for, else if
    ``passes`` suffice.

    Args:
        judge: says of each window which item belongs after which.
        n: number of items.
        length: of a window. Of fewer items, windows hold some twice.
        all_pairs: up to so many items, every pair is asked for.
        rounds: above that, how many random windows each item is in before windows slide.
        passes: the most times that windows slide along the whole order.
        seed: of the windows, and of the places of items within them.

    Raises:
        ValueError: an argument is not positive, or windows are of a single item.

    Example:
        >>> ages = np.array([30.0, 10, 50, 20, 40])
        >>> merge(lambda windows: after(ages[windows]), n=5, length=2).order.tolist()
        [1, 3, 0, 4, 2]

    Source: the scores are those of Bradley & Terry 1952; that circles of answers do not disturb what is consistent
    around them is the extended Condorcet criterion of Truchon 1998.
    """
    for name, value in (("n", n), ("all_pairs", all_pairs), ("rounds", rounds), ("passes", passes)):
        _check.positive("merge", name, value)
    if length < 2:
        raise ValueError(f"merge: `length` must be 2 items or more, to compare any; got {length}.")
    rng = np.random.default_rng(seed)
    answers = _Answers(judge, n, rng)
    if n <= max(all_pairs, length):
        answers.ask(_every_pair(n, length))
        return answers.merged()
    answers.ask(np.concatenate([_random(n, length, rng) for _ in range(rounds)]))
    found = answers.merged()
    for _ in range(passes):
        before = found.order
        answers.ask(_sliding(before, length))
        found = answers.merged()
        if np.array_equal(found.order, before):
            break
    return found


def after(positions: np.ndarray) -> np.ndarray:
    """Positions or values (..., l) as chances (..., l, l) that one item comes after another; half where they tie.

    Example:
        >>> after(np.array([1.0, 3.0]))
        array([[0.5, 0. ],
               [1. , 0.5]])
    """
    return np.heaviside(positions[..., :, None] - positions[..., None, :], 0.5)


def chances(soft: np.ndarray) -> np.ndarray:
    """Soft permutations (..., l, l), items on rows, as chances that item a comes after item b.

    As if the items chose their positions independently; two at one position count half either way.

    Example:
        >>> chances(np.array([[0.9, 0.1], [0.1, 0.9]])).round(2)
        array([[0.5, 0.1],
               [0.9, 0.5]])
    """
    soft = soft / soft.sum(-1, keepdims=True)
    below = soft.cumsum(-1) - soft / 2
    return soft @ np.swapaxes(below, -1, -2)


# -------------------------------------------------------------------------------------------------------------- windows


def _every_pair(n: int, length: int) -> np.ndarray:
    """Windows in which every pair of items meets: two blocks of half a window each, every pair of blocks once."""
    half = length // 2
    blocks = [np.arange(start, start + half) % n for start in range(0, n, half)]
    pairs = [(a, b) for b in range(len(blocks)) for a in range(b)] or [(0, 0)]
    return np.stack([_filled(np.concatenate([blocks[a], blocks[b]]), n, length) for a, b in pairs])


def _filled(items: np.ndarray, n: int, length: int) -> np.ndarray:
    """A window of distinct items while there are any, the next ones in turn after those that are there."""
    chosen = list(dict.fromkeys(items.tolist()))
    others = [item % n for item in range(chosen[-1] + 1, chosen[-1] + 1 + n) if item % n not in set(chosen)]
    full = (chosen + others)[:length]
    return np.resize(np.array(full), length)


def _random(n: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Windows that hold every item once, and a few twice where n is no multiple of the length."""
    order = rng.permutation(n)
    return np.resize(order, (-(-n // length), length))


def _sliding(order: np.ndarray, length: int) -> np.ndarray:
    """Windows along an order, each half over the last."""
    last = len(order) - length
    starts = [*range(0, last, max(1, length // 2)), last]
    return np.stack([order[start : start + length] for start in starts])


# -------------------------------------------------------------------------------------------------------------- answers


class _Answers:
    """What has been said about pairs, and the ranking that follows from it.

    A pair is known by one number, lower item * n + higher item; with it goes the chance that the higher comes later.
    """

    def __init__(self, judge: Judge, n: int, rng: np.random.Generator) -> None:
        self.judge, self.n, self.rng = judge, n, rng
        self.pairs, self.chances = np.empty(0, dtype=np.int64), np.empty(0)
        self.windows = 0

    def ask(self, windows: np.ndarray) -> None:
        """Judges windows, each with its items at random places: a network may favour places."""
        shuffled = self.rng.permuted(windows, axis=1)
        first, second = np.triu_indices(windows.shape[1], 1)
        one, other = shuffled[:, first].ravel(), shuffled[:, second].ravel()
        said = self.judge(shuffled)[:, first, second].ravel()
        distinct = one != other
        higher = np.where(one > other, said, 1 - said)[distinct]
        pairs = (np.minimum(one, other) * self.n + np.maximum(one, other))[distinct]
        self.pairs, self.chances = np.concatenate([self.pairs, pairs]), np.concatenate([self.chances, higher])
        self.windows += len(windows)

    def merged(self) -> Merged:
        """The ranking of all that was said."""
        pairs, which = np.unique(self.pairs, return_inverse=True)
        low, high = np.divmod(pairs, self.n)
        later, times = np.bincount(which, self.chances, len(pairs)), np.bincount(which, minlength=len(pairs))
        edges = (np.concatenate([high, low]), np.concatenate([low, high]), np.concatenate([later, times - later]))
        scores = _bradley_terry(*edges, self.n)
        most = edges[2] > np.tile(times, 2) / 2
        order = _consistent(edges[0][most], edges[1][most], scores)
        place = order.argsort()
        kept = edges[2][place[edges[0]] > place[edges[1]]].sum() / times.sum() if len(pairs) else 1.0
        rising = isotonic_regression(scores[order]).x[place]
        return Merged(rising, order, self.windows, float(kept))


def _bradley_terry(later: np.ndarray, earlier: np.ndarray, weight: np.ndarray, n: int) -> np.ndarray:
    """Scores s under which what was said is likeliest: item a comes after item b with chance sigmoid(s_a - s_b)."""

    def cost(scores: np.ndarray) -> tuple[float, np.ndarray]:
        gap = scores[later] - scores[earlier]
        surprise = weight / (1 + np.exp(gap.clip(-500, 500)))
        slope = np.bincount(earlier, surprise, n) - np.bincount(later, surprise, n) + _PRIOR * scores
        return float(weight @ np.logaddexp(0, -gap) + _PRIOR / 2 * scores @ scores), slope

    return minimize(cost, np.zeros(n), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x


def _consistent(later: np.ndarray, earlier: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """An order that keeps every majority between items that are in no circle together; else that of the scores."""
    n = len(scores)
    graph = coo_array((np.ones(len(later)), (earlier, later)), shape=(n, n))
    count, circle = connected_components(graph, connection="strong")
    mean = np.bincount(circle, scores, count) / np.bincount(circle, minlength=count)
    apart = circle[earlier] != circle[later]
    before, behind = np.divmod(np.unique(circle[earlier][apart].astype(np.int64) * count + circle[later][apart]), count)
    waiting = np.bincount(behind, minlength=count)
    follow = np.split(behind, np.searchsorted(before, np.arange(1, count)))
    ready = [(mean[c], int(c)) for c in np.flatnonzero(waiting == 0)]
    heapq.heapify(ready)
    position = np.empty(count, dtype=np.int64)
    for number in range(count):
        _, first = heapq.heappop(ready)
        position[first] = number
        for after_it in follow[first]:
            waiting[after_it] -= 1
            if waiting[after_it] == 0:
                heapq.heappush(ready, (mean[after_it], int(after_it)))
    return np.lexsort((scores, position[circle]))
