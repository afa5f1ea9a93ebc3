"""Balanced labels against Sinkhorn's iteration written plainly, its optimality conditions, and the paper's own code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import numbers
from torch import Tensor

from unshuffle.ops import _native, transport
from unshuffle.ops.transport import Transport

both_paths = pytest.mark.usefixtures("path")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def log_probabilities(rows: int, classes: int, *, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Rows that favour some classes over others."""
    liked = numbers(classes, seed=seed + 1000)
    return (spread * (numbers(rows, classes, seed=seed) + liked)).log_softmax(-1)


def scaled_plainly(scores: Tensor, a: Tensor, b: Tensor, iterations: int = 20_000) -> Tensor:
    """The plan of Sinkhorn's iteration on logarithms of the whole matrix, until nothing moves."""
    rows, columns = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(iterations):
        rows = a.log() - (scores + columns).logsumexp(1)
        new = b.log() - (scores + rows.unsqueeze(1)).logsumexp(0)
        done = (new - columns).abs().max() < 1e-14
        columns = new
        if done:
            break
    return (scores + rows.unsqueeze(1) + columns).exp()


def even(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------- the answer


@both_paths
@pytest.mark.parametrize(("rows", "classes"), [(40, 5), (7, 3), (3, 7), (50, 16), (33, 17), (1, 4), (6, 1), (1, 1)])
@pytest.mark.parametrize("power", [0.1, 1.0, 10.0])
def test_the_plan_is_that_of_sinkhorns_iteration(rows, classes, power):
    scores = log_probabilities(rows, classes)

    found = transport(scores, power=power, tolerance=1e-13, max_iters=20_000)

    expected = scaled_plainly(power * scores, even(rows), even(classes))
    torch.testing.assert_close(found.plan(), expected, rtol=1e-9, atol=1e-11)
    assert found.converged
    most = found.plan().gather(1, found.labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(most, found.plan().amax(1))  # not the class: one sample alone goes to all alike


@both_paths
def test_the_plan_meets_the_conditions_of_an_optimum_with_any_marginals():
    scores, a, b = log_probabilities(60, 9), 0.1 + numbers(60, seed=3).abs(), 0.1 + numbers(9, seed=4).abs()

    found = transport(scores, power=8.0, tolerance=1e-12, max_iters=5000, sample_marginals=a, class_marginals=b)

    plan = found.plan()
    torch.testing.assert_close(plan.sum(1), a / a.sum(), rtol=1e-13, atol=0)
    torch.testing.assert_close(plan.sum(0), b / b.sum(), rtol=0, atol=1e-11)
    duals = plan.log() - 8.0 * scores
    expected = found.sample_offsets.unsqueeze(1) + found.class_offsets
    torch.testing.assert_close(duals, expected, rtol=0, atol=1e-10)


@both_paths
def test_the_error_is_the_share_of_mass_in_a_wrong_class_of_the_plan_it_comes_with():
    for iterations in (0, 1, 7):
        found = transport(log_probabilities(80, 6), max_iters=iterations, tolerance=0.0)

        assert found.iterations == iterations
        assert not found.converged
        assert found.error == pytest.approx(0.5 * float((found.plan().sum(0) - 1 / 6).abs().sum()), rel=1e-9)


@both_paths
def test_iterations_stop_as_soon_as_the_error_is_within_the_tolerance():
    scores = log_probabilities(200, 10)
    found = transport(scores, tolerance=1e-2)

    before = transport(scores, tolerance=0.0, max_iters=found.iterations - 1)

    assert found.converged
    assert found.error <= 1e-2 < before.error


@both_paths
def test_the_tolerance_is_no_stricter_for_more_samples():
    scores = log_probabilities(70, 9)

    few, many = (transport(x, tolerance=1e-3) for x in (scores, scores.repeat(50, 1)))

    assert few.iterations == many.iterations > 5
    assert many.error == pytest.approx(few.error, rel=1e-9)


@both_paths
@pytest.mark.parametrize("name", ["n500_k10_l25", "n1000_k30_l25", "n1000_k30_l10", "n103_k10_l25_nondiv"])
def test_the_papers_code_finds_the_same_plan_after_as_many_iterations(name, golden):
    data = golden("sela_sk")
    scores, power = torch.from_numpy(data[f"{name}/P"]).log(), float(data[f"{name}/lambda"])
    # Their first step scales the classes of the matrix as it is: that makes our start, and one iteration less.
    start = -(power * scores).logsumexp(0)

    iterations = int(data[f"{name}/iters"]) - 1
    found = transport(scores, power=power, tolerance=0.0, max_iters=iterations, start=start)

    np.testing.assert_allclose(found.plan().numpy(), data[f"{name}/Q"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.labels.numpy(), data[f"{name}/labels"])


@both_paths
@pytest.mark.parametrize("name", ["n500_k10_l10", "n800_k128_l10", "n500_k10_l25"])
def test_the_papers_labels_of_small_images_are_met_from_any_start(name, golden):
    data = golden("sela_sk_cifar")
    scores = torch.from_numpy(data[f"{name}/P"]).log()

    found = transport(scores, power=25.0 if name.endswith("l25") else 10.0, tolerance=1e-6)

    np.testing.assert_array_equal(found.labels.numpy(), data[f"{name}/labels"])
    cost = -scores.gather(1, found.labels.unsqueeze(1)).mean()
    np.testing.assert_allclose(cost.item(), data[f"{name}/cost"], rtol=1e-7)


@both_paths
def test_three_iterations_of_swav_are_two_of_ours_from_its_first_step():
    scores, epsilon = numbers(40, 6).tanh(), 0.05
    shares = (scores / epsilon).exp().T  # classes on rows
    for _ in range(3):
        shares = shares / shares.sum(1, keepdim=True) / 6
        shares = shares / shares.sum(0, keepdim=True) / 40

    start = -(scores / epsilon).logsumexp(0)
    found = transport(scores, power=1 / epsilon, start=start, max_iters=2, tolerance=0.0)

    torch.testing.assert_close(found.plan(), shares.T, rtol=1e-10, atol=0)


@both_paths
def test_a_warm_start_needs_fewer_iterations_and_ends_at_the_same_plan():
    scores = log_probabilities(300, 12)
    cold = transport(scores, tolerance=1e-9, max_iters=5000)
    drifted = scores + 0.01 * numbers(300, 12, seed=9)

    again = transport(drifted, tolerance=1e-9, max_iters=5000)
    warm = transport(drifted, tolerance=1e-9, max_iters=5000, start=cold.class_offsets)

    assert warm.iterations < again.iterations
    assert transport(scores, tolerance=1e-9, start=cold.class_offsets).iterations == 0
    torch.testing.assert_close(warm.plan(), again.plan(), rtol=0, atol=1e-9)


@both_paths
def test_the_numbers_of_a_row_count_by_their_differences_alone():
    scores = log_probabilities(50, 7)
    shifted = scores + 100 * numbers(50, 1, seed=5)

    expected, found = (transport(x, tolerance=1e-10, max_iters=3000) for x in (scores, shifted))

    torch.testing.assert_close(found.plan(), expected.plan(), rtol=0, atol=1e-9)


@both_paths
def test_relabelling_samples_and_classes_relabels_the_plan(rng):
    scores = log_probabilities(45, 8)
    p, q = torch.randperm(45, generator=rng), torch.randperm(8, generator=rng)

    expected, found = (transport(x, tolerance=1e-10, max_iters=3000) for x in (scores, scores[p][:, q]))

    torch.testing.assert_close(found.plan(), expected.plan()[p][:, q], rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------------------- dtypes, paths, memory


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_numbers_give_the_answer_for_the_same_numbers_in_double_precision(dtype):
    scores = log_probabilities(500, 33).to(dtype)

    found, expected = (transport(x, tolerance=0.0, max_iters=30) for x in (scores, scores.double()))

    assert found.error == pytest.approx(expected.error, rel=1e-4)
    torch.testing.assert_close(found.class_offsets, expected.class_offsets, rtol=0, atol=1e-4)
    clear = expected.plan().topk(2).values.log().diff().abs().squeeze() > 1e-3
    assert clear.float().mean() > 0.98
    assert torch.equal(found.labels[clear], expected.labels[clear])
    assert found.plan().dtype == torch.float32
    assert found.class_offsets.dtype == found.sample_offsets.dtype == torch.float64


@pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("rows", "classes"), [(2500, 10), (1500, 47), (300, 160), (5, 3)])
def test_both_paths_agree(dtype, close, rows, classes):
    scores, weights = log_probabilities(rows, classes).to(dtype), numbers(rows, seed=2).abs()
    options = {"tolerance": 0.0, "max_iters": 10, "sample_marginals": weights}

    in_c = transport(scores, **options)
    with _native.disabled():
        in_pytorch = transport(scores, **options)

    torch.testing.assert_close(in_c.class_offsets, in_pytorch.class_offsets, rtol=close, atol=close)
    torch.testing.assert_close(in_c.sample_offsets, in_pytorch.sample_offsets, rtol=close, atol=close)
    assert (in_c.labels == in_pytorch.labels).float().mean() > (0.9999 if close < 1e-9 else 0.998)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 3e-5), (torch.float64, 1e-11)], ids=str)
