"""Balanced labels of many samples: half precision as it lies on disk, the error of single classes, and shorter ways."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracles import numbers
from torch import Tensor

from unshuffle.ops import _native, transport
from unshuffle.ops.anderson import Anderson

both_paths = pytest.mark.usefixtures("path")
in_c = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")
HALVES = (torch.float16, torch.bfloat16)


def crowded(rows: int, classes: int, *, seed: int = 0) -> Tensor:
    """Log-probabilities by cosines to centres, of which the first is liked best by most: many rows have to move."""
    centres = torch.nn.functional.normalize(numbers(classes, 16, seed=seed), dim=-1)
    own = (numbers(rows, seed=seed + 1).abs() * classes / 4).long().clamp(max=classes - 1)
    features = torch.nn.functional.normalize(centres[own] + 0.25 * numbers(rows, 16, seed=seed + 2), dim=-1)
    return (3 * features @ centres.T).log_softmax(-1)


# ------------------------------------------------------------------------------------------------------ half precision


@in_c
@pytest.mark.parametrize("dtype", HALVES)
def test_every_number_of_16_bits_is_widened_to_itself(dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    finite = every[every.isfinite()].unsqueeze(1)

    found = transport(finite, power=1.0, max_iters=0)  # one class: the level of a row is its number

    levels = -math.log(len(finite)) - found.sample_offsets
    torch.testing.assert_close(levels, finite.squeeze(1).double(), rtol=1e-12, atol=1e-13)


@in_c
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("layout", ["dense", "every other row", "every other class"])
@pytest.mark.parametrize("classes", [1, 15, 16, 47, 160])
def test_rows_of_16_bits_give_bit_for_bit_what_they_give_widened(dtype, layout, classes):
    scores = crowded(1500, 2 * classes)
    scores[::5, 1] = -math.inf
    scores = scores.to(dtype)
    given = {"dense": scores, "every other row": scores[::2], "every other class": scores[:, ::2]}[layout]

    found, expected = (
        transport(x, tolerance=0.0, max_iters=6, spare_memory=True) for x in (given, given.float().contiguous())
    )

    assert torch.equal(found.class_offsets, expected.class_offsets)
    assert torch.equal(found.sample_offsets, expected.sample_offsets)
    assert torch.equal(found.labels, expected.labels)


@both_paths
@pytest.mark.errors
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    ("value", "message"), [(math.nan, "row 17 holds NaN"), (math.inf, "row 17 holds .inf"), (-math.inf, "row 17 holds")]
)
def test_rows_of_16_bits_that_no_sample_may_have_are_refused(dtype, value, message):
    scores = crowded(100, 3).to(dtype)
    scores[17] = value

    with pytest.raises(ValueError, match=message):
        transport(scores)


@both_paths
def test_exact_sizes_are_found_from_rows_of_16_bits():
    scores = crowded(400, 7).half()

    found, expected = (transport(x, equal_sizes=True) for x in (scores, scores.float()))

    assert torch.equal(found.sizes(), expected.sizes())
    totals = [scores.double().gather(1, each.labels.unsqueeze(1)).sum().item() for each in (found, expected)]
    assert totals[0] == pytest.approx(totals[1], abs=400 * 0.01 / 25)


@both_paths
def test_a_memory_mapped_matrix_needs_no_chunks(tmp_path):
    scores = crowded(3000, 20).half()
    scores.numpy().tofile(tmp_path / "scores")

    stored = torch.from_numpy(np.memmap(tmp_path / "scores", np.float16, "c", shape=(3000, 20)))
    found, expected = transport(stored), transport(scores)

    assert torch.equal(found.class_offsets, expected.class_offsets)
    assert torch.equal(found.labels, expected.labels)


@both_paths
def test_single_precision_is_enough_where_powers_of_probabilities_are_all_lost():
    """The paper's largest problem, of 3,000 classes at a power of 25."""
    scores = (0.3 * numbers(400, 3000) + 0.3 * numbers(3000, seed=1)).log_softmax(-1).float()
    assert (scores.exp() ** 25).sum(1).max() == 0  # what its code would divide by

    found, expected = (transport(x, tolerance=1e-2) for x in (scores, scores.double()))

    assert found.converged
    assert found.iterations == expected.iterations > 1
    torch.testing.assert_close(found.class_offsets, expected.class_offsets, rtol=0, atol=1e-3)
    assert (found.labels == expected.labels).double().mean() > 0.99


# ------------------------------------------------------------------------------------------------ the error of classes


