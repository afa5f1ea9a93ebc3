"""The contract suite: one set of claims, every operator of ``ops.ALL``, in C and in PyTorch."""

import itertools
import shutil
from typing import Any

import pytest
import torch
import torch._inductor.config
from contract import CASES, CLAIMS, KINDS, MATRIX, MEMBERSHIPS, RANKS, SORTED, Case, Claim, Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrix_contract import CASES as MATRIX_CASES
from oracles import numbers

from unshuffle import ops
from unshuffle.ops import _native

INF, NAN = float("inf"), float("nan")
F64 = torch.float64

every_dtype = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def promising(
    *claims: Claim, kinds: tuple[Kind, ...] = KINDS, paths: bool = True, sizes: tuple[int, ...] = ()
) -> pytest.MarkDecorator:
    """Runs a test for every case of these kinds that makes the claims.

    With ``paths`` a case with a loop in C runs twice; the test takes the fixture ``path``. Without, as a user calls it.
    With ``sizes`` the test takes ``n``: the first of them, and the others where large sets are solved in another way.
    """
    runs = []
    for case, size in itertools.product(CASES, sizes or (0,)):
        needed = {*claims, "limit of size"} if size > min(sizes, default=0) else set(claims)
        if case.kind not in kinds or needed & case.lacks.keys():
            continue
        both = ("pytorch",) if "native" in case.lacks else ("native", "pytorch")
        for path in both if paths else ("",):
            arguments = (case, *[path] * paths, *[size] * bool(sizes))
            name = "-".join(filter(None, [case.name, path, str(size or "")]))
            runs.append(pytest.param(*arguments, id=name))
    names = ("case", *["path"] * paths, *["n"] * bool(sizes))
    return pytest.mark.parametrize(names, runs, indirect=["path"] * paths)


def lacking(claim: Claim) -> pytest.MarkDecorator:
    """Runs a test for the cases that do not make the claim."""
    return pytest.mark.parametrize("case", [case for case in CASES if claim in case.lacks], ids=lambda c: c.name)


# 70 lies above the size at which the PyTorch solver changes.
BELOW_AND_ABOVE = (9, 70)

every_operator = promising()
every_operator_at_every_size = promising(sizes=BELOW_AND_ABOVE)
every_operator_once = promising(paths=False)


def weighted(answer: torch.Tensor) -> torch.Tensor:
    """A sum that tells the entries apart, by weights that are the same in every dtype."""
    weights = torch.arange(answer.shape[-1], device=answer.device).cos().bfloat16()
    return (answer * weights.to(answer.dtype)).sum()


def gradient(case: Case, values: torch.Tensor, **options) -> torch.Tensor:
    values = values.detach().requires_grad_()
    return torch.autograd.grad(weighted(case(values, **options)), values)[0]


def shape_of(case: Case, values: torch.Tensor) -> tuple[int, ...]:
    return tuple(values.shape) + tuple(values.shape[-1:]) * (case.kind.axes - 1)


# ------------------------------------------------------------------------------------------------------ the contracts


def test_every_operator_has_a_contract_and_every_contract_an_operator():
    assert {case.function for case in (*CASES, *MATRIX_CASES)} == {operator.__name__ for operator in ops.ALL}


@pytest.mark.parametrize(
    ("case", "claim"),
    [pytest.param(case, claim, id=f"{case.name}: {claim}") for case in CASES for claim in case.lacks],
)
def test_what_is_not_promised_is_a_claim_and_has_a_reason(case, claim):
    assert claim in CLAIMS
    pytest.skip(f"not promised: {case.lacks[claim]}")


# ------------------------------------------------------------------------------------------------------ derivatives


@promising("derivative")
def test_first_derivatives_agree_with_finite_differences(case, path):
    assert torch.autograd.gradcheck(case, numbers(3, 5).requires_grad_())


@promising("derivative", "second derivative")
def test_second_derivatives_agree_with_finite_differences(case, path):
    assert torch.autograd.gradgradcheck(case, numbers(2, 4).requires_grad_())


@lacking("second derivative")
def test_a_second_derivative_that_is_not_there_is_an_error(case):
    values = numbers(3, 5).requires_grad_()
    (slope,) = torch.autograd.grad(case(values).square().sum(), values, create_graph=True)

    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(slope.square().sum(), values)