@pytest.mark.parametrize("power", [1.0, 25.0, 200.0])  # with the last, offsets move too far for what was kept
@pytest.mark.parametrize(("rows", "classes"), [(2500, 10), (300, 47), (5, 3)])
def test_exponentials_that_are_kept_change_nothing(dtype, close, power, rows, classes):
    scores, weights = log_probabilities(rows, classes).to(dtype), numbers(rows, seed=2).abs()
    scores[:, 0] -= 1.0  # a class that few samples like
    weights[::7] = 0.0
    options = {"tolerance": 0.0, "max_iters": 30, "sample_marginals": weights, "power": power}

    kept, anew = transport(scores, **options), transport(scores, spare_memory=True, **options)

    torch.testing.assert_close(kept.class_offsets, anew.class_offsets, rtol=close, atol=close)
    torch.testing.assert_close(kept.sample_offsets, anew.sample_offsets, rtol=close, atol=close * power)
    torch.testing.assert_close(kept.plan(), anew.plan(), rtol=20 * close, atol=close / rows)
    assert abs(kept.error - anew.error) <= close
    assert (kept.labels == anew.labels).float().mean() > (0.9999 if close < 1e-9 else 0.998)


@both_paths
@pytest.mark.parametrize("layout", ["transposed", "every other class", "every other row", "one row for all"])
def test_how_the_matrix_lies_in_memory_does_not_show(layout):
    scores = log_probabilities(64, 64)
    given = {
        "transposed": scores.T,
        "every other class": scores[:, ::2],
        "every other row": scores[::2],
        "one row for all": scores[:1].expand(20, -1),
    }[layout]

    found, expected = (transport(x, tolerance=0.0, max_iters=5, spare_memory=True) for x in (given, given.contiguous()))

    torch.testing.assert_close(found.class_offsets, expected.class_offsets, rtol=0, atol=0)
    assert torch.equal(found.labels, expected.labels)