@both_paths
def test_the_class_error_is_by_how_much_the_worst_class_misses_its_share():
    marginals = torch.tensor([3.0, 1.0, 0.0, 2.0], dtype=torch.float64)

    found = transport(crowded(500, 4), max_iters=4, tolerance=0.0, class_marginals=marginals)

    shares = marginals / marginals.sum()
    received = found.plan().sum(0)
    assert received[2] == 0
    assert found.class_error == pytest.approx(float((received / shares - 1)[shares > 0].abs().max()), rel=1e-9)


@both_paths
def test_iterations_go_on_until_both_errors_are_within_their_tolerances():
    scores = crowded(500, 12)
    loose = transport(scores, tolerance=1e-2, max_iters=5000)
    found = transport(scores, tolerance=1e-2, class_tolerance=1e-3, max_iters=5000)
    before = transport(scores, tolerance=0.0, max_iters=found.iterations - 1)

    assert loose.class_error > 1e-3 >= found.class_error
    assert found.converged
    assert before.class_error > 1e-3
    assert not transport(scores, tolerance=1e-2, class_tolerance=1e-3, max_iters=loose.iterations).converged


# ------------------------------------------------------------------------------------------------------- shorter ways


@pytest.mark.parametrize("seed", [0, 5])
def test_an_accelerated_way_is_shorter(seed):
    scores = crowded(1000, 40, seed=seed)

    plain, short = (
        transport(scores, tolerance=1e-5, max_iters=2000, accelerate=accelerate) for accelerate in (False, True)
    )

    assert short.converged
    assert short.iterations < plain.iterations / 2


@both_paths
def test_an_accelerated_way_ends_at_the_plan_of_these_marginals_around_closed_classes_and_forbidden_pairs():
    scores, weights = crowded(300, 9), numbers(300, seed=7).abs()
    scores[::3, 4], weights[5] = -math.inf, 0.0
    marginals = torch.tensor([1.0, 2, 0, 1, 1, 3, 1, 1, 1], dtype=torch.float64)
    options = {"class_marginals": marginals, "sample_marginals": weights, "max_iters": 3000}

    found = transport(scores, tolerance=1e-10, accelerate=True, **options)

    # A plan that exp(power * scores + offsets of rows + offsets of columns) is, with these sums, is the optimum.
    plan = found.plan()
    assert found.converged
    torch.testing.assert_close(plan.sum(0), marginals / marginals.sum(), rtol=0, atol=3e-10)
    torch.testing.assert_close(plan.sum(1), weights / weights.sum(), rtol=1e-12, atol=1e-16)
    expected = (25 * scores + found.class_offsets + found.sample_offsets.unsqueeze(1)).exp()
    torch.testing.assert_close(plan, expected.nan_to_num(0.0), rtol=1e-9, atol=1e-15)


@both_paths
@pytest.mark.parametrize("power", [1.0, 50.0])
def test_an_accelerated_way_arrives_from_far_away(power):
    start = 300 * numbers(10, seed=3)

    found = transport(crowded(400, 10), power=power, start=start, accelerate=True, tolerance=1e-3, max_iters=3000)

    assert found.converged


def test_a_linear_iteration_is_solved_after_as_many_steps_as_it_has_dimensions():
    slope = 0.3 * numbers(5, 5)
    slope = 0.95 * slope / torch.linalg.eigvals(slope).abs().max()
    goal, point = numbers(5, seed=2), torch.zeros(5, dtype=torch.float64)
    path = Anderson(torch.ones(5, dtype=torch.float64), history=6, furthest=math.inf)

    for _ in range(7):
        residual = slope @ (point - goal) + goal - point
        point = path.step(point, residual, 0.0)

    torch.testing.assert_close(point, goal, rtol=0, atol=1e-4)


def test_without_a_history_the_iteration_is_as_it_was():
    path, point, residual = Anderson(torch.ones(3), history=0, furthest=math.inf), numbers(3), numbers(3, seed=1)

    assert torch.equal(path.step(point, residual, 1.0), point + residual)
    assert torch.equal(path.step(point, 2 * residual, 1.0), point + 2 * residual)


def test_an_iteration_that_has_arrived_stays_where_it_is():
    path, point, still = (
        Anderson(torch.ones(3, dtype=torch.float64), history=4, furthest=math.inf), numbers(3), torch.zeros(3).double()
    )  # fmt: skip

    for _ in range(3):
        assert torch.equal(path.step(point, still, 0.0), point)


def test_residuals_that_hardly_differ_do_not_lead_far_away():
    path, point = Anderson(torch.ones(3, dtype=torch.float64), history=4, furthest=20.0), numbers(3)
    residual = numbers(3, seed=1)
    path.step(point, residual, 1.0)

    following = path.step(point + residual, residual * (1 - 1e-6), 1.0)

    assert (following - point).abs().max() <= 20 + 2 * residual.abs().max()