@promising("derivative", "limit of size")
def test_derivatives_agree_with_finite_differences_above_the_size_limit_of_the_solver(case, path):
    assert torch.autograd.gradcheck(case, numbers(1, 70).requires_grad_(), fast_mode=True)


@every_operator
def test_only_what_is_asked_for_is_differentiated(case, path):
    values = numbers(2, 5)

    with torch.no_grad():
        assert not case(values.requires_grad_()).requires_grad
    assert case(values).requires_grad
    assert not case(values.detach()).requires_grad


# ----------------------------------------------------------------------------------------------------------- shapes


@every_operator
@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_any_axis_may_hold_the_items(case, path, dim):
    values = numbers(2, 3, 4)

    answer, moved = case(values, dim=dim), case(values.movedim(dim, -1))

    # A matrix has its two axes last, whichever axis held the items.
    torch.testing.assert_close(answer, moved if case.kind.axes == 2 else moved.movedim(-1, dim))


@every_operator
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3)])
def test_every_set_of_a_batch_is_answered_as_if_alone(case, path, shape):
    values = numbers(*shape, 5)

    alone = torch.stack([case(row) for row in values.reshape(-1, 5)])

    torch.testing.assert_close(case(values), alone.reshape(shape_of(case, values)))


@every_operator
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 4), (0, 0), (2, 0, 4), (0, 70)])
def test_nothing_in_nothing_out(case, path, shape):
    values = numbers(*shape).requires_grad_()

    answer = case(values)
    answer.sum().backward()

    assert answer.shape == shape_of(case, values)
    assert values.grad is not None
    assert values.grad.shape == shape


@promising("equal values")
def test_one_item_is_its_own_answer(case, path):
    values = numbers(3, 1)

    torch.testing.assert_close(case(values), case.hard(values))


@every_operator
def test_strided_and_expanded_inputs_equal_their_copies_and_have_their_gradients(case, path):
    wide = numbers(4, 10)

    for view in (wide.mT, wide[:, ::2], wide[:1].expand(3, 10), wide.flip(-1).mT[::3]):
        copy = view.clone(memory_format=torch.contiguous_format)
        torch.testing.assert_close(case(view), case(copy))
        torch.testing.assert_close(gradient(case, view), gradient(case, copy))


@every_operator
def test_a_gradient_that_is_expanded_or_strided_equals_its_copy(case, path):
    values = numbers(3, 6).requires_grad_()
    answer = case(values)
    slopes = (torch.ones((), dtype=F64).expand(answer.shape), numbers(*answer.shape, 2)[..., 0])

    for slope in slopes:
        (back,) = torch.autograd.grad(case(values), values, slope)
        (expected,) = torch.autograd.grad(case(values), values, slope.clone(memory_format=torch.contiguous_format))
        torch.testing.assert_close(back, expected)


@every_operator
def test_the_input_is_left_as_it_was(case, path):
    values = numbers(3, 5)
    before = values.clone()

    gradient(case, values)

    assert torch.equal(values, before)


# ------------------------------------------------------------------------------------------------------------ dtype


@every_operator_at_every_size
@every_dtype
def test_every_dtype_is_kept_and_its_answer_is_that_of_float64_up_to_rounding(case, path, dtype, n):
    values = numbers(4, n).to(dtype)
    eps = torch.finfo(dtype).eps
    steps = 4 if dtype is torch.float32 else 1  # sums of n terms may stay in float32; half precision is left before

    answer, slope = case(values), gradient(case, values)

    assert answer.dtype == slope.dtype == dtype
    torch.testing.assert_close(answer.double(), case(values.double()), rtol=steps * eps, atol=4 * eps)
    torch.testing.assert_close(slope.double(), gradient(case, values.double()), rtol=steps * eps, atol=8 * eps)


@every_operator
def test_autocast_changes_nothing(case, path):
    values = numbers(3, 9).float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer, slope = case(values), gradient(case, values)

    assert torch.equal(answer, case(values))
    assert torch.equal(slope, gradient(case, values))


