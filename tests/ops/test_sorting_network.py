"""Sorting networks: every network sorts, matrices against products of comparators, vectors without the matrix."""

import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import matrix_of_network, numbers
from scipy.special import expit, ndtr

from unshuffle.ops import sorting_network, sorting_network_apply
from unshuffle.ops.comparators import Network, Relaxation

pytestmark = pytest.mark.usefixtures("path")

INF, NAN = float("inf"), float("nan")
F64 = torch.float64
NETWORKS, RELAXATIONS = get_args(Network), get_args(Relaxation)
MONOTONIC = ("reciprocal", "cauchy", "optimal")

both_networks = pytest.mark.parametrize("network", NETWORKS)
all_relaxations = pytest.mark.parametrize("relaxation", RELAXATIONS)
both_sides = pytest.mark.parametrize("vectors_of", ["items", "positions"])
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def product(values: torch.Tensor, vectors: torch.Tensor, vectors_of: str, **options: Any) -> torch.Tensor:
    """What the operator without a matrix is to equal, by the matrix."""
    matrix = sorting_network(values, **options).matrix
    return (matrix.mT if vectors_of == "items" else matrix) @ vectors


def slopes(answer: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad((answer * numbers(*answer.shape, seed=9).to(answer.dtype)).sum(), inputs)


# -------------------------------------------------------------------------------------------------------- they sort


@both_networks
@pytest.mark.parametrize("n", range(1, 13))
def test_every_input_of_zeros_and_ones_is_sorted_and_so_is_every_input(n, network):
    """The zero-one principle (Knuth, volume 3, theorem Z)."""
    values = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))

    assert torch.equal(sorting_network(values, network=network, steepness=INF).values, values.sort(-1).values)


@both_networks
@pytest.mark.parametrize("n", [13, 17, 31, 33, 64, 65, 100, 127, 130])
def test_larger_networks_sort_random_zeros_and_ones_and_permutations(n, network):
    zeros_and_ones = (numbers(8, n) < numbers(8, 1, seed=1)).double()
    permutations = numbers(8, n, seed=2).argsort(-1).double()
    values = torch.cat([zeros_and_ones, permutations])

    ordered = sorting_network_apply(values, values.unsqueeze(-1), network=network, steepness=INF).squeeze(-1)

    assert torch.equal(ordered, values.sort(-1).values)


@both_networks
def test_the_hard_matrix_is_the_permutation_and_has_gradient_zero(network):
    values = numbers(4, 11).requires_grad_()

    ordered, matrix = sorting_network(values, network=network, steepness=INF)

    order = values.argsort(-1)
    assert torch.equal(matrix, torch.nn.functional.one_hot(order, 11).double().mT)
    hard = values.sort(-1).values
    torch.testing.assert_close(slopes(ordered, values), slopes(hard, values))
    matrix = sorting_network(values, network=network, steepness=INF).matrix
    assert torch.equal(slopes(matrix, values)[0], torch.zeros(4, 11, dtype=F64))


def test_ties_in_a_hard_sort_are_shared_by_the_two_that_meet():
    ordered, matrix = sorting_network(torch.tensor([2.0, 2.0, 1.0]), steepness=INF)

    assert ordered.tolist() == [1.0, 2.0, 2.0]
    assert matrix.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]


# ------------------------------------------------------------------------------------------------------- the matrix


@both_networks
@all_relaxations
@pytest.mark.parametrize("steepness", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 9, 16])
def test_the_matrix_is_the_product_of_its_comparators(n, steepness, relaxation, network):
    values = numbers(10, n, seed=n)

    ordered, matrix = sorting_network(values, network=network, relaxation=relaxation, steepness=steepness)

    expected = np.stack([matrix_of_network(row, network, relaxation, steepness) for row in values.numpy()])
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ordered, (matrix.mT @ values.unsqueeze(-1)).squeeze(-1))


