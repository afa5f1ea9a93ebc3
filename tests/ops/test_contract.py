"""The contract suite: one set of claims, every operator of ``ops.ALL``."""

import pytest
import torch
from contract import CASES, RANKS, Case, name
from hypothesis import given
from hypothesis import strategies as st

from unshuffle import ops

every_operator = pytest.mark.parametrize("case", CASES, ids=name)
every_ranking = pytest.mark.parametrize("case", RANKS, ids=name)
# 70 lies above the size at which the isotonic solver changes.
below_and_above = pytest.mark.parametrize("n", [9, 70])

INF, NAN = float("inf"), float("nan")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(case: Case, values: torch.Tensor) -> torch.Tensor:
    """Gradient of a weighted sum that tells the items apart."""
    values = values.detach().requires_grad_()
    answer = case(values)
    weights = torch.arange(answer.shape[-1], dtype=answer.dtype).cos()
    return torch.autograd.grad((answer * weights).sum(), values)[0]


# ------------------------------------------------------------------------------------------------------ derivatives


@every_operator
def test_first_and_second_derivatives_agree_with_finite_differences(case):
    values = numbers(3, 5).requires_grad_()

    assert torch.autograd.gradcheck(case, values)
    assert torch.autograd.gradgradcheck(case, values)


@every_operator
def test_derivatives_agree_with_finite_differences_above_the_size_limit_of_the_solver(case):
    assert torch.autograd.gradcheck(case, numbers(1, 70).requires_grad_(), fast_mode=True)


# ----------------------------------------------------------------------------------------------------------- shapes


@every_operator
@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_any_axis_may_hold_the_items(case, dim):
    values = numbers(2, 3, 4)

    torch.testing.assert_close(case(values, dim=dim), case(values.movedim(dim, -1)).movedim(-1, dim))


@every_operator
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3)])
def test_every_set_of_a_batch_is_answered_as_if_alone(case, shape):
    values = numbers(*shape, 5)

    alone = torch.stack([case(row) for row in values.reshape(-1, 5)]).reshape(*shape, 5)

    torch.testing.assert_close(case(values), alone)


@every_operator
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 4), (0, 0), (2, 0, 4), (0, 70)])
def test_nothing_in_nothing_out(case, shape):
    values = numbers(*shape).requires_grad_()

    answer = case(values)
    answer.sum().backward()

    assert answer.shape == shape
    assert values.grad is not None
    assert values.grad.shape == shape


@every_operator
def test_one_item_is_its_own_answer(case):
    values = numbers(3, 1)

    assert torch.equal(case(values), case.hard(values))


@every_operator
def test_strided_and_expanded_inputs_equal_their_copies(case):
    wide = numbers(4, 10)

    for view in (wide.mT, wide[:, ::2], wide[:1].expand(3, 10), wide.flip(-1).mT[::3]):
        torch.testing.assert_close(case(view), case(view.clone(memory_format=torch.contiguous_format)))


@every_operator
def test_the_input_is_left_as_it_was(case):
    values = numbers(3, 5)
    before = values.clone()

    case(values)

    assert torch.equal(values, before)


# ------------------------------------------------------------------------------------------------------------ dtype


@every_operator
@below_and_above
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_is_kept_and_its_answer_is_that_of_float64_up_to_rounding(case, dtype, n):
    values = numbers(4, n).to(dtype)
    eps = torch.finfo(dtype).eps
    steps = 4 if dtype is torch.float32 else 1  # sums of n terms may stay in float32; half precision is left before

    answer, slope = case(values), gradient(case, values)

    assert answer.dtype == slope.dtype == dtype
    torch.testing.assert_close(answer.double(), case(values.double()), rtol=steps * eps, atol=4 * eps)
    torch.testing.assert_close(slope.double(), gradient(case, values.double()), rtol=steps * eps, atol=8 * eps)


@every_operator
def test_autocast_changes_nothing(case):
    values = numbers(3, 9).float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = case(values)

    assert torch.equal(answer, case(values))


@every_operator
@pytest.mark.errors
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers_are_refused_with_a_hint(case, dtype):
    with pytest.raises(TypeError, match=rf"{name(case)}: `\w+` must be floating point; got {dtype}. Call `\w+.float"):
        case(torch.zeros(2, 3, dtype=dtype))


@every_operator
@pytest.mark.errors
@pytest.mark.parametrize("strength", [0.0, -1.0, NAN])
def test_a_strength_that_is_not_positive_is_refused(case, strength):
    with pytest.raises(ValueError, match=rf"{name(case)}: `{case.strength}` must be positive; got {strength}"):
        case(numbers(2, 3), strength=strength)


@every_operator
@pytest.mark.errors
@pytest.mark.parametrize(("shape", "dim"), [((2, 3), 2), ((2, 3), -3), ((), -1)])
def test_an_axis_that_is_not_there_is_refused(case, shape, dim):
    with pytest.raises(ValueError, match=rf"{name(case)}: `dim` must name an axis of a {len(shape)}-D tensor"):
        case(numbers(*shape), dim=dim)


# ------------------------------------------------------------------------------------------------------- properties


@every_operator
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31), strength=st.sampled_from([1e-3, 0.1, 1.0, 30.0]))
def test_names_of_items_carry_no_meaning(case, n, seed, strength):
    values = numbers(n, seed=seed)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    shuffled, answer = case(values[p], strength=strength), case(values, strength=strength)

    torch.testing.assert_close(shuffled, answer[p] if case.equivariant else answer)