@every_operator_once
@pytest.mark.errors
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers_are_refused_with_a_hint(case, dtype):
    text = rf"{case.function}: `\w+` must be floating point; got {dtype}. Call `\w+.float"
    with pytest.raises(TypeError, match=text):
        case(torch.zeros(2, 3, dtype=dtype))


@every_operator_once
@pytest.mark.errors
@pytest.mark.parametrize("strength", [-1.0, NAN])
def test_a_strength_below_zero_is_refused(case, strength):
    text = rf"{case.function}: `{case.strength}` must be (positive|0 or more); got {strength}"
    with pytest.raises(ValueError, match=text):
        case(numbers(2, 3), strength=strength)


@lacking("zero strength")
@pytest.mark.errors
def test_a_strength_of_zero_is_refused_by_those_that_have_no_answer(case):
    with pytest.raises(ValueError, match=rf"{case.function}: `{case.strength}` must be positive; got 0"):
        case(numbers(2, 3), strength=0.0)


@every_operator_once
@pytest.mark.errors
@pytest.mark.parametrize(("shape", "dim"), [((2, 3), 2), ((2, 3), -3), ((), -1)])
def test_an_axis_that_is_not_there_is_refused(case, shape, dim):
    with pytest.raises(ValueError, match=rf"{case.function}: `dim` must name an axis of a {len(shape)}-D tensor"):
        case(numbers(*shape), dim=dim)


@promising("choice", paths=False)
@pytest.mark.errors
def test_an_unknown_choice_is_refused_with_the_known_ones(case):
    ((option, choice),) = case.options.items()
    with pytest.raises(ValueError, match=rf"{case.function}: `{option}` must be one of .*{choice}.*; got 'l3'"):
        case(numbers(2, 3), **{option: "l3"})


# ------------------------------------------------------------------------------------------------------- properties


@promising("relabelling")
@drawn
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31), strength=st.sampled_from([0.05, 0.3, 1.0, 30.0]))
def test_names_of_items_carry_no_meaning(case, path, n, seed, strength):
    values = numbers(n, seed=seed)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    shuffled, answer = case(values[p], strength=strength), case(values, strength=strength)

    torch.testing.assert_close(shuffled, case.kind.shuffled(answer, p))


sets_with_ties = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1e3]), min_size=1, max_size=9)
strengths = st.sampled_from([1e-3, 0.1, 1.0, 30.0])


@promising("total")
@drawn
@given(values=sets_with_ties, strength=strengths)
def test_the_answer_keeps_its_total(case, path, values, strength):
    values = torch.tensor(values, dtype=F64)

    torch.testing.assert_close(case.total(case(values, strength=strength)), case.total(case.flat(values)))


@promising("range")
@drawn
@given(values=sets_with_ties, strength=strengths)
def test_no_answer_lies_beyond_the_hard_ones(case, path, values, strength):
    values = torch.tensor(values, dtype=F64)
    lowest, highest = case.kind.span(values)

    answer = case(values, strength=strength)

    assert (answer >= lowest - 1e-9).all()
    assert (answer <= highest + 1e-9).all()


@promising("relabelling", kinds=(RANKS, MEMBERSHIPS, MATRIX))
@drawn
@given(values=sets_with_ties)
def test_tied_items_share_an_answer(case, path, values):
    values = torch.tensor(values, dtype=F64)
    answer = case(values)

    first, second = (values.unsqueeze(-1) == values).nonzero(as_tuple=True)

    torch.testing.assert_close(answer[first], answer[second], rtol=0, atol=1e-12)


@promising(kinds=(RANKS, MEMBERSHIPS))
@drawn
@given(values=sets_with_ties)
def test_larger_items_get_no_less(case, path, values):
    values = torch.tensor(values, dtype=F64)

    assert (case(values)[values.argsort()].diff() >= -1e-12).all()


@promising("ascending", kinds=(SORTED,))
@drawn
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31), strength=st.sampled_from([0.05, 1.0, 30.0]))
def test_softly_sorted_values_ascend(case, path, n, seed, strength):
    assert (case(numbers(n, seed=seed), strength=strength).diff() >= -1e-12).all()


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_offset_of_all_values_moves_sorted_values_and_nothing_else(case, path, dtype):
    values = torch.tensor([0.0, 0.0625, 0.125, 0.1875, 0.0625, 0.0], dtype=dtype)  # multiples of float32's step at 1e6

    torch.testing.assert_close(case(values + 1e6), case(values) + case.kind.moves * 1e6)


