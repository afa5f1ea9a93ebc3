"""Soft ranks and soft sorting: projections onto the permutahedron, by enumeration and by optimality conditions.

Everything runs on both paths. The authors' own vectors are in ``test_golden.py``.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import (
    assert_is_the_projection,
    kl_projected,
    numbers,
    positions,
    projected,
    ranked_by_isotonic_regression,
)

from unshuffle.ops.soft_rank import soft_rank, soft_sort

pytestmark = pytest.mark.usefixtures("path")

STRENGTHS = [0.1, 1, 10]
seeds, strengths = st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 1.0, 5.0])
# An exponent of more than some hundreds has no logarithm to compare with.
wide_strengths = st.sampled_from([0.1, 0.3, 1.0, 5.0])
both_regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ------------------------------------------------------------------------------------------------ quadratic projection


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_soft_ranks_are_the_projection_found_by_enumeration(n, strength):
    values = numbers(n, seed=n)

    expected = projected(values / strength, positions(n))

    ranks = soft_rank(values, regularization_strength=strength)
    np.testing.assert_allclose(ranks.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_soft_sorting_is_the_projection_found_by_enumeration(n, strength):
    values = numbers(n, seed=n)

    expected = projected(positions(n) / strength, values)

    np.testing.assert_allclose(soft_sort(values, regularization_strength=strength).numpy(), expected, atol=1e-5)


@drawn
@given(n=st.integers(1, 12), seed=seeds, strength=strengths, tied=st.booleans())
def test_soft_ranks_meet_the_optimality_conditions(n, seed, strength, tied):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    assert_is_the_projection(soft_rank(values, regularization_strength=strength), values / strength, positions(n))


@drawn
@given(n=st.integers(1, 12), seed=seeds, strength=strengths, tied=st.booleans())
def test_soft_sorting_meets_the_optimality_conditions(n, seed, strength, tied):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    assert_is_the_projection(soft_sort(values, regularization_strength=strength), positions(n) / strength, values)


@pytest.mark.parametrize("strength", [1e-3, 0.05, 3.0])
def test_large_sets_meet_the_optimality_conditions(strength):
    values = numbers(200)

    assert_is_the_projection(soft_rank(values, regularization_strength=strength), values / strength, positions(200))
    assert_is_the_projection(soft_sort(values, regularization_strength=strength), positions(200) / strength, values)


@pytest.mark.parametrize("strength", [1e-3, 0.05, 3.0])
@pytest.mark.parametrize("n", [5, 64, 65, 1000])
def test_soft_ranks_are_the_values_less_their_isotonic_fit(n, strength):
    values = numbers(n)

    expected = ranked_by_isotonic_regression(values, strength)

    ranks = soft_rank(values, regularization_strength=strength)
    np.testing.assert_allclose(ranks.numpy(), expected, rtol=0, atol=1e-9)


def test_a_pair_closer_than_the_strength_shares_the_gap_linearly():
    """Two items by hand: ranks 1.5 -+ gap / (2 strength), clipped at 1 and 2."""
    gaps = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 7.0]])

    ranks = soft_rank(gaps, regularization_strength=2.0)

    assert ranks.tolist() == [[1.5, 1.5], [1.375, 1.625], [1.25, 1.75], [1.0, 2.0]]


# -------------------------------------------------------------------------------------------------- entropic projection


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_entropic_ranks_are_the_least_divergence_found_by_a_convex_programme(n, strength):
    values = numbers(n, seed=n)

    expected = kl_projected(values / strength, positions(n))

    ranks = soft_rank(values, regularization="kl", regularization_strength=strength)
    np.testing.assert_allclose(ranks.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_entropic_sorting_is_the_least_divergence_found_by_a_convex_programme(n, strength):
    """Descending, it is the logarithm of the point of the permutahedron of ``exp(values)``."""
    values = numbers(n, seed=n)

    expected = kl_projected(positions(n).flip(0) / strength, values.exp())

    found = soft_sort(values, regularization="kl", regularization_strength=strength, descending=True)
    np.testing.assert_allclose(found.exp().numpy(), expected, atol=1e-5)


@drawn
@given(n=st.integers(1, 12), seed=seeds, strength=wide_strengths, tied=st.booleans())
def test_entropic_ranks_meet_the_optimality_conditions(n, seed, strength, tied):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    ranks = soft_rank(values, regularization="kl", regularization_strength=strength)

    assert_is_the_projection(ranks, values / strength, positions(n), kl=True)


@drawn
@given(n=st.integers(1, 12), seed=seeds, strength=wide_strengths, tied=st.booleans(), descending=st.booleans())
def test_entropic_sorting_meets_the_optimality_conditions(n, seed, strength, tied, descending):
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)
    sign = 1 if descending else -1  # ascending is descending of the negated, negated

    found = soft_sort(values, regularization="kl", regularization_strength=strength, descending=descending)

    point = positions(n).flip(0) / strength
    assert_is_the_projection((sign * found).exp(), point, (sign * values).exp(), kl=True)


@pytest.mark.parametrize("strength", [0.05, 3.0])
def test_large_sets_meet_the_entropic_optimality_conditions(strength):
    values = numbers(200)
    options = {"regularization": "kl", "regularization_strength": strength}

    assert_is_the_projection(soft_rank(values, **options), values / strength, positions(200), kl=True)
    found, point = soft_sort(values, descending=True, **options), positions(200).flip(0) / strength
    assert_is_the_projection(found.exp(), point, values.exp(), kl=True)


def test_a_pair_shares_its_ranks_in_the_ratio_of_exponents():
    """Two items by hand: 3 times the logistic function of gap / strength, clipped at 1 and 2."""
    gaps = torch.tensor([0.0, 0.2, 0.5, math.log(2), 5.0], dtype=torch.float64)

    ranks = soft_rank(torch.stack([torch.zeros_like(gaps), gaps], -1), regularization="kl")

    torch.testing.assert_close(ranks[:, 1], (3 * gaps.sigmoid()).clamp(1, 2))


# ----------------------------------------------------------------------------------------------------------- direction


def test_descending_ranks_count_from_the_other_end():
    values = torch.cat([numbers(3, 7), numbers(1, 7).round()])

    torch.testing.assert_close(soft_rank(values, descending=True), 8 - soft_rank(values))


@both_regularizations
def test_descending_ranks_are_those_of_the_negated_values(regularization):
    values = numbers(3, 7)

    descending = soft_rank(values, regularization=regularization, descending=True)

    torch.testing.assert_close(descending, soft_rank(-values, regularization=regularization))


def test_entropic_ranks_are_not_symmetric():
    """A ratio of ranks at the low end is worth more than the same difference at the high end."""
    values = torch.tensor([0.0, 0.3, 0.5], dtype=torch.float64)

    both = soft_rank(values, regularization="kl") + soft_rank(values, regularization="kl", descending=True)

    assert (both - 4).abs().max() > 1e-3


def test_descending_sorted_values_are_the_ascending_ones_from_the_end():
    values = torch.cat([numbers(3, 7), numbers(1, 7).round()])

    torch.testing.assert_close(soft_sort(values, descending=True), soft_sort(values).flip(-1))


@both_regularizations
def test_descending_sorted_values_are_the_negated_of_the_negated(regularization):
    values = numbers(3, 7)

    descending = soft_sort(values, regularization=regularization, descending=True)

    torch.testing.assert_close(descending, -soft_sort(-values, regularization=regularization))


@pytest.mark.parametrize("descending", [False, True])
@both_regularizations
def test_without_strength_the_direction_still_counts(regularization, descending):
    values = torch.tensor([[0.5, -1.0, 2.0, 0.5]])
    options = {"regularization": regularization, "regularization_strength": 0.0, "descending": descending}

    assert soft_rank(values, **options).tolist() == ([[2.5, 4.0, 1.0, 2.5]] if descending else [[2.5, 1.0, 4.0, 2.5]])
    torch.testing.assert_close(soft_sort(values, **options), values.sort(descending=descending).values)


@both_regularizations
@pytest.mark.parametrize("descending", [False, True])
def test_masked_sorted_values_fill_the_present_slots_in_order(regularization, descending):
    values = torch.tensor([4.0, 9.0, -1.0, 2.0, 7.0])
    mask = torch.tensor([True, False, True, True, False])
    options = {"regularization": regularization, "regularization_strength": 1e-6, "descending": descending}

    found = soft_sort(values, mask=mask, **options)

    torch.testing.assert_close(found, torch.tensor([4.0, 0, 2, -1, 0] if descending else [-1.0, 0, 2, 4, 0]))


# ----------------------------------------------------------------------------------------------------------- accuracy


@both_regularizations
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_large_values_with_a_small_strength_are_ranked_exactly(dtype, regularization):
    values = torch.tensor([1e6, -1e6, 1e6 + 1, 0.0, 1e6 - 1, 1e6 + 1], dtype=dtype)

    ranks = soft_rank(values, regularization=regularization, regularization_strength=1e-3)

    assert ranks.tolist() == [4.0, 1.0, 5.5, 2.0, 3.0, 5.5]


def test_neighbours_are_ranked_softly_beside_values_of_any_size():
    """Sums over 1e17 and 1 would lose the 1; the three small items must not notice the large ones."""
    small = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    values = torch.cat([small, torch.tensor([1e17, -1e300], dtype=torch.float64)])

    ranks = soft_rank(values)

    torch.testing.assert_close(ranks[:3], soft_rank(small) + 1)
    assert ranks[3:].tolist() == [5.0, 1.0]


@both_regularizations
def test_well_separated_values_have_whole_ranks_and_no_gradient(regularization):
    values = torch.tensor([30.0, -10.0, 20.0, 5.0], requires_grad=True)

    ranks = soft_rank(values, regularization=regularization)
    ranks.square().sum().backward()

    assert ranks.tolist() == [4.0, 1.0, 3.0, 2.0]
    assert values.grad is not None
    assert values.grad.tolist() == [0.0] * 4


def test_the_gradient_at_a_block_boundary_is_one_of_its_two_sides():
    """At a gap of exactly one strength the pair is about to part: inside, the derivative is 1/2; outside, 0."""
    values = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(soft_rank(values)[1], values)

    assert slope.tolist() in ([-0.5, 0.5], [0.0, 0.0])


@both_regularizations
@drawn
@given(n=st.integers(1, 9), seed=seeds)
def test_soft_sorting_ascends(n, seed, regularization):
    answer = soft_sort(numbers(n, seed=seed), regularization=regularization)

    assert (answer.diff() >= -1e-12).all()
