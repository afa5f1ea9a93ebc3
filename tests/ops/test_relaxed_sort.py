"""NeuralSort and SoftSort: the papers' formulas in plain loops, the hard permutation matrix, and what both promise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.ops import soft_rank
from unshuffle.ops.relaxed_sort import neural_sort, soft_sort_matrix
from unshuffle.permutations import to_matrix

INF, NAN = float("inf"), float("nan")

every_relaxation = pytest.mark.parametrize("relax", [neural_sort, soft_sort_matrix], ids=lambda f: f.__name__)
every_dtype = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(relax, scores: torch.Tensor, **options) -> torch.Tensor:
    """Gradient of a weighted sum over the matrix; small whole weights are the same numbers in all dtypes."""
    scores = scores.detach().requires_grad_()
    answer = relax(scores, **options)
    weights = (torch.arange(answer.numel()).square() % 7 - 3).to(answer.dtype).reshape(answer.shape)
    return torch.autograd.grad((answer * weights).sum(), scores)[0]


def published_neural_sort(s: np.ndarray, tau: float) -> np.ndarray:
    """Oracle: Grover et al., entry by entry; rows are positions, from the largest."""
    n = len(s)
    matrix = np.zeros((n, n))
    for k in range(1, n + 1):
        logits = [((n + 1 - 2 * k) * s[i] - sum(abs(s[i] - s[j]) for j in range(n))) / tau for i in range(n)]
        heights = [math.exp(logit - max(logits)) for logit in logits]
        matrix[k - 1] = [height / sum(heights) for height in heights]
    return matrix


def published_soft_sort(s: np.ndarray, tau: float, power: float) -> np.ndarray:
    """Oracle: Prillo & Eisenschlos, entry by entry; rows are positions, from the largest."""
    rows = []
    for largest in sorted(s, reverse=True):
        heights = [math.exp(-(abs(value - largest) ** power) / tau) for value in s]
        rows.append([height / sum(heights) for height in heights])
    return np.array(rows)


# ---------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_neural_sort_is_the_published_formula(n, temperature):
    scores = numbers(n, seed=n)

    expected = published_neural_sort(scores.numpy(), temperature)

    descending = neural_sort(scores, temperature=temperature, descending=True)
    np.testing.assert_allclose(descending.mT.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(neural_sort(scores, temperature=temperature).mT.numpy(), expected[::-1], atol=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_soft_sort_is_the_published_formula(n, power, temperature):
    scores = numbers(n, seed=n)
    options = {"power": power, "temperature": temperature}

    expected = published_soft_sort(scores.numpy(), temperature, power)

    np.testing.assert_allclose(soft_sort_matrix(scores, descending=True, **options).mT.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(soft_sort_matrix(scores, **options).mT.numpy(), expected[::-1], atol=1e-12)


def test_two_items_by_hand():
    """At position 0 NeuralSort's logits are -0 - 1 and -1 - 1, SoftSort's -0 and -1: both share 1 : 1/e."""
    share = 1 / (1 + math.exp(-1))
    expected = pytest.approx([share, 1 - share, 1 - share, share], abs=1e-6)

    assert neural_sort(torch.tensor([0.0, 1.0])).flatten().tolist() == expected
    assert soft_sort_matrix(torch.tensor([0.0, 1.0])).flatten().tolist() == expected


# -------------------------------------------------------------------------------------------------------- properties


@every_relaxation
@pytest.mark.parametrize("descending", [False, True])
def test_a_vanishing_temperature_gives_the_hard_permutation_matrix(relax, descending):
    scores = numbers(4, 7)

    hard = torch.stack([to_matrix(row.argsort(descending=descending)) for row in scores]).double()

    torch.testing.assert_close(relax(scores, temperature=1e-9, descending=descending), hard)
    items = relax(scores, temperature=1e-9, descending=descending).mT @ scores.unsqueeze(-1)
    torch.testing.assert_close(items.squeeze(-1), scores.sort(descending=descending).values)


@every_relaxation
@given(
    scores=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1e3]), min_size=1, max_size=9),
    temperature=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
)
def test_every_position_is_filled_and_tied_items_share(relax, scores, temperature):
    scores = torch.tensor(scores, dtype=torch.float64)

    shares = relax(scores, temperature=temperature)

    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(-2), torch.ones_like(scores))
    first, second = (scores.unsqueeze(-1) == scores).nonzero(as_tuple=True)
    torch.testing.assert_close(shares[first], shares[second])


@every_relaxation
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e30])
def test_equal_items_share_all_positions(relax, value):
    scores = torch.full((2, 6), value, dtype=torch.float64)

    torch.testing.assert_close(relax(scores, temperature=1e-3), torch.full((2, 6, 6), 1 / 6, dtype=torch.float64))
    assert gradient(relax, scores).isfinite().all()


@every_relaxation
def test_tied_items_of_a_clear_order_share_their_positions_alone(relax):
    shares = relax(torch.tensor([5.0, 1.0, 5.0]), temperature=1e-3)

    assert shares.tolist() == [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]


@every_relaxation
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31), temperature=st.sampled_from([1e-3, 0.1, 1.0, 30.0]))
def test_relabelling_items_relabels_rows(relax, n, seed, temperature):
    scores = numbers(n, seed=seed)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(relax(scores[p], temperature=temperature), relax(scores, temperature=temperature)[p])


@every_relaxation
@given(n=st.integers(2, 9), seed=st.integers(0, 2**31), temperature=st.sampled_from([0.1, 1.0, 30.0]))
def test_the_likeliest_items_of_all_positions_are_the_sorted_order(relax, n, seed, temperature):
    """Both papers' relaxations keep the argsort at any temperature."""
    scores = numbers(n, seed=seed)

    assert torch.equal(relax(scores, temperature=temperature).argmax(-2), scores.argsort())