@promising("units")
@drawn
@given(unit=st.sampled_from([2.0**-100, 2.0**-10, 2.0**100]), seed=st.integers(0, 2**31))
def test_units_carry_no_meaning(case, path, unit, seed):
    """Values and strength in other units; sorted values come back in them."""
    values = numbers(7, seed=seed)

    answer = case(values * unit, strength=case.in_units(case.usual, unit))

    torch.testing.assert_close(answer / (unit if case.kind is SORTED else 1), case(values))


# ----------------------------------------------------------------------------------------------------------- limits


@promising("equal values")
@pytest.mark.parametrize("n", [2, 9, 64, 65, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_values_share_the_middle(case, path, n, dtype):
    values = torch.tensor([[0.0], [0.1], [-1e6], [1e6 + 0.3], [1e30]], dtype=dtype).repeat(1, n)

    torch.testing.assert_close(case(values, strength=1e-3), case.flat(values))
    assert gradient(case, values, strength=1e-3).isfinite().all()


@promising("hard limit", sizes=BELOW_AND_ABOVE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_vanishing_strength_gives_the_hard_answer(case, path, n, dtype):
    values = numbers(3, n).argsort(-1).to(dtype)  # whole numbers: in no draw do two lie near each other

    torch.testing.assert_close(case(values, strength=1e-9), case.hard(values), rtol=0, atol=1e-5)


@promising("flat limit", sizes=BELOW_AND_ABOVE)
def test_an_unbounded_strength_gives_all_items_the_same(case, path, n):
    values = numbers(3, n)

    torch.testing.assert_close(case(values, strength=1e9), case.flat(values), rtol=0, atol=1e-6)


@promising("zero strength")
@drawn
@given(values=sets_with_ties)
def test_no_strength_gives_the_hard_answer_and_ties_share(case, path, values):
    if "relabelling" in case.lacks:  # ties are told apart by their names
        values = list(dict.fromkeys(values))
    values = torch.tensor(values, dtype=F64)

    torch.testing.assert_close(case(values, strength=0.0), case.hard(values))
    assert gradient(case, values, strength=0.0).isfinite().all()


@promising("zero strength", sizes=BELOW_AND_ABOVE)
def test_without_strength_ranks_have_gradient_zero_and_sorted_values_that_of_sorting(case, path, n):
    values = numbers(3, n)
    hard = values.clone().requires_grad_()

    slope = gradient(case, values, strength=0.0)

    if case.kind is SORTED:
        torch.testing.assert_close(slope, torch.autograd.grad(weighted(case.hard(hard)), hard)[0])
    else:
        assert torch.equal(slope, torch.zeros_like(values))


@promising("huge values")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_tiny_strength_beside_huge_values_gives_the_hard_answer_exactly(case, path, dtype):
    values = torch.tensor([3e30, -1e30, 1e30, 0.0, 2e30, -3e30, 1e30], dtype=dtype)
    strength = 1e-12 if case.unit == "values" else 1e-43

    answer, slope = case(values, strength=strength), gradient(case, values, strength=strength)

    eps = torch.finfo(dtype).eps
    # Noise has a mean of its own, of the size of the strength, which shows where a sorted value is zero.
    slack = strength if case.kind is SORTED else 2 * eps
    torch.testing.assert_close(answer, case.hard(values), rtol=2 * eps, atol=slack)
    assert slope.isfinite().all()


@promising("huge values", "units")
def test_neighbours_at_a_huge_offset_are_told_apart(case, path):
    """2^100 is 1.3e30, and its neighbours are 2^48 away: the smallest gaps there are, at a strength of their size."""
    places, unit = torch.tensor([4.0, 0.0, 1.0, 9.0, 2.0, 4.0], dtype=F64), 2.0**48

    answer = case(2.0**100 + unit * places, strength=case.in_units(case.usual, unit))

    if case.kind is SORTED:  # which can be no nearer than the neighbours are
        torch.testing.assert_close((answer - 2.0**100) / unit, case(places), rtol=0, atol=1)
    else:
        torch.testing.assert_close(answer, case(places))


@promising("huge values", kinds=(RANKS, MEMBERSHIPS), sizes=BELOW_AND_ABOVE)
def test_values_of_any_magnitude_are_ranked_exactly_beside_each_other(case, path, n):
    values = torch.cat([torch.arange(n - 3.0), torch.tensor([-1e17, 1e17, 1e300])]).double()

    torch.testing.assert_close(case(values, strength=0.01), case.hard(values), rtol=1e-14, atol=1e-14)


@pytest.mark.once
@promising("a million")
def test_a_million_items_in_float32_are_within_one_rounding_of_float64(case, path):
    values = numbers(1_000_000).float()

    answer, expected = case(values), case(values.double())

    # Entries near zero are differences of numbers of the size of the others.
    torch.testing.assert_close(answer.double(), expected, rtol=torch.finfo(torch.float32).eps, atol=1e-12)


# --------------------------------------------------------------------------------------------------- NaN and infinity


@every_operator_at_every_size
def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched(case, path, n):
    values = numbers(3, n)
    spoilt = values.clone()
    spoilt[1, 2] = NAN

    answer, slope = case(spoilt), gradient(case, spoilt)

    assert answer[1].isnan().all()
    # Not bit for bit: sums over a grid that fits all sets have more terms where one of them is wider.
    torch.testing.assert_close(answer[[0, 2]], case(values)[[0, 2]], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope[[0, 2]], gradient(case, values)[[0, 2]], rtol=1e-12, atol=1e-12)


@promising("infinities")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_values_have_gradient_zero_and_leave_that_of_the_others_finite(case, path, dtype):
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)

    slope = gradient(case, values)

    assert slope[values.isinf()].tolist() == [0.0, 0.0, 0.0]
    assert slope.isfinite().all()


@promising("infinities", kinds=(RANKS,))
def test_infinite_values_take_the_end_ranks(case, path):
    ranks = case(torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2]))

    assert ranks[[0, 2, 4]].tolist() == [5.5, 1.0, 5.5]  # the two largest tie for positions 5 and 6