@every_operator
@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1e3]), min_size=1, max_size=9),
    strength=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
)
def test_the_answer_keeps_the_sum_and_the_range_with_ties_or_without(case, values, strength):
    values = torch.tensor(values, dtype=torch.float64)
    hard = case.hard(values)

    answer = case(values, strength=strength)

    torch.testing.assert_close(answer.sum(), case.flat(values).sum())
    lowest, highest = (1, len(values)) if case.equivariant else (hard.min(), hard.max())
    assert (answer >= lowest - 1e-9).all()
    assert (answer <= highest + 1e-9).all()


@every_ranking
@given(values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1e3]), min_size=1, max_size=9))
def test_tied_items_share_a_rank_and_larger_ones_rank_no_lower(case, values):
    values = torch.tensor(values, dtype=torch.float64)

    ranks = case(values)

    rise = ranks.unsqueeze(-1) - ranks
    assert (rise[values.unsqueeze(-1) >= values] >= -1e-12).all()
    torch.testing.assert_close(ranks.sum(), torch.tensor(len(values) * (len(values) + 1) / 2, dtype=torch.float64))


@every_operator
@pytest.mark.parametrize("n", [2, 9, 64, 65, 70])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e6 + 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_values_share_the_middle(case, n, value, dtype):
    values = torch.full((2, n), value, dtype=dtype)

    torch.testing.assert_close(case(values, strength=1e-3), case.flat(values))


@every_operator
@below_and_above
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_vanishing_strength_gives_the_hard_answer(case, n, dtype):
    values = numbers(3, n).to(dtype)

    torch.testing.assert_close(case(values, strength=1e-9), case.hard(values), rtol=0, atol=1e-5)


@every_operator
@below_and_above
def test_an_unbounded_strength_gives_all_items_the_same(case, n):
    values = numbers(3, n)

    torch.testing.assert_close(case(values, strength=1e9), case.flat(values), rtol=0, atol=1e-6)


# --------------------------------------------------------------------------------------------------- NaN and infinity


@every_operator
@below_and_above
def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched(case, n):
    values = numbers(3, n)
    spoilt = values.clone()
    spoilt[1, 2] = NAN

    answer, slope = case(spoilt), gradient(case, spoilt)

    assert answer[1].isnan().all()
    assert torch.equal(answer[[0, 2]], case(values)[[0, 2]])
    assert torch.equal(slope[[0, 2]], gradient(case, values)[[0, 2]])


@every_ranking
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_values_take_the_end_ranks_with_gradient_zero(case, dtype):
    finite = torch.tensor([0.3, 0.9, -0.2], dtype=dtype)
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)

    ranks, slope = case(values), gradient(case, values)

    assert ranks[[0, 2, 4]].tolist() == [5.5, 1.0, 5.5]  # the two largest tie for positions 5 and 6
    # One position lies below the finite ones; among themselves they are ranked as if alone.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(ranks[[1, 3, 5]], case(finite) + 1, rtol=eps, atol=eps)
    assert slope[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert slope.isfinite().all()


@every_ranking
def test_infinite_values_leave_second_derivatives_finite(case):
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(case(values)[1:4].square().sum(), values, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), values)

    assert curvature.isfinite().all()


@every_ranking
@below_and_above
def test_values_of_any_magnitude_are_ranked_exactly_beside_each_other(case, n):
    values = torch.cat([torch.arange(n - 3.0), torch.tensor([-1e17, 1e17, 1e300])]).double()

    torch.testing.assert_close(case(values, strength=0.01), case.hard(values), rtol=1e-14, atol=0)


@every_ranking
def test_an_offset_of_all_values_does_not_matter_to_the_ranks(case):
    values = torch.tensor([0.0, 0.0625, 0.125, 0.1875, 0.0625, 0.0])  # multiples of float32's spacing at 1e6

    torch.testing.assert_close(case(values + 1e6), case(values))


# ------------------------------------------------------------------------------------------------------- transforms


@every_operator
@pytest.mark.skipif(hasattr(ops.soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_gives_the_same(case):
    torch.compiler.reset()
    compiled = torch.compile(case, fullgraph=True, backend="eager")
    values = torch.cat([numbers(3, 9), torch.zeros(1, 9), numbers(1, 9).round()]).requires_grad_()

    answer = compiled(values)

    torch.testing.assert_close(answer, case(values))  # the last two rows hold ties
    expected = torch.autograd.grad(case(values)[:3].square().sum(), values)
    torch.testing.assert_close(torch.autograd.grad(answer[:3].square().sum(), values), expected)


@every_operator
@below_and_above
def test_vmap_equals_a_batched_call(case, n):
    values = numbers(2, 3, n)

    torch.testing.assert_close(torch.func.vmap(case)(values), case(values))
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(case))(values), case(values))
    torch.testing.assert_close(torch.func.vmap(case, in_dims=1, out_dims=1)(values), case(values))


@every_operator
@below_and_above
def test_functional_jacobians_agree_forward_and_backward(case, n):
    values = numbers(n)

    backward = torch.func.jacrev(case)(values)

    torch.testing.assert_close(torch.func.jacfwd(case)(values), backward)
    # No answer of one set moves the sum of its ranks; the sum of sorted values moves as the values do.
    expected = torch.full((n,), 0.0 if case.equivariant else 1.0, dtype=torch.float64)
    torch.testing.assert_close(backward.sum(0), expected)


@every_operator
@below_and_above
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(case, n):
    values = numbers(3, n)

    torch.testing.assert_close(case(values.cuda()).cpu(), case(values))