@both_paths
def test_classes_too_faint_for_digits_are_weighed_by_logarithms_block_by_block(monkeypatch):
    scores = crowded(3000, 40)
    monkeypatch.setattr("unshuffle.ops.shares._BYTES_AT_A_TIME", {"cpu": 2**10})
    start = torch.zeros(40, dtype=torch.float64)
    start[::2] = -900.0  # half of the classes receive less than any number of double precision tells

    few = transport([scores], start=start, max_iters=1)

    worth = 25 * scores.double() + start
    received = (worth - worth.logsumexp(1, keepdim=True)).logsumexp(0) - math.log(3000)
    expected = start - math.log(40) - received
    torch.testing.assert_close(few.class_offsets, expected - expected.max(), rtol=1e-6, atol=1e-4)


def test_a_step_that_proves_bad_is_taken_back():
    path, first, second = (
        Anderson(torch.ones(3, dtype=torch.float64), history=4, furthest=math.inf),
        numbers(3),
        numbers(3, seed=1),
    )
    residual = numbers(3, seed=2)
    path.step(first, residual, 1.0)

    assert torch.equal(path.step(second, 5 * residual, 2.1), first + residual)  # the plain step from the last good one
    again = first + residual
    assert torch.equal(path.step(again, residual, 9.0), again + residual)  # of which nothing is known yet


# ---------------------------------------------------------------------------------------------------- several processes


CUTS = {2: (0, 700, 2500), 4: (0, 700, 700, 1024, 2500)}
CASES = (
    # Rows add up in single precision, and cuts change the order: what that leaves is not to grow.
    (torch.float16, {"tolerance": 0.0, "max_iters": 40}),
    (torch.float64, {"tolerance": 1.0, "class_tolerance": 1e-3, "max_iters": 5000, "accelerate": True}),
)


def rows_of(folder: str | Path, first: int = 0, last: int = 2500) -> Tensor:
    """Some rows of the file, which is mapped and not read."""
    return torch.from_numpy(np.memmap(f"{folder}/scores", np.float16, "c", shape=(2500, 24))[first:last])


def one_of_four(rank: int, folder: str) -> None:
    """Two of the four solve it as a group of two, then all; each maps its rows of the file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=4)
    sent, all_reduce = [], dist.all_reduce

    def counted(values: Tensor, **options) -> object:
        sent.append(values.numel())
        return all_reduce(values, **options)

    dist.all_reduce = counted
    found = {}
    for processes, group in ((2, dist.new_group([0, 1])), (4, dist.group.WORLD)):
        for case, (dtype, options) in enumerate(CASES) if rank < processes else ():
            rows = rows_of(folder, *CUTS[processes][rank : rank + 2])
            sent.clear()
            result = transport(rows.to(dtype), process_group=group, **options)
            found[processes, case] = result.class_offsets, result.labels, result.iterations, list(sent)
        if rank < processes:
            rows = rows_of(folder, *CUTS[processes][rank : rank + 2]).double()
            found[processes, "exact"] = transport(rows, process_group=group, equal_sizes=True).labels
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.once
def test_two_and_four_processes_find_what_one_finds_by_one_sum_of_k_numbers_an_iteration(tmp_path: Path):
    """And with exact sizes, all their labels together have the sizes that those of one have."""
    crowded(2500, 24).half().numpy().tofile(tmp_path / "scores")

    mp.spawn(one_of_four, args=(str(tmp_path),), nprocs=4)

    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(4)]
    exact = transport(rows_of(tmp_path).double(), equal_sizes=True).sizes()
    for processes in CUTS:
        sizes = torch.cat([each[processes, "exact"] for each in found[:processes]]).bincount(minlength=24)
        assert torch.equal(sizes, exact)
        assert sorted(sizes.tolist()) == [104] * 20 + [105] * 4
    for case, (dtype, options) in enumerate(CASES):
        expected = transport(rows_of(tmp_path).to(dtype), **options)
        looks = expected.iterations + (2 if expected.converged else 1)  # at each change, at the end, and for the labels
        for processes in CUTS:
            parts = [each[processes, case] for each in found[:processes]]
            labels = torch.cat([labels for _, labels, _, _ in parts])
            assert (labels == expected.labels).double().mean() > 0.999
            for offsets, _, iterations, sent in parts:
                torch.testing.assert_close(offsets, expected.class_offsets, rtol=0, atol=1e-6)
                assert iterations == expected.iterations
                assert sent == [24 + 2] * looks