@promising("infinities", kinds=(SORTED,))
def test_infinite_values_stay_at_the_ends_and_the_others_are_sorted_as_if_alone(case, path):
    finite = numbers(3)
    values = torch.cat([torch.tensor([INF, -INF, INF]).double(), finite])

    torch.testing.assert_close(case(values), torch.tensor([-INF, *case(finite), INF, INF], dtype=F64))


@promising("far values")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_values_are_very_large_ones(case, path, dtype):
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)
    finite, large = values.isfinite(), values.nan_to_num(posinf=6e4, neginf=-6e4)
    expected = case(large)
    if case.kind is SORTED:
        expected = expected.where(finite[values.argsort()], case.hard(values))

    answer, slope = case(values), gradient(case, values)

    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(answer, expected, rtol=eps, atol=eps)
    torch.testing.assert_close(slope[finite], gradient(case, large)[finite], rtol=eps, atol=4 * eps)


@promising("infinities", "equal values")
@pytest.mark.parametrize("value", [INF, -INF])
def test_sets_of_nothing_but_infinity_share_the_middle(case, path, value):
    values = torch.full((2, 5), value, dtype=F64)
    expected = values if case.kind is SORTED else case.flat(torch.zeros_like(values))

    torch.testing.assert_close(case(values), expected)
    assert torch.equal(gradient(case, values), torch.zeros_like(values))


@promising("infinities", "second derivative")
def test_infinite_values_leave_second_derivatives_finite(case, path):
    values = torch.tensor([INF, 0.3, -INF, 0.9, INF], dtype=F64, requires_grad=True)
    answer = case(values)

    (slope,) = torch.autograd.grad(answer[answer.isfinite()].square().sum(), values, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), values)

    assert curvature.isfinite().all()


# ------------------------------------------------------------------------------------------------------------ masks


