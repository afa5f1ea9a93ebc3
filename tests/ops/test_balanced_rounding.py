"""Labels of exact sizes against the assignment problem they solve, solved as one; on both paths."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracles import numbers
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unshuffle.ops import transport
from unshuffle.ops.balanced_rounding import EPSILON, _whole_table, whole_sizes

both_paths = pytest.mark.usefixtures("path")
POWER = 25.0


def log_probabilities(rows: int, classes: int, *, seed: int = 0) -> Tensor:
    """Rows that favour some classes over others."""
    return (numbers(rows, classes, seed=seed) + numbers(classes, seed=seed + 1000)).log_softmax(-1)


def total(scores: Tensor, labels: Tensor) -> float:
    return POWER * float(scores.gather(1, labels.unsqueeze(1)).sum())


def best_total(scores: Tensor, sizes: Tensor) -> float:
    """The optimum as an assignment of samples to places, each class repeated as often as it has places."""
    places = torch.arange(len(sizes)).repeat_interleave(sizes)
    profit = POWER * scores[:, places].numpy()
    return float(profit[linear_sum_assignment(np.where(np.isfinite(profit), -profit, 1e9))].sum())


@both_paths
@pytest.mark.parametrize(("rows", "classes"), [(12, 3), (13, 4), (40, 9), (3, 7), (5, 1), (1, 1), (60, 60), (150, 8)])
@pytest.mark.parametrize("iterations", [0, 100])
def test_the_total_is_within_epsilon_a_sample_of_the_best_assignment(rows, classes, iterations):
    scores = log_probabilities(rows, classes)

    found = transport(scores, equal_sizes=True, max_iters=iterations)

    assert found.sizes().max() - found.sizes().min() <= 1
    best = best_total(scores, found.sizes())
    assert best - rows * EPSILON <= total(scores, found.labels) <= best + 1e-9


@both_paths
def test_sizes_follow_the_classes_marginals_and_the_largest_remainders():
    scores = log_probabilities(50, 4)
    marginals = torch.tensor([5.0, 0.0, 3.0, 2.5])  # of 50: 23.8, 0, 14.3, 11.9

    found = transport(scores, equal_sizes=True, class_marginals=marginals)

    assert found.sizes().tolist() == [24, 0, 14, 12]
    assert best_total(scores, found.sizes()) - total(scores, found.labels) <= 50 * EPSILON


@both_paths
def test_forbidden_classes_are_avoided_where_the_sizes_allow_it():
    scores = log_probabilities(30, 3)
    scores[:10, 1:], scores[10:20, 0] = -math.inf, -math.inf  # the first ten fill class 0

    found = transport(scores, equal_sizes=True, max_iters=2000)

    assert found.labels[:10].tolist() == [0] * 10
    assert best_total(scores, found.sizes()) - total(scores, found.labels) <= 30 * EPSILON


@both_paths
@pytest.mark.errors
def test_sizes_that_need_a_forbidden_class_are_refused():
    one_class, two_classes = log_probabilities(30, 3), log_probabilities(30, 3)
    one_class[:11, 1:], two_classes[:21, 2] = -math.inf, -math.inf

    for scores in (one_class, two_classes):
        with pytest.raises(ValueError, match="no labels of these sizes avoid all entries of -inf"):
            transport(scores, equal_sizes=True, max_iters=20)


@both_paths
def test_samples_that_are_all_alike_are_shared_out():
    found = transport(torch.zeros(100, 7), equal_sizes=True)

    assert sorted(found.sizes().tolist()) == [14] * 5 + [15] * 2


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_and_narrow_numbers_are_labelled_as_well(dtype):
    scores = log_probabilities(90, 5).to(dtype)

    found = transport(list(scores.split([40, 0, 1, 49])), equal_sizes=True)

    assert found.sizes().tolist() == [18] * 5
    assert best_total(scores.double(), found.sizes()) - total(scores.double(), found.labels) <= 90 * EPSILON


@both_paths
def test_no_samples_need_no_places():
    assert transport(torch.zeros(0, 3), equal_sizes=True).sizes().tolist() == [0, 0, 0]


@pytest.mark.errors
def test_weights_of_samples_are_refused():
    with pytest.raises(ValueError, match="`equal_sizes` counts samples"):
        transport(torch.zeros(3, 2), equal_sizes=True, sample_marginals=torch.ones(3))


@pytest.mark.parametrize(
    ("count", "shares"), [(7, [0.5, 0.5]), (0, [0.3, 0.7]), (10, [0.26, 0.26, 0.48]), (3, [0.2] * 5)]
)
def test_whole_sizes_sum_to_all_and_are_the_nearest(count, shares):
    sizes = whole_sizes(count, torch.tensor(shares, dtype=torch.float64))

    assert sizes.sum() == count
    assert ((sizes - count * torch.tensor(shares)).abs() < 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_table_is_rounded_to_whole_numbers_and_keeps_its_sums(seed):
    draw = np.random.default_rng(seed)
    whole = draw.integers(0, 9, (3, 20))
    whole[1] *= seed > 0  # a process without rows
    table = np.maximum(whole + draw.normal(scale=0.3, size=whole.shape), 0)

    rounded = _whole_table(table, whole.sum(1), whole.sum(0))

    np.testing.assert_array_equal(rounded.sum(0), whole.sum(0))
    np.testing.assert_array_equal(rounded.sum(1), whole.sum(1))
    assert (rounded >= 0).all()
    assert np.abs(rounded - table).max() < 3


# ------------------------------------------------------------------------------------------------- several processes


SHARES = (((0, 40), (40, 97)), ((0, 97), (97, 97)))
"""Rows of each of two processes: two parts, and all beside none."""


def of_process(rank: int, shares: tuple[tuple[int, int], ...]) -> Tensor:
    return log_probabilities(97, 6)[slice(*shares[rank])]


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    group, found = dist.group.WORLD, []
    for shares in SHARES:
        rows = of_process(rank, shares)
        weights = 1 + torch.arange(97.0)[slice(*shares[rank])]
        for options in ({}, {"sample_marginals": weights}, {"equal_sizes": True}):
            result = transport(rows, tolerance=1e-6, process_group=group, **options)
            found.append((result.labels, result.class_offsets, result.error, result.iterations, result.plan()))
        faint = rows.clone()
        faint[:, 2] -= 400  # lost to anything but logarithms
        found.append(transport(faint, tolerance=1e-6, process_group=group).class_offsets)
    message = "none"
    try:
        transport(torch.full((2, 3), math.nan if rank else 0.0), process_group=group)
    except ValueError as error:
        message = str(error)
    torch.save((found, message), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.once
def test_two_processes_find_what_one_finds_with_all_rows(tmp_path: Path):
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)

    (first, said_first), (second, said_second) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))

    scores = log_probabilities(97, 6)
    for case in range(len(SHARES)):
        here, there = first[4 * case : 4 * case + 4], second[4 * case : 4 * case + 4]
        for number, options in enumerate(({}, {"sample_marginals": 1 + torch.arange(97.0)}, {"equal_sizes": True})):
            expected = transport(scores, tolerance=1e-6, **options)
            assert here[number][2:4] == there[number][2:4]
            assert here[number][3] == expected.iterations
            torch.testing.assert_close(here[number][1], expected.class_offsets, rtol=0, atol=1e-9)
            plan = torch.cat([here[number][4], there[number][4]])
            torch.testing.assert_close(plan, expected.plan(), rtol=1e-9, atol=1e-14)
            labels = torch.cat([here[number][0], there[number][0]])
            if not options.get("equal_sizes"):
                assert torch.equal(labels, expected.labels)
            else:
                assert torch.equal(labels.bincount(), expected.sizes())
                for labelled, share in zip((here[number][0], there[number][0]), SHARES[case]):
                    part = scores[slice(*share)]  # each process's labels are the best for its part of the sizes
                    best = best_total(part, labelled.bincount(minlength=6))
                    assert best - len(part) * EPSILON <= total(part, labelled)
                assert total(scores, labels) >= total(scores, expected.labels) - 97 * 0.1
        faint = scores.clone()
        faint[:, 2] -= 400
        expected = transport(faint, tolerance=1e-6).class_offsets
        torch.testing.assert_close(here[3], expected, rtol=0, atol=1e-6)
    assert "another process of `process_group`" in said_first
    assert "row 0 holds NaN" in said_second
