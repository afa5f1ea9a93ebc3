"""The contract suite of operators on score matrices: one set of claims, in C and in PyTorch."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrix_contract import CASES, CLAIMS, Case, Claim
from oracles import best_assignment, numbers

from unshuffle import ops
from unshuffle.ops import _native

INF, NAN = float("inf"), float("nan")
F64 = torch.float64

every_dtype = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
# The fixture `path` is the same for all examples of a test: that is what is wanted.
drawn = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def promising(*claims: Claim, paths: bool = True) -> pytest.MarkDecorator:
    """Runs a test for every case that makes the claims.

    With ``paths`` a case with a loop in C runs twice; the test takes the fixture ``path``. Without, as a user calls it.
    """
    runs = []
    for case in CASES:
        if set(claims) & case.lacks.keys():
            continue
        both = ("pytorch",) if "native" in case.lacks else ("native", "pytorch")
        for path in both if paths else ("",):
            name = f"{case.name}-{path}" if path else case.name
            runs.append(pytest.param(case, *[path] * paths, id=name))
    return pytest.mark.parametrize(("case", *["path"] * paths), runs, indirect=["path"] * paths)


every_operator = promising()
every_operator_once = promising(paths=False)


def weighted(answer: torch.Tensor) -> torch.Tensor:
    """A sum that tells the entries apart, by weights that are the same in every dtype."""
    n, m = answer.shape[-2:]
    weights = torch.arange(n * m, device=answer.device).cos().bfloat16().reshape(n, m)
    return (answer * weights.to(answer.dtype)).sum()


def gradient(case: Case, scores: torch.Tensor, **options: Any) -> torch.Tensor:
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(weighted(case(scores, **options)), scores)[0]


def assert_same(case: Case, scores: torch.Tensor, others: torch.Tensor, **options: Any) -> None:
    """Two tensors of equal scores have equal answers and gradients."""
    torch.testing.assert_close(case(scores, **options), case(others, **options))
    if "derivative" not in case.lacks:
        torch.testing.assert_close(gradient(case, scores, **options), gradient(case, others, **options))


@pytest.mark.parametrize(
    ("case", "claim"),
    [pytest.param(case, claim, id=f"{case.name}: {claim}") for case in CASES for claim in case.lacks],
)
def test_what_is_not_promised_is_a_claim_and_has_a_reason(case, claim):
    assert claim in CLAIMS
    pytest.skip(f"not promised: {case.lacks[claim]}")


# ------------------------------------------------------------------------------------------------------ derivatives


@promising("derivative")
@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 5), (5, 3)], ids=str)
def test_first_derivatives_agree_with_finite_differences(case, path, shape):
    if shape[-1] != shape[-2] and "rectangles" in case.lacks:
        pytest.skip("square matrices only")
    assert torch.autograd.gradcheck(case, numbers(*shape).requires_grad_())


@promising("derivative", "second derivative")
def test_second_derivatives_agree_with_finite_differences(case, path):
    assert torch.autograd.gradgradcheck(case, numbers(2, 3, 3).requires_grad_())


@promising("derivative")
def test_only_what_is_asked_for_is_differentiated(case, path):
    scores = numbers(2, 4, 4)

    with torch.no_grad():
        assert not case(scores.requires_grad_()).requires_grad
    assert case(scores).requires_grad
    assert not case(scores.detach()).requires_grad


@promising("derivative")
def test_a_batch_of_gradients_is_each_of_them(case, path):
    scores, slopes = numbers(3, 3).requires_grad_(), numbers(4, 3, 3, seed=1)

    (together,) = torch.autograd.grad(case(scores), scores, slopes, is_grads_batched=True)

    for slope, found in zip(slopes, together):
        torch.testing.assert_close(found, torch.autograd.grad(case(scores), scores, slope)[0])


# ----------------------------------------------------------------------------------------------------------- shapes


@promising("alone", "batches")
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (17,)], ids=str)
def test_every_matrix_of_a_batch_is_answered_as_if_alone(case, path, batch):
    scores = numbers(*batch, 4, 4)

    alone = torch.stack([case(matrix) for matrix in scores.reshape(-1, 4, 4)])

    torch.testing.assert_close(case(scores), alone.reshape(case.kind.shape(tuple(scores.shape))))


@promising("batches", "nothing")
@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3), (0, 3), (3, 0), (2, 0, 4)], ids=str)
def test_nothing_in_nothing_out(case, path, shape):
    if shape[-1] != shape[-2] and "rectangles" in case.lacks:
        pytest.skip("square matrices only")
    scores = numbers(*shape).requires_grad_("derivative" not in case.lacks)

    answer = case(scores)

    assert answer.shape == case.kind.shape(shape)
    if scores.requires_grad:
        answer.sum().backward()
        assert scores.grad is not None
        assert scores.grad.shape == shape


@every_operator
def test_one_pair_is_certain(case, path):
    torch.testing.assert_close(case.kind.plan(case(numbers(1, 1))), torch.ones(1, 1, dtype=F64))


@promising("batches")
def test_strided_and_expanded_scores_equal_their_copies_and_have_their_gradients(case, path):
    wide = numbers(4, 6, 6)

    for view in (wide.mT, wide[:, ::2, ::2], wide[:1].expand(3, 6, 6), wide.flip(-1).transpose(0, 1)[:, :4, 2:]):
        assert_same(case, view, view.clone(memory_format=torch.contiguous_format))


@promising("derivative", "batches")
def test_a_gradient_that_is_expanded_or_strided_equals_its_copy(case, path):
    scores = numbers(3, 4, 4).requires_grad_()

    for slope in (torch.ones((), dtype=F64).expand(3, 4, 4), numbers(3, 4, 4, 2)[..., 0], numbers(3, 4, 4).mT):
        (back,) = torch.autograd.grad(case(scores), scores, slope)
        (expected,) = torch.autograd.grad(case(scores), scores, slope.clone(memory_format=torch.contiguous_format))
        torch.testing.assert_close(back, expected)


@every_operator
def test_the_scores_are_left_as_they_were(case, path):
    scores = numbers(4, 4)
    before = scores.clone()

    assert_same(case, scores, scores)

    assert torch.equal(scores, before)


# ------------------------------------------------------------------------------------------------------------ dtype


@promising("dtype", "derivative")
@every_dtype
@pytest.mark.parametrize("n", [5, 40])
def test_every_dtype_is_kept_and_its_answer_is_that_of_float64_up_to_rounding(case, path, dtype, n):
    scores = numbers(n, n).to(dtype)
    eps = torch.finfo(dtype).eps

    answer, slope = case(scores), gradient(case, scores)

    assert answer.dtype == slope.dtype == dtype
    torch.testing.assert_close(answer.double(), case(scores.double()), rtol=eps, atol=eps * 1e-2)
    torch.testing.assert_close(slope.double(), gradient(case, scores.double()), rtol=eps, atol=eps)


@every_operator
def test_autocast_changes_nothing(case, path):
    scores = numbers(5, 5).float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = case(scores)

    assert torch.equal(answer, case(scores))


@every_operator_once
@pytest.mark.errors
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers_are_refused_with_a_hint(case, dtype):
    text = rf"{case.function}: `\w+` must be floating point; got {dtype}. Call `\w+.float"
    with pytest.raises(TypeError, match=text):
        case(torch.zeros(3, 3, dtype=dtype))


@every_operator_once
@pytest.mark.errors
@pytest.mark.parametrize("shape", [(), (3,)])
def test_what_is_no_matrix_is_refused(case, shape):
    with pytest.raises(ValueError, match=rf"{case.function}: `\w+` must .*; got \({', '.join(map(str, shape))},?\)"):
        case(numbers(*shape))


@promising("strength", paths=False)
@pytest.mark.errors
@pytest.mark.parametrize("strength", [-1.0, 0.0, NAN])
def test_a_strength_that_is_not_positive_is_refused(case, strength):
    with pytest.raises(ValueError, match=rf"{case.function}: `{case.strength}` must be positive; got {strength}"):
        case(numbers(3, 3), strength=strength)


@promising("choice", paths=False)
@pytest.mark.errors
def test_an_unknown_choice_is_refused_with_the_known_ones(case):
    with pytest.raises(ValueError, match=rf"{case.function}: `{case.choice}` must be one of '\w+'.*; got 'l3'"):
        case(numbers(3, 3), **{case.choice: "l3"})


# ------------------------------------------------------------------------------------------------------- properties


@promising("names")
@drawn
@given(n=st.integers(1, 7), seed=st.integers(0, 2**31), strength=st.sampled_from([0.1, 1.0, 10.0]))
def test_names_of_items_and_positions_carry_no_meaning(case, path, n, seed, strength):
    rng = torch.Generator().manual_seed(seed)
    scores = numbers(n, n, seed=seed)
    p, q = torch.randperm(n, generator=rng), torch.randperm(n, generator=rng)

    answer = case.kind.relabelled(case(scores, strength=strength), p, q)

    torch.testing.assert_close(case(scores[p][:, q], strength=strength), answer)


@promising("offsets")
def test_an_offset_of_a_row_changes_nothing(case, path):
    scores = (numbers(5, 5) * 1024).round() / 1024  # so that sums are exact
    offsets = torch.tensor([0.0, 1.0, -7.0, 1e6, -3e6], dtype=F64).unsqueeze(-1)

    assert_same(case, scores + offsets, scores)


@promising("units")
@drawn
@given(unit=st.sampled_from([2.0**-100, 2.0**-10, 2.0**100]), seed=st.integers(0, 2**31))
def test_units_carry_no_meaning(case, path, unit, seed):
    scores = numbers(4, 4, seed=seed)

    torch.testing.assert_close(case(scores * unit, strength=case.usual * unit), case(scores))


@promising("columns")
@drawn
@given(n=st.integers(1, 6), m=st.integers(1, 6), seed=st.integers(0, 2**31), scale=st.sampled_from([1.0, 1e3, 1e300]))
def test_columns_sum_to_their_share_exactly(case, path, n, m, seed, scale):
    m = n if "rectangles" in case.lacks else m

    plan = case(scale * numbers(n, m, seed=seed))

    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(-2), torch.full((m,), n / m, dtype=F64))


@promising("hard limit")
@pytest.mark.parametrize("seed", range(5))
def test_a_vanishing_strength_gives_the_best_assignment(case, path, seed):
    scores = numbers(4, 4, seed=seed)

    answer = case(scores, strength=0.01, **case.settled)

    torch.testing.assert_close(case.kind.plan(answer), best_assignment(scores))


@promising("flat limit", "columns")
def test_an_unbounded_strength_gives_all_pairs_the_same(case, path):
    torch.testing.assert_close(case(numbers(4, 4), strength=1e9), torch.full((4, 4), 0.25, dtype=F64))


# --------------------------------------------------------------------------------------------------- NaN and infinity


@promising("NaN", "batches", "derivative")
@pytest.mark.parametrize("n", [4, 40])
def test_a_matrix_that_holds_nan_comes_back_nan_whole_and_the_others_untouched(case, path, n):
    scores = numbers(3, n, n)
    spoilt = scores.clone()
    spoilt[1, 2, 0] = NAN

    answer, slope = case(spoilt), gradient(case, spoilt)

    assert answer[1].isnan().all()
    assert torch.equal(answer[[0, 2]], case(scores)[[0, 2]])
    assert (slope[1] == 0).all()
    assert torch.equal(slope[[0, 2]], gradient(case, scores)[[0, 2]])


@promising("infinities", "mask", "batches")
def test_minus_infinity_is_a_masked_pair(case, path):
    scores, mask = numbers(3, 5, 5), numbers(3, 5, 5, seed=1) < 0.8
    mask |= torch.eye(5, dtype=torch.bool)

    infinite = scores.masked_fill(~mask, -INF)

    torch.testing.assert_close(case(infinite), case(scores, mask=mask))
    if "derivative" not in case.lacks:
        torch.testing.assert_close(gradient(case, infinite), gradient(case, scores, mask=mask))


@promising("huge scores", "derivative")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("strength", [1e-6, 1.0])
def test_the_largest_numbers_there_are_leave_answers_and_gradients_finite(case, path, dtype, strength):
    largest = torch.finfo(dtype).max
    scores = torch.tensor([[largest, -largest, 0.0], [largest, -largest, 1.0], [0.0, -largest, largest]], dtype=dtype)

    assert case(scores, strength=strength).isfinite().all()
    assert gradient(case, scores, strength=strength).isfinite().all()


# ------------------------------------------------------------------------------------------------------------ masks


def hidden(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Present items and present positions of four matrices: all, none, one of each, as many of each."""
    rng = torch.Generator().manual_seed(0)
    items, positions = torch.rand(4, n, generator=rng).argsort(-1), torch.rand(4, n, generator=rng).argsort(-1)
    count = torch.tensor([n, 0, 1, n - 2]).unsqueeze(-1)
    return items < count, positions < count


