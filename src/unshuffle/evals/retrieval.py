"""How well pictures are found again: average precision as the benchmarks of landmarks have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from unshuffle.data.retrieval import GroundTruth
from unshuffle.evals.nearest import nearest_rows
from unshuffle.evals.results import Stamp
from unshuffle.types import Result

CUTOFFS = (1, 5, 10)


class Retrieved(NamedTuple):
    """How well queries were answered; NaN for a query to which there is no answer.

    ``mean`` is that of ``each`` (q,), the average precisions; ``precision`` (c,) is the mean of ``at`` (q, c), the
    shares of right pictures among the first ones.
    """

    mean: float
    each: Float[np.ndarray, "q"]
    precision: Float[np.ndarray, "c"]
    at: Float[np.ndarray, "q c"]


def average_precision(places: Int[np.ndarray, "p"], total: int) -> float:
    r"""The area under the curve of precision against recall, by trapezoids.

    .. math:: \frac{1}{2 R} \sum_j \left(\frac{j}{r_j} + \frac{j + 1}{r_j + 1}\right)

    with R answers in all, the j-th of them (from 0) at place r_j; at place 0 the first term is 1.

    Args:
        places: (p,) of the right answers in the list, from 0, ascending.
        total: R, how many right answers there are.

    Example:
        >>> average_precision(np.array([0, 2]), 2)
        0.7916666666666666

    Source: Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007; revisitop.
    """
    found = np.arange(len(places))
    before = np.where(places == 0, 1.0, found / np.maximum(places, 1))
    return float((before + (found + 1) / (places + 1)).sum() / (2 * total)) if total else float("nan")


def judge(
    ranked: Int[np.ndarray, "q n"],
    relevant: Sequence[np.ndarray],
    ignored: Sequence[np.ndarray],
    *,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Retrieved:
    """Judges the order in which each query's answers come.

    Args:
        ranked: (q, n) numbers of pictures, the most similar first.
        relevant: of each query the numbers of the right answers. Queries without any count for nothing.
        ignored: of each query those that are left out of its list as if they had never been there.
        cutoffs: lengths of the first part of a list whose share of right answers is told; a list that has its last
            right answer before that is judged up to there, as the benchmark's own code does.

    Raises:
        ValueError: the numbers of queries differ.

    Example:
        >>> judge(np.array([[3, 0, 2, 1]]), [np.array([3, 1])], [np.array([2])]).mean
        0.7916666666666666

    Source: Radenović et al. 2018, and their evaluation code.
    """
    if not len(ranked) == len(relevant) == len(ignored):
        raise ValueError(
            f"judge: `ranked`, `relevant` and `ignored` must tell of as many queries; got {len(ranked)}, "
            f"{len(relevant)} and {len(ignored)}."
        )
    each, at = np.full(len(ranked), np.nan), np.full((len(ranked), len(cutoffs)), np.nan)
    for query, (order, right, left_out) in enumerate(zip(ranked, relevant, ignored)):
        if not len(right):
            continue
        places = np.flatnonzero(np.isin(order[~np.isin(order, left_out)], right))
        each[query] = average_precision(places, len(right))
        lengths = np.minimum(cutoffs, places.max(initial=0) + 1)
        at[query] = (places[:, None] < lengths).sum(0) / lengths
    answered = ~np.isnan(each)
    if not answered.any():
        return Retrieved(float("nan"), each, np.full(len(cutoffs), np.nan), at)
    return Retrieved(float(each[answered].mean()), each, at[answered].mean(0), at)


def revisited(ranked: Int[np.ndarray, "q n"], truth: GroundTruth) -> dict[str, Retrieved]:
    """The three protocols: Easy, Medium (easy and hard pictures count) and Hard (easy ones are left out).

    Args:
        ranked: (q, n) numbers of pictures, the most similar first.
        truth: which pictures are which to each query.
    """

    def both(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.concatenate(pair) for pair in zip(one, other)]

    return {
        "Easy": judge(ranked, truth.easy, both(truth.junk, truth.hard)),
        "Medium": judge(ranked, both(truth.easy, truth.hard), truth.junk),
        "Hard": judge(ranked, truth.hard, both(truth.junk, truth.easy)),
    }


def rank(bank: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"]) -> Int[np.ndarray, "q n"]:
    """All rows of a bank in the order of their cosine similarity to each query, of equal ones the first first."""
    return nearest_rows(bank, queries, k=len(bank)).index


def retrieval_results(judged: dict[str, Retrieved], mark: Stamp, *, layer: str, count: int, seed: int) -> list[Result]:
    """A line for the mean average precision and each precision of every protocol that has an answer.

    Args:
        judged: as :func:`revisited` returns it.
        mark: the shared fields.
        layer: whose embedding it was.
        count: how many pictures were searched.
        seed: of the embedding.
    """
    lines = []
    for name, found in judged.items():
        figures = [("mAP", found.mean), *((f"mP@{k}", value) for k, value in zip(CUTOFFS, found.precision))]
        lines += [
            Result(f"retrieval, {name}", metric, float(value), count, seed, layer=layer, **mark._asdict())
            for metric, value in figures
            if not np.isnan(value)
        ]
    return lines
