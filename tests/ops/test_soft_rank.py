"""Soft ranks and soft sorting: projections onto the permutahedron, by enumeration and by optimality conditions."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from unshuffle.ops import soft_rank, soft_sort

STRENGTHS = [0.1, 1, 10]
seeds, strengths = st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 1.0, 5.0])


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positions(n: int) -> torch.Tensor:
    return torch.arange(1, n + 1, dtype=torch.float64)


def projected_by_enumeration(point: torch.Tensor, corner: torch.Tensor) -> np.ndarray:
    """Oracle: the nearest convex combination of all n! orders of ``corner``, a quadratic programme."""
    corners = np.array(list(itertools.permutations(corner.tolist()))).T
    heavy = 1e4  # weight of "the shares sum to one" beside the squared distance
    system = np.vstack([corners, np.full(corners.shape[1], heavy)])
    shares, _ = nnls(system, np.append(point.numpy(), heavy), maxiter=10_000)
    return corners @ shares


def assert_is_the_projection(answer: torch.Tensor, point: torch.Tensor, corner: torch.Tensor) -> None:
    """Oracle for any n: the answer lies in the permutahedron, and no corner lies further along the residual."""
    slack = 1e-9 * (1 + point.abs().max() * corner.abs().max() * len(corner))
    largest_first = answer.sort(descending=True).values.cumsum(0)
    assert (largest_first <= corner.sort(descending=True).values.cumsum(0) + slack).all()  # majorisation (Rado 1952)
    assert (answer.sum() - corner.sum()).abs() <= slack
    residual = point - answer
    furthest = residual.sort().values @ corner.sort().values  # the rearrangement inequality
    assert furthest - residual @ answer <= slack


# ------------------------------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_soft_ranks_are_the_projection_found_by_enumeration(n, strength):
    values = numbers(n, seed=n)

    expected = projected_by_enumeration(values / strength, positions(n))

    ranks = soft_rank(values, regularization_strength=strength)
    np.testing.assert_allclose(ranks.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_soft_sorting_is_the_projection_found_by_enumeration(n, strength):
    values = numbers(n, seed=n)

    expected = projected_by_enumeration(positions(n) / strength, values)

    np.testing.assert_allclose(soft_sort(values, regularization_strength=strength).numpy(), expected, atol=1e-5)


@given(n=st.integers(1, 12), seed=seeds, strength=strengths, tied=st.booleans())
def test_soft_ranks_meet_the_optimality_conditions(n, seed, strength, tied):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    assert_is_the_projection(soft_rank(values, regularization_strength=strength), values / strength, positions(n))


@given(n=st.integers(1, 12), seed=seeds, strength=strengths, tied=st.booleans())
def test_soft_sorting_meets_the_optimality_conditions(n, seed, strength, tied):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    assert_is_the_projection(soft_sort(values, regularization_strength=strength), positions(n) / strength, values)


@pytest.mark.parametrize("strength", [1e-3, 0.05, 3.0])
def test_large_sets_meet_the_optimality_conditions(strength):
    values = numbers(200, seed=0)

    assert_is_the_projection(soft_rank(values, regularization_strength=strength), values / strength, positions(200))
    assert_is_the_projection(soft_sort(values, regularization_strength=strength), positions(200) / strength, values)


def test_a_pair_closer_than_the_strength_shares_the_gap_linearly():
    """Two items by hand: ranks 1.5 -+ gap / (2 strength), clipped at 1 and 2."""
    gaps = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 7.0]])

    ranks = soft_rank(gaps, regularization_strength=2.0)

    assert ranks.tolist() == [[1.5, 1.5], [1.375, 1.625], [1.25, 1.75], [1.0, 2.0]]


# ------------------------------------------------------------------------------------------------ the authors' vectors


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("direction", ["ASC", "DES"])
@pytest.mark.parametrize("operator", [soft_rank, soft_sort], ids=lambda f: f.__name__)
@pytest.mark.parametrize("vector", ["a5", "r8", "r20", "ties6"])
def test_values_and_gradients_equal_the_authors(golden, vector, operator, direction, strength):
    data = golden("fast_soft_sort")
    key = f"{vector}/{operator.__name__}_l2_eps{strength}_{direction}"
    values = torch.tensor(data[f"{vector}/values"], requires_grad=True)

    # Descending ranks are those of the negated values; descending values are the ascending ones, read from the end.
    if operator is soft_rank:
        answer = soft_rank(values if direction == "ASC" else -values, regularization_strength=strength)
    else:
        answer = soft_sort(values, regularization_strength=strength)
        answer = answer if direction == "ASC" else answer.flip(-1)
    (gradient,) = torch.autograd.grad(answer, values, torch.tensor(data[f"{vector}/u"]))

    np.testing.assert_allclose(answer.detach().numpy(), data[f"{key}/y"], atol=1e-9)
    if vector != "ties6" or operator is soft_rank:  # sorting has no derivative where values tie
        np.testing.assert_allclose(gradient.numpy(), data[f"{key}/vjp"], atol=1e-9)
    if vector != "ties6":
        np.testing.assert_allclose(gradient.numpy(), data[f"{key}/vjp_fd"], atol=1e-4)


# ----------------------------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_large_values_with_a_small_strength_are_ranked_exactly(dtype):
    values = torch.tensor([1e6, -1e6, 1e6 + 1, 0.0, 1e6 - 1, 1e6 + 1], dtype=dtype)

    assert soft_rank(values, regularization_strength=1e-3).tolist() == [4.0, 1.0, 5.5, 2.0, 3.0, 5.5]


def test_neighbours_are_ranked_softly_beside_values_of_any_size():
    """Sums over 1e17 and 1 would lose the 1; the three small items must not notice the large ones."""
    small = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    values = torch.cat([small, torch.tensor([1e17, -1e300], dtype=torch.float64)])

    ranks = soft_rank(values)

    torch.testing.assert_close(ranks[:3], soft_rank(small) + 1)
    assert ranks[3:].tolist() == [5.0, 1.0]


def test_well_separated_values_have_whole_ranks_and_no_gradient():
    values = torch.tensor([30.0, -10.0, 20.0, 5.0], requires_grad=True)

    ranks = soft_rank(values)
    ranks.square().sum().backward()

    assert ranks.tolist() == [4.0, 1.0, 3.0, 2.0]
    assert values.grad is not None
    assert values.grad.tolist() == [0.0] * 4


def test_the_gradient_at_a_block_boundary_is_one_of_its_two_sides():
    """At a gap of exactly one strength the pair is about to part: inside, the derivative is 1/2; outside, 0."""
    values = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(soft_rank(values)[1], values)

    assert slope.tolist() in ([-0.5, 0.5], [0.0, 0.0])


@given(n=st.integers(1, 9), seed=seeds)
def test_soft_sorting_ascends(n, seed):
    answer = soft_sort(numbers(n, seed=seed))

    assert (answer.diff() >= -1e-12).all()
