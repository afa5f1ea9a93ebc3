"""Soft top-k: membership against bisection, enumeration and optimality conditions, on both paths."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import assert_is_the_projection, chosen_by_bisection, kl_projected, members, numbers, projected

from unshuffle.ops import soft_topk

pytestmark = pytest.mark.usefixtures("path")

STRENGTHS = [0.1, 1, 10]
both_regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@both_regularizations
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (4, 1), (4, 2), (5, 3), (6, 5)])
def test_membership_is_the_projection_found_by_enumeration(n, k, strength, regularization):
    values = numbers(n, seed=n)
    project = kl_projected if regularization == "kl" else projected

    found = soft_topk(values, k, regularization=regularization, regularization_strength=strength)

    np.testing.assert_allclose(found.numpy(), project(values / strength, members(k, n)), atol=1e-5)


@both_regularizations
@drawn
@given(
    n=st.integers(1, 12),
    data=st.data(),
    seed=st.integers(0, 2**31),
    strength=st.sampled_from([0.1, 0.3, 1.0, 5.0]),
    tied=st.booleans(),
)
def test_membership_is_the_level_found_by_bisection(n, data, seed, strength, tied, regularization):
    k = data.draw(st.integers(0, n), label="k")
    values = numbers(n, seed=seed).round() if tied else numbers(n, seed=seed)

    found = soft_topk(values, k, regularization=regularization, regularization_strength=strength)

    expected = chosen_by_bisection(values / strength, k, kl=regularization == "kl")
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


@both_regularizations
@pytest.mark.parametrize("k", [1, 37, 199])
@pytest.mark.parametrize("strength", [0.05, 3.0])
def test_choices_from_large_sets_meet_the_optimality_conditions(k, strength, regularization):
    values = numbers(200)

    found = soft_topk(values, k, regularization=regularization, regularization_strength=strength)

    kl = regularization == "kl"
    assert_is_the_projection(found, values / strength, members(k, 200), kl=kl)
    np.testing.assert_allclose(found.numpy(), chosen_by_bisection(values / strength, k, kl=kl), rtol=0, atol=1e-10)


def test_a_pair_by_hand():
    """One of two, l2: 1/2 +- gap / (2 strength), clipped. KL: the logistic function of gap / strength."""
    gaps = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 7.0]])

    quadratic = soft_topk(gaps, 1, regularization_strength=2.0)
    entropic = soft_topk(gaps, 1, regularization="kl", regularization_strength=2.0)

    assert quadratic.tolist() == [[0.5, 0.5], [0.375, 0.625], [0.25, 0.75], [0.0, 1.0]]
    torch.testing.assert_close(entropic, (gaps / 2).softmax(-1))


@both_regularizations
@pytest.mark.parametrize("strength", [0.0, 0.1, 10.0])
def test_choosing_none_or_all_leaves_no_choice(strength, regularization):
    values = numbers(3, 5).requires_grad_()
    options = {"regularization": regularization, "regularization_strength": strength}

    nothing, everything = soft_topk(values, 0, **options), soft_topk(values, 5, **options)
    (gradient,) = torch.autograd.grad((nothing + everything).square().sum(), values)

    torch.testing.assert_close(nothing, torch.zeros(3, 5, dtype=torch.float64))
    torch.testing.assert_close(everything, torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.zeros(3, 5, dtype=torch.float64))


@both_regularizations
@drawn
@given(n=st.integers(1, 9), data=st.data(), seed=st.integers(0, 2**31))
def test_memberships_sum_to_k(n, data, seed, regularization):
    k = data.draw(st.integers(0, n), label="k")

    found = soft_topk(numbers(n, seed=seed), k, regularization=regularization)

    torch.testing.assert_close(found.sum(), torch.tensor(float(k), dtype=torch.float64))
    assert (found >= 0).all()
    assert (found <= 1 + 1e-12).all()


@both_regularizations
def test_the_smallest_are_the_largest_of_the_negated(regularization):
    values = numbers(4, 7)

    smallest = soft_topk(values, 2, regularization=regularization, largest=False)

    torch.testing.assert_close(smallest, soft_topk(-values, 2, regularization=regularization))


def test_choosing_the_smallest_leaves_the_others():
    """Quadratic membership is symmetric: who is not among the 2 smallest is among the 5 largest of 7."""
    values = numbers(4, 7)

    torch.testing.assert_close(soft_topk(values, 2, largest=False), 1 - soft_topk(values, 5))


@both_regularizations
def test_those_that_tie_for_the_last_places_share_them(regularization):
    values = torch.tensor([3.0, 1.0, 2.0, 2.0, 2.0])

    for strength in (0.0, 1e-6):
        found = soft_topk(values, 2, regularization=regularization, regularization_strength=strength)
        torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 1 / 3, 1 / 3, 1 / 3]))


@both_regularizations
def test_equal_infinities_share_the_places(regularization):
    inf = float("inf")
    values = torch.tensor([[inf, 0.0, inf, inf], [-inf, 0.5, -inf, -inf]], requires_grad=True)

    found = soft_topk(values, 2, regularization=regularization)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), values)

    torch.testing.assert_close(found, torch.tensor([[2 / 3, 0.0, 2 / 3, 2 / 3], [1 / 3, 1.0, 1 / 3, 1 / 3]]))
    assert torch.equal(gradient, torch.zeros(2, 4))


@both_regularizations
def test_a_set_with_fewer_present_items_than_k_takes_them_all(regularization):
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])

    found = soft_topk(torch.zeros(3, 3), 2, regularization=regularization, mask=mask)

    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0], [0, 0, 0], [2 / 3, 2 / 3, 2 / 3]]))


@pytest.mark.errors
@pytest.mark.parametrize("k", [-1, 4])
def test_a_number_that_cannot_be_chosen_is_refused(k):
    with pytest.raises(ValueError, match=rf"soft_topk: `k` must .*3.*; got {k}"):
        soft_topk(torch.zeros(2, 3), k)