@every_relaxation
@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_an_offset_of_all_scores_does_not_matter(relax, offset):
    scores = torch.tensor([0.0, 0.0625, 0.125, 0.1875, 0.0625, 0.0])  # multiples of float32's spacing at 1e6

    torch.testing.assert_close(relax(scores + offset), relax(scores))


# ------------------------------------------------------------------------------------------------------- derivatives


@every_relaxation
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_first_and_second_derivatives_agree_with_finite_differences(relax, temperature):
    scores = numbers(2, 4).requires_grad_()

    def relaxed(s: torch.Tensor) -> torch.Tensor:
        return relax(s, temperature=temperature)

    assert torch.autograd.gradcheck(relaxed, scores)
    assert torch.autograd.gradgradcheck(relaxed, scores)


@pytest.mark.parametrize("power", [0.5, 1.5, 2.0, 3.0])
def test_derivatives_of_every_power_agree_with_finite_differences(power):
    def relaxed(s: torch.Tensor) -> torch.Tensor:
        return soft_sort_matrix(s, power=power)

    assert torch.autograd.gradcheck(relaxed, numbers(2, 4).requires_grad_())
    assert torch.autograd.gradgradcheck(relaxed, numbers(2, 4).requires_grad_())


@pytest.mark.parametrize("power", [2.0, 3.0])
def test_where_scores_tie_a_smooth_power_has_its_derivative_summed_over_the_tied(power):
    """Moved together, tied items stay tied: that direction is smooth, and no entry of the gradient is lost."""
    scores = torch.tensor([0.3, -0.2, 0.3, 0.9], dtype=torch.float64)
    together = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)

    def relaxed(step: torch.Tensor) -> torch.Tensor:
        return soft_sort_matrix(scores + step * together, power=power)

    assert torch.autograd.gradcheck(relaxed, torch.zeros((), dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("power", [0.3, 1.0, 1.5, 2.0, 3.0])
def test_derivatives_are_finite_where_scores_tie(power):
    scores = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(soft_sort_matrix(scores, power=power)[0, 1], scores, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), scores)

    assert slope.isfinite().all()
    assert curvature.isfinite().all()


# ---------------------------------------------------------------------------------------------- magnitude and infinity


@every_relaxation
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 1e300])
@pytest.mark.parametrize("temperature", [1e-300, 1.0, 1e30])
def test_answers_and_gradients_are_finite_at_any_magnitude(relax, scale, temperature):
    scores = scale * torch.tensor([1.0, -1.0, 0.5, 1.0, 0.0], dtype=torch.float64)

    shares = relax(scores, temperature=temperature)

    assert shares.isfinite().all()
    torch.testing.assert_close(shares.sum(-2), torch.ones_like(scores))
    assert gradient(relax, scores, temperature=temperature).isfinite().all()


@every_relaxation
def test_neighbours_are_sorted_softly_beside_values_of_any_size(relax):
    """Sums over 1e17 and 1 would lose the 1; the three small items must not notice the large ones."""
    small = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    large = torch.tensor([1e17, -1e300], dtype=torch.float64)

    shares = relax(torch.cat([small, large]))

    torch.testing.assert_close(shares[:3, 1:4], relax(small))
    assert shares[3].tolist() == [0, 0, 0, 0, 1]
    assert shares[4].tolist() == [1, 0, 0, 0, 0]