@both_networks
@all_relaxations
def test_derivatives_agree_with_finite_differences(relaxation, network):
    values = numbers(2, 4, seed=1).requires_grad_()

    def both(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(sorting_network(values, network=network, relaxation=relaxation))

    assert torch.autograd.gradcheck(both, values)
    assert torch.autograd.gradgradcheck(both, values)


@pytest.mark.parametrize("n", [40, 70])
@both_networks
def test_derivatives_of_large_networks_agree_with_finite_differences(n, network):
    """Large enough that not all layers are remembered, and that a set is worked on alone."""
    values = numbers(3, n).requires_grad_()

    assert torch.autograd.gradcheck(lambda v: tuple(sorting_network(v, network=network)), values, fast_mode=True)


@both_networks
@all_relaxations
def test_rows_and_columns_sum_to_one(relaxation, network):
    matrix = sorting_network(numbers(5, 13), network=network, relaxation=relaxation).matrix

    torch.testing.assert_close(matrix.sum(-1), torch.ones(5, 13, dtype=F64))
    torch.testing.assert_close(matrix.sum(-2), torch.ones(5, 13, dtype=F64))
    assert (matrix >= 0).all()


@pytest.mark.parametrize("relaxation", MONOTONIC)
@pytest.mark.parametrize("steepness", [0.5, 10.0])
@both_networks
@drawn
@given(seed=st.integers(0, 2**31))
def test_no_sorted_value_falls_when_a_value_rises(seed, steepness, relaxation, network):
    values = numbers(7, seed=seed)

    def ordered(values: torch.Tensor) -> torch.Tensor:
        return sorting_network(values, network=network, relaxation=relaxation, steepness=steepness).values

    assert (torch.autograd.functional.jacobian(ordered, values) >= -1e-12).all()


@pytest.mark.parametrize("relaxation", [r for r in RELAXATIONS if r not in MONOTONIC])
def test_with_light_tails_the_smaller_of_two_may_fall_when_the_larger_rises(relaxation):
    values = torch.tensor([0.0, 3.0], dtype=F64, requires_grad=True)

    smaller = sorting_network(values, relaxation=relaxation).values[0]

    assert torch.autograd.grad(smaller, values)[0][1] < 0


@pytest.mark.parametrize("gap", [0.2, 0.414, 0.415, 1.0, 2.4, 2.5, 6.0, 30.0])
@pytest.mark.parametrize(
    ("relaxation", "share"),
    [
        ("logistic", lambda gap: expit(-gap)),
        ("logistic_phi", lambda gap: expit(-gap / (gap + 1e-10) ** 0.25)),
        ("gaussian", lambda gap: ndtr(-gap)),
        ("reciprocal", lambda gap: 1 / (2 + gap)),
        ("cauchy", lambda gap: np.arctan2(1, gap) / np.pi),
        ("optimal", lambda gap: 0.5 - gap if gap < 0.25 else 1 / (16 * gap)),
    ],
    ids=RELAXATIONS,
)
def test_the_share_that_is_exchanged_is_exact_however_small(relaxation, share, gap):
    """It is no difference of two numbers near one, whichever of the values is the larger."""
    values = torch.tensor([[0.0, gap], [gap, 0.0]], dtype=F64)

    matrix = sorting_network(values, relaxation=relaxation).matrix

    least = matrix.min(-1).values
    torch.testing.assert_close(least, torch.full_like(least, float(share(gap))), rtol=2e-13, atol=0)


# ------------------------------------------------------------------------------------------- vectors without the matrix


@both_sides
@both_networks
@pytest.mark.parametrize("n", [1, 2, 5, 11, 40])
@pytest.mark.parametrize("d", [1, 3, 17])
@pytest.mark.parametrize("batch", [1, 9])
def test_carried_vectors_are_their_product_with_the_matrix_and_so_are_the_gradients(batch, d, n, network, vectors_of):
    values, vectors = numbers(batch, n).requires_grad_(), numbers(batch, n, d, seed=1).requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of, network=network)

    expected = product(values, vectors, vectors_of, network=network)
    torch.testing.assert_close(carried, expected)
    torch.testing.assert_close(slopes(carried, values, vectors), slopes(expected, values, vectors))


@both_sides
def test_in_float32_a_large_network_carries_as_its_matrix_does(vectors_of):
    values, vectors = numbers(4, 128).float().requires_grad_(), numbers(4, 128, 2, seed=1).float().requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of)

    expected = product(values, vectors, vectors_of)
    torch.testing.assert_close(carried, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        slopes(carried, values, vectors), slopes(expected, values, vectors), rtol=1e-5, atol=1e-5
    )


@both_sides
@pytest.mark.parametrize(
    ("values", "vectors"),
    [
        ((4,), (3, 4, 2)),
        ((5, 4), (4, 2)),
        ((3, 1, 4), (5, 4, 2)),
        ((3, 4), (3, 4, 0)),
        ((0, 4), (4, 2)),
        ((2, 0), (0, 3)),
    ],
)
def test_batches_broadcast_as_in_a_product(values, vectors, vectors_of):
    values, vectors = numbers(*values).requires_grad_(), numbers(*vectors, seed=1).requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of)

    expected = product(values, vectors, vectors_of)
    torch.testing.assert_close(carried, expected)
    torch.testing.assert_close(slopes(carried, values, vectors), slopes(expected, values, vectors))