def hidden(n: int, *, seed: int = 0) -> torch.Tensor:
    """Masks of four sets: none hidden, all hidden, all but one hidden, some hidden."""
    mask = torch.rand(4, n, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[0], mask[1], mask[2] = True, False, torch.arange(n) == n // 2
    return mask


@promising("mask", sizes=BELOW_AND_ABOVE)
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.7, 30.0])
def test_a_masked_set_is_answered_as_the_set_without_its_masked_items(case, path, n, strength):
    if strength == 0 and "zero strength" in case.lacks:
        strength = 1e-3
    values, mask = numbers(4, n), hidden(n)

    answer = case(values, mask=mask, strength=strength)

    assert (answer[~mask] == 0).all()
    for row, present, found in zip(values, mask, answer):
        torch.testing.assert_close(case.kind.of_present(found, present), case(row[present], strength=strength))


@promising("mask", sizes=BELOW_AND_ABOVE)
def test_the_gradient_of_a_masked_set_is_that_of_the_set_without_its_masked_items(case, path, n):
    values, mask = numbers(4, n).requires_grad_(), hidden(n)
    slopes = numbers(*shape_of(case, values), seed=1)

    (gradients,) = torch.autograd.grad(case(values, mask=mask), values, slopes)

    assert (gradients[~mask] == 0).all()
    for row, present, slope, found in zip(values.detach(), mask, slopes, gradients):
        short = row[present].requires_grad_()
        (expected,) = torch.autograd.grad(case(short), short, case.kind.of_present(slope, present))
        torch.testing.assert_close(found[present], expected)


@promising("mask")
@pytest.mark.parametrize("poison", [NAN, INF, -INF, 1e300])
def test_what_lies_in_a_masked_slot_does_not_matter(case, path, poison):
    values, mask = numbers(4, 6), hidden(6)
    poisoned = values.masked_fill(~mask, poison)

    answer, slope = case(poisoned, mask=mask), gradient(case, poisoned, mask=mask)

    torch.testing.assert_close(answer, case(values, mask=mask))
    torch.testing.assert_close(slope, gradient(case, values, mask=mask))


@promising("mask")
def test_nan_in_a_present_slot_spoils_all_present_slots_of_its_set_and_no_other(case, path):
    values, mask = numbers(4, 6), hidden(6)
    values[3, mask[3].nonzero()[0]] = NAN

    answer, slope = case(values, mask=mask), gradient(case, values, mask=mask)

    assert case.kind.of_present(answer[3], mask[3]).isnan().all()
    assert (answer[~mask] == 0).all()
    assert answer[:3].isfinite().all()
    assert (slope[~mask] == 0).all()
    assert slope[:3].isfinite().all()


@promising("mask")
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 1, 5), (2, 1, 1, 5), (3, 4, 1)])
def test_a_mask_broadcasts_to_the_values(case, path, shape):
    values = numbers(2, 3, 4, 5)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6

    torch.testing.assert_close(case(values, mask=mask), case(values, mask=mask.expand_as(values).clone()))


@promising("mask")
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_mask_follows_the_axis_of_the_items(case, path, dim):
    values, mask = numbers(5, 4, 6), torch.rand(5, 4, 6, generator=torch.Generator().manual_seed(1)) < 0.6

    moved = case(values.movedim(dim, -1), mask=mask.movedim(dim, -1))

    expected = moved if case.kind.axes == 2 else moved.movedim(-1, dim)
    torch.testing.assert_close(case(values, mask=mask, dim=dim), expected)


@promising("mask")
def test_a_mask_that_hides_nothing_changes_nothing(case, path):
    values = numbers(3, 6)

    torch.testing.assert_close(case(values, mask=torch.ones(3, 6, dtype=torch.bool)), case(values))


@promising("mask")
@every_dtype
def test_a_masked_answer_keeps_its_dtype(case, path, dtype):
    values, mask = numbers(4, 6).to(dtype), hidden(6)

    answer = case(values, mask=mask)

    assert answer.dtype == dtype
    torch.testing.assert_close(answer.double(), case(values.double(), mask=mask), rtol=8e-3, atol=8e-3)


@promising("mask", "second derivative")
def test_masked_derivatives_agree_with_finite_differences(case, path):
    values, mask = numbers(4, 4).requires_grad_(), hidden(4)

    assert torch.autograd.gradcheck(lambda v: case(v, mask=mask), values)
    assert torch.autograd.gradgradcheck(lambda v: case(v, mask=mask), values)