def test_threads_share_the_rows_and_change_no_bit():
    scores = log_probabilities(5000, 20).float()
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(transport(scores, tolerance=0.0, max_iters=5))
    torch.set_num_threads(before)

    for found in results[1:]:
        assert torch.equal(found.class_offsets, results[0].class_offsets)
        assert torch.equal(found.sample_offsets, results[0].sample_offsets)


@both_paths
def test_nothing_is_differentiated():
    scores = log_probabilities(20, 4).requires_grad_()

    found = transport(scores)

    assert not found.plan().requires_grad
    assert not found.class_offsets.requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_answers_lie_on_the_device_of_the_matrix(device):
    scores = log_probabilities(100, 5)

    found, expected = transport(scores.to(device), tolerance=1e-9), transport(scores, tolerance=1e-9)

    assert {found.labels.device.type, found.class_offsets.device.type, found.plan().device.type} == {device}
    torch.testing.assert_close(found.plan().cpu(), expected.plan(), rtol=1e-9, atol=1e-12)


@both_paths
def test_a_matrix_of_many_rows_is_balanced_within_the_tolerance():
    found = transport(log_probabilities(20_000, 12).float(), tolerance=1e-3)

    assert found.converged
    assert 0.5 * (found.sizes() / 20_000 - 1 / 12).abs().sum() < 0.02  # labels round what the plan shares out


# ------------------------------------------------------------------------------------------------------------ chunks


class Stored(Sequence):
    """Chunks of a file that are opened when they are asked for, and counted."""

    def __init__(self, path: Path, shape: tuple[int, int], cuts: Sequence[int]) -> None:
        self.path, self.shape, self.cuts, self.reads = path, shape, cuts, 0

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        stored = np.memmap(self.path, np.float32, "c", shape=self.shape)
        return torch.from_numpy(stored[self.cuts[index] : self.cuts[index + 1]])