@promising("mask", "alone", "batches", "derivative")
@pytest.mark.parametrize("n", [5, 30])
def test_a_masked_matrix_is_answered_as_the_matrix_without_its_masked_rows_and_columns(case, path, n):
    (items, positions), scores, slopes = hidden(n), numbers(4, n, n).requires_grad_(), numbers(4, n, n, seed=1)
    mask = items.unsqueeze(-1) & positions.unsqueeze(-2)

    answer = case(scores, mask=mask)
    (slope,) = torch.autograd.grad(answer, scores, slopes)

    assert (answer[~mask] == 0).all()
    assert (slope[~mask] == 0).all()
    for b in range(4):
        small = scores.detach()[b][items[b]][:, positions[b]].requires_grad_()
        expected = case(small)
        torch.testing.assert_close(answer[b][items[b]][:, positions[b]], expected)
        (back,) = torch.autograd.grad(expected, small, slopes[b][items[b]][:, positions[b]])
        torch.testing.assert_close(slope[b][items[b]][:, positions[b]], back)


@promising("mask")
@pytest.mark.parametrize("poison", [NAN, INF, -INF, 1e300])
def test_what_lies_in_a_masked_pair_does_not_matter(case, path, poison):
    scores, mask = numbers(5, 5), numbers(5, 5, seed=1) < 0.8
    poisoned = scores.masked_fill(~mask, poison)

    assert_same(case, poisoned, scores, mask=mask)