@both_sides
def test_only_what_is_asked_for_is_differentiated(vectors_of):
    values, vectors = numbers(2, 5), numbers(2, 5, 3, seed=1)

    def by(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return slopes(sorting_network_apply(values, vectors, vectors_of=vectors_of), *inputs)

    (of_values,) = by(values.requires_grad_())
    (of_vectors,) = by(vectors.requires_grad_())
    torch.testing.assert_close((of_values, of_vectors), by(values, vectors))
    values.requires_grad_(False)
    torch.testing.assert_close(by(vectors), (of_vectors,))


@both_sides
@both_networks
def test_derivatives_by_values_and_vectors_agree_with_finite_differences(network, vectors_of):
    values, vectors = numbers(2, 5).requires_grad_(), numbers(2, 5, 2, seed=1).requires_grad_()

    def carried(values: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return sorting_network_apply(values, vectors, vectors_of=vectors_of, network=network)

    assert torch.autograd.gradcheck(carried, (values, vectors))
    assert torch.autograd.gradgradcheck(carried, (values, vectors))


@pytest.mark.parametrize(
    ("first", "second"), [("float32", "float64"), ("float16", "float32"), ("bfloat16", "bfloat16")]
)
def test_the_answer_has_the_dtype_of_both_together(first, second):
    values, vectors = numbers(2, 5).to(getattr(torch, first)), numbers(2, 5, 3, seed=1).to(getattr(torch, second))

    carried = sorting_network_apply(values, vectors)

    assert carried.dtype == torch.promote_types(values.dtype, vectors.dtype)
    eps = torch.finfo(carried.dtype).eps
    torch.testing.assert_close(
        carried.double(), product(values.double(), vectors.double(), "items"), rtol=eps, atol=eps
    )


def test_summed_positions_say_how_likely_an_item_is_among_the_first():
    values = numbers(6, 11)
    first_three = (torch.arange(11) < 3).double().unsqueeze(-1)

    among = sorting_network_apply(values, first_three, vectors_of="positions").squeeze(-1)

    torch.testing.assert_close(among, sorting_network(values).matrix[..., :3].sum(-1))


# ------------------------------------------------------------------------------------------------ infinities, masks


@both_networks
def test_infinite_items_share_the_end_positions_and_have_no_part_in_the_network(network):
    values = torch.tensor([0.3, INF, -INF, 0.9, INF, -0.2, 0.1], dtype=F64)
    finite = values.isfinite()
    inner = sorting_network(values[finite], network=network)

    ordered, matrix = sorting_network(values, network=network)

    torch.testing.assert_close(ordered, torch.tensor([-INF, *inner.values, INF, INF], dtype=F64))
    expected = torch.zeros(7, 7, dtype=F64)
    expected[finite, 1:5] = inner.matrix
    expected[2, 0] = 1.0
    expected[1, 5:] = expected[4, 5:] = 0.5
    torch.testing.assert_close(matrix, expected)


@both_sides
@both_networks
def test_vectors_of_masked_and_infinite_sets_are_their_product_with_the_matrix(network, vectors_of):
    values, mask = numbers(12, 9), numbers(12, 9, seed=3) < 0.6
    values[numbers(12, 9, seed=4) > 1] = INF
    values[numbers(12, 9, seed=5) > 1.3] = -INF
    vectors = numbers(12, 9, 2, seed=1).requires_grad_()
    values.requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of, network=network, mask=mask)

    expected = product(values, vectors, vectors_of, network=network, mask=mask)
    torch.testing.assert_close(carried, expected)
    torch.testing.assert_close(slopes(carried, values, vectors), slopes(expected, values, vectors))


@both_sides
def test_vectors_at_masked_slots_do_not_matter_and_have_gradient_zero(vectors_of):
    values, mask = numbers(5, 7).requires_grad_(), numbers(5, 7, seed=3) < 0.3
    vectors = numbers(5, 7, 2, seed=1).masked_fill(~mask.unsqueeze(-1), NAN).requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of, mask=mask)

    by_values, by_vectors = slopes(carried, values, vectors)
    assert carried.isfinite().all()
    assert by_values.isfinite().all()
    assert (carried[~mask] == 0).all()
    assert (by_vectors[~mask] == 0).all()


@both_sides
def test_a_set_with_nan_carries_nan_and_no_gradient(vectors_of):
    values, vectors = numbers(3, 5), numbers(3, 5, 2, seed=1).requires_grad_()
    values[1, 2] = NAN
    values.requires_grad_()

    carried = sorting_network_apply(values, vectors, vectors_of=vectors_of)

    by_values, by_vectors = slopes(carried, values, vectors)
    assert carried[1].isnan().all()
    assert (by_values[1] == 0).all()
    assert (by_vectors[1] == 0).all()
    assert carried[[0, 2]].isfinite().all()
    assert by_values[[0, 2]].isfinite().all()