@every_relaxation
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_infinite_scores_take_the_end_positions_with_gradient_zero(relax, dtype):
    finite = torch.tensor([0.3, 0.9, -0.2], dtype=dtype)
    scores = torch.tensor([INF, 0.3, -INF, 0.9, INF, -0.2], dtype=dtype)

    shares, slope = relax(scores), gradient(relax, scores)

    assert shares[0].tolist() == shares[4].tolist() == [0, 0, 0, 0, 0.5, 0.5]
    assert shares[2].tolist() == [1, 0, 0, 0, 0, 0]
    torch.testing.assert_close(shares[[1, 3, 5], 1:4], relax(finite))
    assert slope[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert slope.isfinite().all()


@every_relaxation
def test_a_set_that_holds_nan_comes_back_nan_whole_and_the_others_untouched(relax):
    scores = numbers(3, 5)
    spoilt = scores.clone()
    spoilt[1, 2] = NAN

    shares = relax(spoilt)

    assert shares[1].isnan().all()
    assert torch.equal(shares[[0, 2]], relax(scores)[[0, 2]])
    slope = gradient(relax, spoilt)
    assert torch.equal(slope[[0, 2]], gradient(relax, scores)[[0, 2]])
    assert slope[1].tolist() == [0.0] * 5


# ------------------------------------------------------------------------------------------------- shapes and dtypes


@every_relaxation
@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_any_axis_may_hold_the_items_and_the_matrices_are_last(relax, dim):
    scores = numbers(2, 3, 4)
    last = scores.movedim(dim, -1)

    alone = torch.stack([relax(row) for row in last.reshape(-1, last.shape[-1])])

    shares = relax(scores, dim=dim)
    assert shares.shape == (*last.shape, last.shape[-1])
    torch.testing.assert_close(shares, alone.reshape(shares.shape))


@every_relaxation
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 4), (0, 0), (2, 0, 4)])
def test_nothing_in_nothing_out(relax, shape):
    scores = numbers(*shape).requires_grad_()

    shares = relax(scores)
    shares.sum().backward()

    assert shares.shape == (*shape, shape[-1])
    assert scores.grad is not None
    assert scores.grad.shape == shape


@every_relaxation
def test_one_item_stands_at_the_one_position(relax):
    assert torch.equal(relax(numbers(3, 1)), torch.ones(3, 1, 1, dtype=torch.float64))


@every_relaxation
@every_dtype
def test_every_dtype_is_kept_and_its_answer_is_that_of_float64_up_to_rounding(relax, dtype):
    scores = numbers(4, 9).to(dtype)
    eps = torch.finfo(dtype).eps

    shares, slope = relax(scores), gradient(relax, scores)

    assert shares.dtype == slope.dtype == dtype
    torch.testing.assert_close(shares.double(), relax(scores.double()), rtol=eps, atol=eps)
    torch.testing.assert_close(slope.double(), gradient(relax, scores.double()), rtol=4 * eps, atol=16 * eps)


@every_relaxation
def test_the_input_is_left_as_it_was(relax):
    scores = numbers(3, 5)
    before = scores.clone()

    relax(scores)

    assert torch.equal(scores, before)


# -------------------------------------------------------------------------------------------------------- transforms


@every_relaxation
@pytest.mark.skipif(hasattr(soft_rank, "__wrapped__"), reason="the jaxtyping hook's checks do not compile")
def test_compiled_without_graph_breaks_it_gives_the_same(relax):
    torch.compiler.reset()
    compiled = torch.compile(relax, fullgraph=True, backend="eager")
    scores = torch.cat([numbers(3, 5), torch.zeros(1, 5)])

    torch.testing.assert_close(compiled(scores), relax(scores))
    torch.testing.assert_close(gradient(compiled, scores), gradient(relax, scores))


@every_relaxation
def test_vmap_and_functional_jacobians_agree_with_batched_calls(relax):
    scores = numbers(2, 3, 5)

    torch.testing.assert_close(torch.func.vmap(relax)(scores), relax(scores))
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(relax))(scores), relax(scores))
    torch.testing.assert_close(torch.func.jacfwd(relax)(scores[0, 0]), torch.func.jacrev(relax)(scores[0, 0]))


@every_relaxation
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(relax):
    scores = numbers(3, 9)

    torch.testing.assert_close(relax(scores.cuda()).cpu(), relax(scores))


# ------------------------------------------------------------------------------------------------------------ errors


@every_relaxation
@pytest.mark.errors
def test_what_cannot_be_sorted_is_refused(relax):
    name = relax.__name__
    with pytest.raises(TypeError, match=rf"{name}: `scores` must be floating point; got torch.int64. Call `scores.fl"):
        relax(torch.zeros(3, dtype=torch.int64))
    for temperature in (0.0, -1.0, NAN):
        with pytest.raises(ValueError, match=rf"{name}: `temperature` must be positive; got {temperature}"):
            relax(torch.zeros(3), temperature=temperature)
    for shape, dim in [((2, 3), 2), ((2, 3), -3), ((), -1)]:
        with pytest.raises(ValueError, match=rf"{name}: `dim` must name an axis of a {len(shape)}-D tensor; got {dim}"):
            relax(torch.zeros(shape), dim=dim)


@pytest.mark.errors
@pytest.mark.parametrize("power", [0.0, -1.0, NAN])
def test_a_power_that_is_not_positive_is_refused(power):
    with pytest.raises(ValueError, match=rf"soft_sort_matrix: `power` must be positive; got {power}"):
        soft_sort_matrix(torch.zeros(3), power=power)