@promising("mask")
@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 1, 4), (2, 1, 1, 4), (2, 3, 4, 4)], ids=str)
def test_a_mask_broadcasts_to_the_scores(case, path, shape):
    scores, mask = numbers(2, 3, 4, 4), numbers(*shape, seed=1) < 0.8

    torch.testing.assert_close(case(scores, mask=mask), case(scores, mask=mask.expand_as(scores).clone()))


@promising("mask")
def test_a_mask_that_hides_nothing_changes_nothing(case, path):
    scores = numbers(3, 4, 4)

    torch.testing.assert_close(case(scores, mask=torch.ones(3, 4, 4, dtype=torch.bool)), case(scores))


@promising("mask", "derivative", "second derivative")
def test_masked_derivatives_agree_with_finite_differences(case, path):
    scores, mask = numbers(2, 3, 4).requires_grad_(), torch.tensor([True, True, True, False])

    assert torch.autograd.gradcheck(lambda s: case(s, mask=mask), scores)
    assert torch.autograd.gradgradcheck(lambda s: case(s, mask=mask), scores)


@promising("mask", paths=False)
@pytest.mark.errors
def test_a_mask_of_another_kind_or_shape_is_refused(case):
    with pytest.raises(TypeError, match=rf"{case.function}: `mask` must be"):
        case(numbers(3, 3), mask=torch.ones(3, 3))
    with pytest.raises(ValueError, match=rf"{case.function}: `mask` must .* \(3, 3\); got \(3, 4\)"):
        case(numbers(3, 3), mask=torch.ones(3, 4, dtype=torch.bool))