@both_paths
def test_chunks_of_a_file_on_disk_give_what_the_whole_matrix_gives_at_one_read_an_iteration(tmp_path):
    scores, cuts = log_probabilities(3000, 6).float(), (0, 1024, 1024, 2048, 3000)
    scores.numpy().tofile(tmp_path / "scores")
    stored = Stored(tmp_path / "scores", (3000, 6), cuts)

    transport(stored, tolerance=0.0, max_iters=3)
    reads, stored.reads = stored.reads, 0
    found, expected = (transport(x, tolerance=0.0, max_iters=8, spare_memory=True) for x in (stored, scores))

    assert stored.reads - reads == (8 - 3) * len(stored)
    exactly = {"rtol": 0, "atol": 0 if _native.available() else 1e-6}  # PyTorch's blocks end elsewhere
    torch.testing.assert_close(found.class_offsets, expected.class_offsets, **exactly)
    torch.testing.assert_close(torch.cat([found.plan(i) for i in range(4)]), expected.plan(), **exactly)
    assert torch.equal(found.labels, expected.labels)


@both_paths
def test_chunks_cut_anywhere_give_what_the_whole_matrix_gives():
    scores, weights = log_probabilities(900, 7), numbers(900, seed=2).abs()
    chunks = scores.split([1, 0, 500, 399])

    found, expected = (
        transport(x, tolerance=0.0, max_iters=8, sample_marginals=weights) for x in (list(chunks), scores)
    )

    torch.testing.assert_close(found.class_offsets, expected.class_offsets, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat([found.plan(i) for i in range(4)]), expected.plan(), rtol=1e-11, atol=0)
    assert torch.equal(found.labels, expected.labels)


# ---------------------------------------------------------------------------------------------------------- extremes


@both_paths
def test_samples_of_weight_0_have_no_label_and_their_rows_do_not_matter():
    scores, weights = log_probabilities(30, 4), torch.ones(30)
    spoilt = scores.clone()
    spoilt[3], spoilt[7, 1], spoilt[11] = math.nan, math.inf, -math.inf
    weights[[3, 7, 11]] = 0
    rest = weights > 0

    found = transport(spoilt, sample_marginals=weights, tolerance=1e-10, max_iters=3000)

    expected = transport(scores[rest], tolerance=1e-10, max_iters=3000)
    assert found.labels[~rest].tolist() == [-1, -1, -1]
    assert torch.equal(found.labels[rest], expected.labels)
    torch.testing.assert_close(found.plan()[rest], expected.plan(), rtol=1e-10, atol=1e-12)
    assert (found.plan()[~rest] == 0).all()
    assert (found.sample_offsets[~rest] == -math.inf).all()
    assert found.sizes().sum() == 27


@both_paths
def test_a_class_of_marginal_0_receives_nothing():
    scores = log_probabilities(30, 4)

    found = transport(scores, class_marginals=torch.tensor([1.0, 0.0, 2.0, 1.0]), tolerance=1e-10, max_iters=3000)

    others = torch.tensor([0, 2, 3])
    expected = transport(scores[:, others], class_marginals=torch.tensor([1.0, 2.0, 1.0]), tolerance=1e-10)
    assert (found.plan()[:, 1] == 0).all()
    assert found.class_offsets[1] == -math.inf
    torch.testing.assert_close(found.plan()[:, others], expected.plan(), rtol=0, atol=1e-8)


@both_paths
def test_minus_infinity_forbids_a_class_to_a_sample():
    scores = log_probabilities(40, 5)
    scores[torch.arange(0, 40, 2), 1], scores[:9, 3] = -math.inf, -math.inf

    found = transport(scores, power=5.0, tolerance=1e-12, max_iters=5000)

    expected = scaled_plainly(5.0 * scores, even(40), even(5))
    torch.testing.assert_close(found.plan(), expected, rtol=0, atol=1e-11)
    assert (found.plan()[scores == -math.inf] == 0).all()


@both_paths
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_a_class_far_below_underflow_receives_its_share(dtype, close):
    scores = log_probabilities(50, 4).to(dtype)
    scores[:, 2] -= 300.0  # exp(-7500) at power 25

    found = transport(scores, tolerance=close / 10, max_iters=5000)

    assert found.converged
    assert found.plan().sum(0)[2].item() == pytest.approx(0.25, abs=close)


@both_paths
def test_a_power_near_the_hard_assignment_stays_finite():
    found = transport(log_probabilities(100, 5).float(), power=1e4, max_iters=50)

    assert found.class_offsets.isfinite().all()
    assert found.plan().isfinite().all()
    torch.testing.assert_close(found.plan().sum(1), torch.full((100,), 0.01))