@promising("mask", paths=False)
@pytest.mark.errors
def test_a_mask_of_another_kind_or_shape_is_refused(case):
    with pytest.raises(TypeError, match=rf"{case.function}: `mask` must be"):
        case(numbers(2, 3), mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match=rf"{case.function}: `mask` must .* \(2, 3\); got \(2, 4\)"):
        case(numbers(2, 3), mask=torch.ones(2, 4, dtype=torch.bool))


# ------------------------------------------------------------------------------------------------- C beside PyTorch


with_the_library = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")


@st.composite
def calls(draw: st.DrawFn, case: Case) -> tuple[torch.Tensor, dict[str, Any]]:
    """Values of any shape, with ties, masks, and numbers that are none, and options of the operator."""
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)))
    seed = draw(st.integers(0, 2**31))
    values = numbers(*shape, seed=seed)
    tied = draw(st.booleans())
    if tied:
        values = values.round()
    for place in draw(st.lists(st.integers(0, values.numel() - 1), max_size=2)) if values.numel() else ():
        values.view(-1)[place] = draw(st.sampled_from([NAN, INF, -INF, 1e300]))
    least = 1e-3 if "zero strength" in case.lacks else 0.0
    # Odd ones: a gap of exactly one strength is a kink, with two derivatives to choose from. So is a tie of the first
    # k, where what is left for the others is lost in rounding.
    sharp = [least, 0.0107] if not tied or case.kind is not MEMBERSHIPS else []
    options: dict[str, Any] = {
        "strength": draw(st.sampled_from([*sharp, 0.3217, 1.0713, 20.331])),
        "dim": draw(st.integers(-len(shape), len(shape) - 1)),
        "mask": numbers(*shape, seed=seed + 1) < 0.5 if draw(st.booleans()) else None,
    }
    turned = {option: value for option, value in case.turned.items() if draw(st.booleans())}
    return values, {**options, **turned}