# ------------------------------------------------------------------------------------------------- C beside PyTorch


with_the_library = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")


@st.composite
def calls(draw: st.DrawFn, case: Case) -> tuple[torch.Tensor, dict[str, Any]]:
    """Scores of any shape, with ties, masks, and numbers that are none, and a strength."""
    sizes = st.integers(1 if "nothing" in case.lacks else 0, 6)
    n = draw(sizes)
    m = n if "rectangles" in case.lacks else draw(sizes)
    batch = [] if "batches" in case.lacks else draw(st.lists(st.integers(0, 10), max_size=2))
    scores = numbers(*batch, n, m, seed=draw(st.integers(0, 2**31)))
    if draw(st.booleans()):
        scores = scores.round()
    strange = [*[1e300] * ("huge scores" not in case.lacks), *[INF, -INF] * ("infinities" not in case.lacks)]
    strange += [NAN] * ("NaN" not in case.lacks)
    for place in draw(st.lists(st.integers(0, scores.numel() - 1), max_size=2)) if scores.numel() else ():
        scores.view(-1)[place] = draw(st.sampled_from([0.0, *strange]))
    options: dict[str, Any] = {}
    if case.strength:
        options["strength"] = draw(st.sampled_from([0.03, 0.3, 1.0, 20.0]))
    if "mask" not in case.lacks and draw(st.booleans()):
        options["mask"] = numbers(*batch, n, m, seed=1) < 0.8
    return scores, options