@both_networks
@pytest.mark.parametrize("steepness", [1e-300, 1e-3, 1e3, 1e300, INF])
@all_relaxations
def test_numbers_of_any_magnitude_give_finite_answers_and_gradients(relaxation, steepness, network):
    values = torch.tensor([1e308, 0.0, -1e308, 1e-300, 1.0, 1.0, -1e17], dtype=F64, requires_grad=True)
    options = {"network": network, "relaxation": relaxation, "steepness": steepness}

    ordered, matrix = sorting_network(values, **options)

    (slope,) = torch.autograd.grad(ordered.sum(), values)
    assert ordered.isfinite().all()
    assert slope.isfinite().all()
    torch.testing.assert_close(matrix.sum(-1), torch.ones(7, dtype=F64))


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize("shape", [(4,), (5, 2), (2, 4, 2)])
def test_vectors_that_do_not_fit_the_values_are_refused_with_a_hint(shape):
    with pytest.raises(ValueError, match=r"sorting_network_apply: `vectors` must be \(\.\.\., n, d\) with n = 4 .*got"):
        sorting_network_apply(numbers(3, 4), numbers(*shape))


@pytest.mark.errors
def test_unknown_words_and_other_types_are_refused():
    values, vectors = numbers(3, 4), numbers(3, 4, 2)

    with pytest.raises(ValueError, match=r"`relaxation` must be one of 'logistic', .*; got 'tanh'"):
        sorting_network(values, relaxation="tanh")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`vectors_of` must be one of 'items', 'positions'; got 'rows'"):
        sorting_network_apply(values, vectors, vectors_of="rows")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"`vectors` must be floating point; got torch.int64"):
        sorting_network_apply(values, vectors.long())
    with pytest.raises(ValueError, match="`steepness` must be positive; got 0"):
        sorting_network_apply(values, vectors, steepness=0.0)


# ------------------------------------------------------------------------------------------------ the authors' vectors


VECTORS = [
    (network, n, relaxation, steepness)
    for network, sizes in (("odd_even", (4, 5, 8, 11, 12)), ("bitonic", (4, 5, 8)))
    for n in sizes
    for relaxation in RELAXATIONS
    for steepness in (1, 10)
]


@pytest.mark.parametrize(("network", "n", "relaxation", "steepness"), VECTORS)
def test_values_matrices_and_gradients_equal_the_authors(golden, network, n, relaxation, steepness):
    data = golden("diffsort")
    at, said = f"{network}_{n}", f"{network}_{n}/{relaxation}_s{steepness}"
    values = torch.tensor(data[f"{at}/x"], requires_grad=True)
    by_value, by_entry = torch.tensor(data[f"{at}/w"]), torch.tensor(data[f"{at}/W"])

    ordered, matrix = sorting_network(values, network=network, relaxation=relaxation, steepness=float(steepness))
    (slope,) = torch.autograd.grad((ordered * by_value).sum() + (matrix * by_entry).sum(), values)

    np.testing.assert_allclose(ordered.detach().numpy(), data[f"{said}/sorted"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(matrix.detach().numpy(), data[f"{said}/P"], rtol=0, atol=1e-9)
    # Their Gaussian rounds the deviation, 1 / steepness, to float32 for its derivative; their optimal one divides by
    # 1e-10 more than the distance.
    rough = {"gaussian": 1e-6, "optimal": 1e-8}.get(relaxation, 1e-9)
    np.testing.assert_allclose(slope.numpy(), data[f"{said}/grad"], rtol=0, atol=rough)


@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e9])
def test_infinite_steepness_is_the_hard_sort_bit_for_bit(network, offset):
    values = torch.randn(200, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + offset
    values[0, :3] = torch.tensor([math.inf, -math.inf, math.inf])
    values.requires_grad_()

    ordered = sorting_network(values, network=network, steepness=math.inf).values
    (ordered.masked_fill(ordered.isinf(), 0.0) * torch.arange(7)).sum().backward()

    assert torch.equal(ordered, values.sort(-1).values)
    assert values.grad is not None
    expected = values.detach().argsort(-1).argsort(-1).double().masked_fill(values.isinf(), 0.0)
    torch.testing.assert_close(values.grad, expected)  # each value's own position


def test_infinite_steepness_sorts_the_items_present_bit_for_bit():
    values = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 3
    mask = torch.tensor([True, False, True, True, False, True])

    ordered = sorting_network(values, mask=mask, steepness=math.inf).values

    assert torch.equal(ordered[:, mask], values[:, mask].sort(-1).values)
    assert not ordered[:, ~mask].any()