@with_the_library
@promising("native", paths=False)
@settings(max_examples=100)
@given(data=st.data())
def test_both_paths_give_the_same_values_and_gradients(case, data):
    values, options = data.draw(calls(case))
    values.requires_grad_()

    native = case(values, **options)
    slope = numbers(*native.shape, seed=1)
    (native_slope,) = torch.autograd.grad(native, values, slope)
    with _native.disabled():
        plain = case(values, **options)
        (plain_slope,) = torch.autograd.grad(plain, values, slope)

    torch.testing.assert_close(native, plain, rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(native_slope, plain_slope, rtol=1e-12, atol=1e-12, equal_nan=True)


@with_the_library
@promising("native", "thousands", paths=False)
def test_both_paths_agree_on_sets_of_a_thousand(case):
    values = numbers(3, 1000)
    native, native_slope = case(values), gradient(case, values)

    with _native.disabled():
        torch.testing.assert_close(native, case(values), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(native_slope, gradient(case, values), rtol=1e-12, atol=1e-12)


@with_the_library
@promising("native", paths=False)
def test_the_number_of_threads_does_not_show(case):
    n = 60 if "thousands" in case.lacks else 300
    values, mask = numbers(100, n), numbers(100, n, seed=1) < 0.5  # enough for a second thread
    alone = case(values, mask=mask), gradient(case, values, mask=mask)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        shared = case(values, mask=mask), gradient(case, values, mask=mask)
    finally:
        torch.set_num_threads(before)

    assert all(map(torch.equal, shared, alone))


# ------------------------------------------------------------------------------------------------------- transforms

not_under_the_type_checker = pytest.mark.skipif(
    hasattr(ops.soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile"
)


def assert_compiles(case: Case, backend: str, **options) -> None:
    torch.compiler.reset()
    compiled = torch.compile(case, fullgraph=True, backend=backend)
    # Of few items: a network is traced comparator by comparator.
    values = torch.cat([numbers(3, 5), torch.zeros(1, 5), numbers(1, 5).round()]).requires_grad_()

    answer = compiled(values, **options)

    torch.testing.assert_close(answer, case(values, **options))  # the last two rows hold ties
    expected = torch.autograd.grad(case(values, **options)[:3].square().sum(), values)
    torch.testing.assert_close(torch.autograd.grad(answer[:3].square().sum(), values), expected)


@not_under_the_type_checker
@promising(paths=False)
def test_compiled_without_graph_breaks_it_gives_the_same(case):
    assert_compiles(case, "aot_eager")  # which traces as "eager" does, and then the derivative too


@not_under_the_type_checker
@promising("mask", paths=False)
def test_compiled_with_a_mask_it_gives_the_same(case):
    assert_compiles(case, "aot_eager", mask=numbers(5, 5, seed=1) < 0.5)


@not_under_the_type_checker
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler")
def test_soft_ranks_compile_to_machine_code():
    (case,) = (case for case in CASES if case.name == "soft_rank[l2]")

    # What was kept of an earlier run may be for other instructions, and is taken without a look at them.
    with torch._inductor.config.patch(force_disable_caches=True):
        assert_compiles(case, "inductor")


@not_under_the_type_checker
@promising("limit of size", paths=False)
@pytest.mark.errors
def test_sets_too_large_for_a_transform_are_refused_with_the_limit(case):
    torch.compiler.reset()
    values = numbers(1, 2049)

    with pytest.raises((ValueError, RuntimeError), match=rf"(?s){case.function}: .*2,?048"):
        torch.compile(case, fullgraph=True, backend="eager")(values)

    torch.testing.assert_close(torch.func.vmap(case)(values), case(values))  # an eager transform has no limit


@promising(paths=False, sizes=BELOW_AND_ABOVE)
def test_vmap_equals_a_batched_call(case, n):
    values = numbers(2, 3, n)
    vmap = torch.func.vmap

    torch.testing.assert_close(vmap(case)(values), case(values))
    torch.testing.assert_close(vmap(vmap(case))(values), case(values))
    torch.testing.assert_close(vmap(case, in_dims=1, out_dims=1)(values), case(values))
    torch.testing.assert_close(vmap(vmap(case, in_dims=-1), in_dims=1)(values.mT.movedim(0, 1)), case(values))


@promising("mask", paths=False)
def test_vmap_takes_a_mask_for_each_set_or_one_for_all(case):
    values, mask = numbers(4, 6), hidden(6)
    alone = torch.func.vmap(lambda v, m: case(v, mask=m))

    torch.testing.assert_close(alone(values, mask), case(values, mask=mask))
    shared = torch.func.vmap(lambda v, m: case(v, mask=m), in_dims=(0, None))
    torch.testing.assert_close(shared(values, mask[3]), case(values, mask=mask[3]))


@promising("derivative", paths=False, sizes=BELOW_AND_ABOVE)
def test_functional_jacobians_are_those_of_autograd(case, n):
    values = numbers(n)
    jacobian = torch.func.jacrev(case)(values)

    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(case, values))
    # All items move together by one: sorted values follow, nothing else stirs.
    moves = torch.full(jacobian.shape[:-1], case.kind.moves, dtype=F64)
    torch.testing.assert_close(jacobian.sum(-1), moves)


@promising("forward mode", paths=False, sizes=BELOW_AND_ABOVE)
def test_functional_jacobians_agree_forward_and_backward(case, n):
    values = numbers(n)

    torch.testing.assert_close(torch.func.jacfwd(case)(values), torch.func.jacrev(case)(values))


@every_operator_once
def test_a_gradient_for_each_sample_is_that_of_the_batch(case):
    values = numbers(3, 6)

    each = torch.func.vmap(torch.func.grad(lambda row: weighted(case(row))))(values)

    torch.testing.assert_close(each, gradient(case, values))


# ------------------------------------------------------------------------------------------------------------- CUDA


@promising(paths=False, sizes=BELOW_AND_ABOVE)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(case, n):
    values = numbers(3, n)

    torch.testing.assert_close(case(values.cuda()).cpu(), case(values))
    torch.testing.assert_close(gradient(case, values.cuda()).cpu(), gradient(case, values))


@promising("mask", paths=False)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives_under_a_mask(case):
    values, mask = numbers(4, 9), hidden(9)

    torch.testing.assert_close(case(values.cuda(), mask=mask.cuda()).cpu(), case(values, mask=mask))