@with_the_library
@promising("native", paths=False)
@settings(max_examples=100)
@given(data=st.data())
def test_both_paths_give_the_same_values_and_gradients(case, data):
    scores, options = data.draw(calls(case))

    answer = case(scores, **options)
    with _native.disabled():
        plain = case(scores, **options)

    answer, plain = (case.kind.compared(scores, found) for found in (answer, plain))
    torch.testing.assert_close(answer, plain, rtol=1e-11, atol=1e-12, equal_nan=True)
    if "derivative" not in case.lacks:
        slope = gradient(case, scores, **options)
        with _native.disabled():
            plain = gradient(case, scores, **options)
        torch.testing.assert_close(slope, plain, rtol=1e-10, atol=1e-11)


@with_the_library
@promising("native", "batches", paths=False)
@pytest.mark.parametrize("n", [9, 60])
def test_the_number_of_threads_does_not_show(case, n):
    scores = numbers(60, n, n)  # enough for a second thread
    results = []

    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            slope = () if "derivative" in case.lacks else (gradient(case, scores),)
            results.append((case(scores), *slope))
    finally:
        torch.set_num_threads(before)

    assert all(map(torch.equal, *results))


# ------------------------------------------------------------------------------------------------------- transforms

not_under_the_type_checker = pytest.mark.skipif(
    hasattr(ops.soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile"
)


@not_under_the_type_checker
@promising("compile", "derivative", paths=False)
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
def test_compiled_without_graph_breaks_it_gives_the_same(case, masked):
    if masked and "mask" in case.lacks:
        pytest.skip("the same graph again")
    torch.compiler.reset()
    scores = numbers(2, 4, 4).requires_grad_()
    options: dict[str, Any] = {"num_iters": 5} if "num_iters" in case.settled else {}
    if masked:
        options["mask"] = numbers(2, 4, 4, seed=1) < 0.8

    # "aot_eager" traces as "eager" does, and then the derivative too.
    answer = torch.compile(case, fullgraph=True, backend="aot_eager")(scores, **options)

    torch.testing.assert_close(answer, case(scores, **options))
    expected = torch.autograd.grad(weighted(case(scores, **options)), scores)
    torch.testing.assert_close(torch.autograd.grad(weighted(answer), scores), expected)


@promising("vmap", paths=False)
def test_vmap_equals_a_batched_call(case):
    scores, vmap = numbers(2, 3, 4, 4), torch.func.vmap

    torch.testing.assert_close(vmap(case)(scores), case(scores))
    torch.testing.assert_close(vmap(vmap(case))(scores), case(scores))
    torch.testing.assert_close(vmap(case, in_dims=1, out_dims=1)(scores), case(scores))


@promising("vmap", "mask", paths=False)
def test_vmap_takes_a_mask_for_each_matrix_or_one_for_all(case):
    scores, mask = numbers(3, 4, 4), numbers(3, 4, 4, seed=1) < 0.8
    alone = torch.func.vmap(lambda s, m: case(s, mask=m))
    shared = torch.func.vmap(lambda s, m: case(s, mask=m), in_dims=(0, None))

    torch.testing.assert_close(alone(scores, mask), case(scores, mask=mask))
    torch.testing.assert_close(shared(scores, mask[1]), case(scores, mask=mask[1]))


@promising("vmap", "derivative", paths=False)
def test_a_gradient_for_each_matrix_is_that_of_the_batch(case):
    scores = numbers(3, 4, 4)

    each = torch.func.vmap(torch.func.grad(lambda s: weighted(case(s))))(scores)

    torch.testing.assert_close(each, gradient(case, scores))


@promising("derivative", paths=False)
def test_functional_jacobians_are_those_of_autograd(case):
    scores = numbers(3, 3)

    expected = torch.autograd.functional.jacobian(case, scores)

    torch.testing.assert_close(torch.func.jacrev(case)(scores), expected)


@promising("forward mode", "derivative", paths=False)
def test_functional_jacobians_agree_forward_and_backward(case):
    scores = numbers(3, 3)

    torch.testing.assert_close(torch.func.jacfwd(case)(scores), torch.func.jacrev(case)(scores))


@every_operator_once
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(case):
    scores = numbers(3, 9, 9)
    if case.function == "gumbel_sinkhorn":
        pytest.skip("another device, another draw")

    torch.testing.assert_close(case(scores.cuda()).cpu(), case(scores))
    if "derivative" not in case.lacks:
        torch.testing.assert_close(gradient(case, scores.cuda()).cpu(), gradient(case, scores))
