"""Isotonic regression: the blocks against exact rational arithmetic and scipy, the block means against calculus."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from unshuffle.ops import isotonic
from unshuffle.ops.isotonic import _fit_by_min_max, _FitByRows, _least_squares, _log_sum_exp, block_mean


def decreasing_blocks(values: torch.Tensor, log_weights: torch.Tensor | None = None) -> torch.Tensor:
    """The blocks of rows that are one part each."""
    return isotonic.decreasing_blocks(values, torch.zeros(values.shape, dtype=torch.int64), log_weights)


# Eighths: sums are exact in float64, so the oracle's ties are the solver's ties.
eighths = st.integers(-40, 40).map(lambda k: k / 8)


def pooled(values: list[float]) -> list[float]:
    """Oracle: pool adjacent violators, in exact rational arithmetic."""
    blocks: list[tuple[Fraction, int]] = []
    for value in values:
        total, count = Fraction(value), 1
        while blocks and blocks[-1][0] / blocks[-1][1] < total / count:
            below, width = blocks.pop()
            total, count = total + below, count + width
        blocks.append((total, count))
    return [float(total / count) for total, count in blocks for _ in range(count)]


def fitted(values: torch.Tensor) -> torch.Tensor:
    return block_mean(values, decreasing_blocks(values))


@given(values=st.lists(eighths, min_size=1, max_size=12))
def test_the_fit_equals_pooling_in_exact_arithmetic(values):
    found = fitted(torch.tensor([values], dtype=torch.float64))

    np.testing.assert_allclose(found[0].numpy(), pooled(values), atol=1e-12)


@pytest.mark.parametrize("n", [63, 64, 65, 150])
def test_the_fit_equals_pooling_on_either_side_of_the_size_limit(n, rng):
    values = torch.randn(4, n, dtype=torch.float64, generator=rng)
    values[1] = values[1].sort(descending=True).values  # nothing to pool
    values[2] = values[2].sort().values  # one block
    values[3] += torch.linspace(3, -3, n)  # many blocks

    expected = [pooled(row) for row in values.tolist()]

    np.testing.assert_allclose(fitted(values).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n", [2, 9, 64, 65])
def test_the_fit_equals_scipys(n, rng):
    values = torch.randn(8, n, dtype=torch.float64, generator=rng) - torch.linspace(0, 4, n)

    expected = [isotonic_regression(row, increasing=False).x for row in values.numpy()]

    np.testing.assert_allclose(fitted(values).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n", [9, 70])
def test_both_solvers_give_the_same_fit(n, rng):
    values = torch.randn(8, n, dtype=torch.float64, generator=rng) - torch.linspace(0, 4, n)

    weights = torch.randn(8, n, dtype=torch.float64, generator=rng)
    parts = torch.arange(n).expand(8, n) // (n // 2)
    for solve, others in ((_least_squares, None), (_log_sum_exp, weights)):
        by_rows = _FitByRows.apply(solve, values, parts, values if others is None else others)

        torch.testing.assert_close(_fit_by_min_max(values, parts, others), by_rows, rtol=0, atol=1e-12)


def test_no_block_crosses_from_one_part_to_the_next():
    """Worked by hand: 1 and 3 would pool, but a wall stands between them."""
    values, parts = torch.tensor([[1.0, 3.0, 4.0]]), torch.tensor([[0, 1, 1]])

    assert isotonic.decreasing_blocks(values, parts, None).tolist() == [[0, 1, 1]]


def test_blocks_are_numbered_from_the_left_without_gaps():
    """Worked by hand: 1 and 3 pool to 2, then 0 stands alone, then -2 and -1 pool."""
    values = torch.tensor([[1.0, 3.0, 0.0, -2.0, -1.0], [5.0, 4.0, 3.0, 2.0, 1.0]])

    assert decreasing_blocks(values).tolist() == [[0, 0, 1, 2, 2], [0, 1, 2, 3, 4]]
    assert fitted(values)[0].tolist() == [2.0, 2.0, 0.0, -1.5, -1.5]


@pytest.mark.parametrize("n", [9, 70])
def test_one_solver_answers_under_vmap_and_under_functional_gradients(n, rng):
    values = torch.randn(2, 3, n, dtype=torch.float64, generator=rng)

    expected = torch.stack([decreasing_blocks(rows) for rows in values])

    assert torch.equal(torch.func.vmap(decreasing_blocks)(values), expected)
    slope = torch.func.grad(lambda rows: fitted(rows).square().sum())(values[0])
    torch.testing.assert_close(slope, 2 * fitted(values[0]))  # averaging twice is averaging once


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3, 1), (0, 70)])
def test_nothing_to_pool_is_one_block(shape):
    values = torch.zeros(shape, dtype=torch.float64)

    assert torch.equal(decreasing_blocks(values), torch.zeros(shape, dtype=torch.int64))
    assert fitted(values).shape == shape


def test_block_means_replace_every_entry_of_their_block():
    values = torch.tensor([[1.0, 3.0, 7.0, 1.0, 1.0]])

    assert block_mean(values, torch.tensor([[0, 0, 1, 2, 2]])).tolist() == [[2.0, 2.0, 7.0, 1.0, 1.0]]


def test_the_gradient_of_block_means_averages_within_blocks(rng):
    values = torch.randn(2, 5, dtype=torch.float64, generator=rng, requires_grad=True)
    blocks = torch.tensor([[0, 0, 1, 2, 2], [0, 0, 0, 0, 0]])

    assert torch.autograd.gradcheck(lambda v: block_mean(v, blocks), values)
    assert torch.autograd.gradgradcheck(lambda v: block_mean(v, blocks), values)
    slope = torch.ones(2, 5, dtype=torch.float64) * torch.arange(5)
    (back,) = torch.autograd.grad(block_mean(values, blocks), values, slope)
    assert torch.equal(back, torch.tensor([[0.5, 0.5, 2.0, 3.5, 3.5], [2.0] * 5], dtype=torch.float64))