@both_paths
@pytest.mark.parametrize("rows", [0, 3])
def test_no_rows_and_chunks_without_rows_are_accepted(rows):
    scores = log_probabilities(rows, 4)

    found = transport([scores[:0], scores, scores[:0]])

    assert found.labels.shape == (rows,)
    assert found.sizes().sum() == rows
    assert found.plan(0).shape == (0, 4)
    assert rows or (found.converged and found.iterations == 0)


# ------------------------------------------------------------------------------------------------------------ errors


def with_row(values: float | list[float]) -> Tensor:
    scores = log_probabilities(2000, 3)
    scores[17] = torch.tensor(values)
    return scores


@both_paths
@pytest.mark.errors
@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (with_row([0.0, math.nan, 0.0]), {}, r"row 17 holds NaN\. Leave it out"),
        (with_row([0.0, math.inf, 0.0]), {}, r"row 17 holds \+inf"),
        (with_row(-math.inf), {}, "row 17 holds nothing but -inf"),
        ([log_probabilities(5, 3), with_row(math.nan)], {}, "row 17 of chunk 1 holds NaN"),
        (with_row([0.0, -math.inf, -math.inf]), {"class_marginals": torch.tensor([0.0, 1.0, 1.0])}, "row 17 is -inf"),
        (torch.tensor([[0.0, -math.inf]] * 3), {}, "class 1 is -inf in every row"),
        (torch.zeros(3, 0), {}, r"must be samples and classes, \(N, K\)"),
        (torch.zeros(3), {}, r"must be samples and classes, \(N, K\)"),
        (
            [torch.zeros(3, 2), torch.zeros(3, 4)],
            {},
            r"`log_probabilities\[1\]` must have the classes, dtype and device",
        ),
        ([torch.zeros(3, 2), torch.zeros(3, 2).double()], {}, r"got \(3, 2\), torch.float64, cpu"),
        ([], {}, "at least one chunk"),
        (torch.zeros(3, 2), {"power": 0.0}, "`power` must be positive"),
        (torch.zeros(3, 2), {"power": math.inf}, "`power` must be finite"),
        (torch.zeros(3, 2), {"tolerance": -1.0}, "`tolerance` must be 0 or more"),
        (torch.zeros(3, 2), {"max_iters": -1}, "`max_iters` must be 0 or more"),
        (torch.zeros(3, 2), {"sample_marginals": torch.ones(2)}, "one number for each of the 3 rows; got 2"),
        (torch.zeros(3, 2), {"sample_marginals": torch.ones(4)}, "one number for each of the 3 rows; got 4"),
        (torch.zeros(3, 2), {"sample_marginals": torch.ones(3, 1)}, r"got the shape \(3, 1\)"),
        (torch.zeros(3, 2), {"sample_marginals": -torch.ones(3)}, "one number a row, 0 or more"),
        (torch.zeros(3, 2), {"sample_marginals": torch.zeros(3)}, "one number a row, 0 or more"),
        (torch.zeros(3, 2), {"class_marginals": torch.ones(3)}, "each of the 2 classes"),
        (torch.zeros(3, 2), {"class_marginals": torch.tensor([-1.0, 2.0])}, "0 or more and not all 0"),
        (torch.zeros(3, 2), {"start": torch.tensor([0.0, math.nan])}, "`start` must hold a finite number"),
        (torch.zeros(3, 2), {"start": torch.zeros(3)}, "`start` must hold a finite number"),
    ],
)
def test_what_is_no_transport_problem_is_refused(matrix, options, message):
    with pytest.raises(ValueError, match=message):
        transport(matrix, **options)


class Growing(Sequence):
    """Gives more rows each time."""

    reads = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        return log_probabilities(10 * self.reads, 3)


@both_paths
@pytest.mark.errors
def test_chunks_that_change_between_two_reads_are_refused():
    with pytest.raises(ValueError, match="the rows of its first read"):
        transport(Growing())


@pytest.mark.errors
def test_integers_are_refused():
    with pytest.raises(TypeError, match="`log_probabilities` must be floating point"):
        transport(torch.ones(3, 2, dtype=torch.int64))


def test_the_result_is_told_in_one_line():
    found = transport(torch.zeros(4, 2))

    assert isinstance(found, Transport)
    assert repr(found) == "Transport(iterations=0, error=0.0, class_error=0.0, converged=True)"
