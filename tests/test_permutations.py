"""Permutations: the algebra by properties, the conventions by worked examples, the statistics by scipy."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle import permutations
from unshuffle.permutations import (
    SpreadOut,
    apply,
    compose,
    exact_order,
    hamming_similarity,
    invert,
    kendall_tau,
    partial_ranks,
    rank_matrix,
    sample,
    spread_out,
    to_matrix,
    to_ranks,
)

sizes, seeds = st.integers(0, 8), st.integers(0, 2**31)
tied_scores = st.lists(st.integers(-3, 3), min_size=2, max_size=9)


def drawn(n: int, seed: int, *, batch: int = 5) -> torch.Tensor:
    return sample(batch, n, generator=torch.Generator().manual_seed(seed))


def hamming_distances(rows: torch.Tensor) -> torch.Tensor:
    """Oracle: the number of differing places of every pair of rows."""
    pairs = itertools.combinations(rows.tolist(), 2)
    return torch.tensor([float(sum(a != b for a, b in zip(p, q))) for p, q in pairs])


# ---------------------------------------------------------------------------------------------------------- drawing


def test_sample_draws_each_of_the_24_permutations_of_four_equally_often(rng):
    rows = sample(24_000, 4, generator=rng)

    counts = torch.unique(rows, dim=0, return_counts=True)[1]

    assert len(counts) == 24
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 0.01


def test_sample_repeats_itself_for_the_same_generator_state():
    assert torch.equal(drawn(9, 3), drawn(9, 3))
    assert not torch.equal(drawn(9, 3), drawn(9, 4))


@pytest.mark.parametrize(("batch", "n"), [(0, 3), (3, 0), (2, 1)])
def test_sample_keeps_the_shape_when_there_is_nothing_to_shuffle(batch, n):
    assert sample(batch, n).shape == (batch, n)


# ---------------------------------------------------------------------------------------------------------- algebra


@given(n=sizes, seed=seeds)
def test_a_permutation_composed_with_its_inverse_is_the_identity(n, seed):
    perm = drawn(n, seed)
    identity = torch.arange(n).expand_as(perm)

    assert torch.equal(compose(perm, invert(perm)), identity)
    assert torch.equal(compose(invert(perm), perm), identity)
    assert torch.equal(invert(invert(perm)), perm)


@given(n=sizes, seed=seeds)
def test_compose_equals_applying_one_after_the_other(n, seed):
    first, then = drawn(n, seed), drawn(n, seed + 1)
    items = torch.randn(5, n, 2, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(apply(items, compose(first, then)), apply(apply(items, first), then))


@given(n=sizes, seed=seeds)
def test_compose_is_associative(n, seed):
    a, b, c = drawn(n, seed), drawn(n, seed + 1), drawn(n, seed + 2)

    assert torch.equal(compose(compose(a, b), c), compose(a, compose(b, c)))


@given(n=sizes, seed=seeds)
def test_the_inverse_restores_a_shuffled_sample_of_any_item_shape(n, seed):
    perm = drawn(n, seed)
    items = torch.arange(5 * n * 6).reshape(5, n, 2, 3)

    assert torch.equal(apply(apply(items, perm), invert(perm)), items)


def test_slot_i_shows_item_perm_i_and_its_rank_is_perm_i_plus_one():
    """Worked by hand: the pieces a b c d lie on the table as c a d b."""
    original = torch.tensor([[10, 20, 30, 40]])
    perm = torch.tensor([[2, 0, 3, 1]])

    shuffled, ranks = apply(original, perm), perm.float() + 1

    assert shuffled.tolist() == [[30, 10, 40, 20]]
    assert ranks.tolist() == [[3.0, 1.0, 4.0, 2.0]]
    # The content is ascending, so where each slot's content belongs is the rank of its value.
    assert torch.equal(to_ranks(shuffled), ranks)
    assert apply(shuffled, ranks.argsort(-1)).tolist() == original.tolist()


def test_a_matrix_has_items_on_rows_and_positions_on_columns():
    order = torch.tensor([2, 0, 1])  # item 2 first, then item 0, then item 1

    matrix = to_matrix(order)

    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert (matrix.T @ torch.tensor([10.0, 20.0, 30.0])).tolist() == [30, 10, 20]


@given(n=sizes, seed=seeds)
def test_the_matrix_of_an_order_applies_it_and_its_transpose_is_the_inverse(n, seed):
    perm = drawn(n, seed)
    items = torch.randn(5, n, generator=torch.Generator().manual_seed(seed))

    assert torch.equal((to_matrix(perm).mT @ items.unsqueeze(-1)).squeeze(-1), apply(items, perm))
    assert torch.equal(to_matrix(invert(perm)), to_matrix(perm).mT)


@pytest.mark.errors
@pytest.mark.parametrize("wrong", [[0, 0, 2], [1, 2, 3], [-1, 0, 1], [0, 1, 5], [0, 255, 1]])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.uint8, torch.uint32], ids=str)
def test_what_is_no_permutation_is_refused_wherever_one_is_asked_for(wrong, dtype):
    good, perm = torch.arange(3), torch.tensor([[0, 1, 2], wrong]).to(dtype)
    calls = {
        "invert: `perm`": lambda: invert(perm),
        "compose: `first`": lambda: compose(perm, good.expand(2, 3)),
        "compose: `then`": lambda: compose(good.expand(2, 3), perm),
        "apply: `perm`": lambda: apply(torch.zeros(2, 3), perm),
        "to_matrix: `perm`": lambda: to_matrix(perm),
    }
    for text, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{text} must hold permutations, each of 0 to n - 1 once"):
            call()


@pytest.mark.untyped
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.uint8, torch.uint16, torch.uint64], ids=str
)
def test_permutations_of_every_integer_dtype_are_taken_as_those_of_int64(dtype):
    perm, then = torch.tensor([[2, 0, 1], [1, 0, 2]]), torch.tensor([[0, 2, 1], [2, 1, 0]])

    assert torch.equal(invert(perm.to(dtype)), invert(perm))
    assert torch.equal(compose(perm.to(dtype), then.to(dtype)).long(), compose(perm, then))
    assert torch.equal(apply(then, perm.to(dtype)), apply(then, perm))
    assert torch.equal(to_matrix(perm.to(dtype)), to_matrix(perm))


@pytest.mark.untyped
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_ranks_and_correlations_of_small_and_unsigned_integers_do_not_wrap(dtype):
    """Against scipy and counting, on numbers whose differences leave the dtype."""
    bounds = torch.iinfo(dtype)
    rows = [[2, 1, 0, bounds.max], [bounds.max, bounds.max // 2, bounds.min, 3]]
    first, second = (torch.tensor([row], dtype=dtype) for row in rows)
    floats = [torch.tensor([scipy.stats.rankdata(row)]) for row in rows]

    assert torch.equal(to_ranks(first).double(), floats[0])
    expected = scipy.stats.kendalltau(*(row[0].numpy() for row in floats)).statistic
    assert kendall_tau(first, second).item() == pytest.approx(expected)
    assert kendall_tau(first, floats[0]).item() == 1
    small = torch.tensor([[3, 2, 1]], dtype=dtype)
    assert partial_ranks(small, torch.tensor([[1, 2, 3]], dtype=dtype)).item() == pytest.approx(1 / 3)
    assert exact_order(small, small).item() == 1


def test_equal_infinities_tie_in_kendalls_tau_and_nan_gives_nan():
    first, second = torch.tensor([torch.inf, torch.inf, 0.0, 1.0]), torch.tensor([3.0, 2.0, 0.0, 1.0])

    assert kendall_tau(first, second).item() == pytest.approx(scipy.stats.kendalltau(first, second).statistic)
    assert kendall_tau(first.masked_fill(first == 1, torch.nan), second).isnan()


@pytest.mark.errors
def test_apply_refuses_a_permutation_of_another_length():
    with pytest.raises(ValueError, match=r"apply: `items` must start with the shape of `perm`, \(2, 3\); got \(2, 4\)"):
        apply(torch.zeros(2, 4), torch.arange(3).expand(2, 3))


@pytest.mark.errors
@pytest.mark.parametrize("call", [invert, to_matrix, lambda p: compose(p, p), lambda p: apply(torch.zeros(1, 3), p)])
def test_an_order_of_floats_is_refused_with_a_hint(call):
    with pytest.raises(TypeError, match=r"must hold integers; got torch.float32. Call `\w+.long\(\)` first"):
        call(torch.zeros(1, 3))


# ------------------------------------------------------------------------------------------------------------ ranks


@given(
    scores=st.lists(st.integers(-3, 3), max_size=9), dtype=st.sampled_from([torch.float64, torch.float16, torch.int64])
)
def test_ranks_equal_scipys_with_ties_sharing_the_average(scores, dtype):
    ranks = to_ranks(torch.tensor([scores], dtype=dtype))

    np.testing.assert_array_equal(ranks[0].double().numpy(), scipy.stats.rankdata(scores))


def test_ranks_take_infinities_as_ends_and_a_set_with_nan_is_nan_whole():
    inf, nan = float("inf"), float("nan")

    ranks = to_ranks(torch.tensor([[0.0, inf, -inf, inf], [3.0, nan, 1.0, 2.0]]))

    assert ranks[0].tolist() == [2.0, 3.5, 1.0, 3.5]
    assert ranks[1].isnan().all()


def test_ranks_of_each_row_ignore_the_other_rows(rng):
    scores = torch.randn(2, 3, 5, generator=rng)

    assert torch.equal(to_ranks(scores), torch.stack([torch.stack([to_ranks(s) for s in rows]) for rows in scores]))


# ------------------------------------------------------------------------------------------------------- spread out


def test_one_hundred_permutations_of_nine_lie_as_far_apart_as_the_authors():
    """Their public set of 100 (read and measured): smallest Hamming distance 2, mean 8.08."""
    rows = spread_out(100, 9)

    distances = hamming_distances(rows)

    assert torch.equal(rows.sort(-1).values, torch.arange(9).expand(100, 9))
    assert distances.min() >= 2
    assert distances.mean() >= 8.0


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_spread_sets_of_three_reach_the_enumerated_optimum(count):
    every = torch.tensor(list(itertools.permutations(range(3))))
    subsets = itertools.combinations(range(6), count)

    best = max(hamming_distances(every[list(s)]).min().item() if count > 1 else math.inf for s in subsets)

    rows = spread_out(count, 3)
    assert len(torch.unique(rows, dim=0)) == count
    assert (hamming_distances(rows).min().item() if count > 1 else math.inf) == best


@pytest.mark.parametrize(("count", "n", "pool"), [(120, 5, 20_000), (60, 5, 10), (600, 6, 10), (30, 9, 50)])
def test_spread_sets_hold_distinct_permutations_however_small_the_pool(count, n, pool):
    rows = spread_out(count, n, pool=pool)

    assert rows.shape == (count, n)
    assert len(torch.unique(rows, dim=0)) == count
    assert torch.equal(rows.sort(-1).values, torch.arange(n).expand(count, n))


def test_spread_sets_depend_on_their_arguments_alone():
    first = spread_out(10, 6, seed=1)
    torch.rand(1)

    assert torch.equal(spread_out(10, 6, seed=1), first)
    assert torch.equal(SpreadOut(count=10, seed=1).build(6), first)
    assert not torch.equal(spread_out(10, 6, seed=2), first)


@pytest.mark.errors
def test_a_set_larger_than_all_permutations_is_refused():
    with pytest.raises(ValueError, match=r"spread_out: `count` must be at most 3! = 6; got 7"):
        spread_out(7, 3)
    with pytest.raises(ValueError, match=r"spread_out: `count` must be positive; got 0"):
        spread_out(0, 3)


@given(n=st.integers(0, 5))
def test_the_candidates_of_a_small_n_are_all_permutations(n):
    rows = permutations._all_permutations(n)

    assert sorted(map(tuple, rows.tolist())) == sorted(itertools.permutations(range(n)))


# -------------------------------------------------------------------------------------------------------- comparing


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=9))
def test_kendalls_tau_equals_scipys_with_ties(pairs):
    first, second = zip(*pairs)

    tau = kendall_tau(torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64))

    # Both are NaN where all items of one ranking tie.
    np.testing.assert_allclose(tau[0].item(), scipy.stats.kendalltau(first, second).statistic, atol=1e-6)


def test_hamming_similarity_is_the_share_of_equal_places():
    a, b = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]]), torch.tensor([[0, 1, 3, 2], [1, 2, 3, 0]])

    assert hamming_similarity(a, b).tolist() == [0.5, 0.0]
    assert hamming_similarity(a + 1.0, b + 1.0).tolist() == [0.5, 0.0]  # rankings likewise


def test_partial_ranks_count_the_items_in_their_right_position():
    true = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 4)
    predicted = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0]])

    assert partial_ranks(predicted, true).tolist() == [1.0, 0.5, 0.0]
    assert exact_order(predicted, true).tolist() == [1.0, 0.0, 0.0]


@given(values=tied_scores)
def test_tied_items_are_right_in_either_order_and_wrong_elsewhere(values):
    """Oracle: an item is right where some sorted order of the true values puts it at that position."""
    n = len(values)
    predicted = to_ranks(torch.tensor(np.random.default_rng(n).permutation(n), dtype=torch.float64))
    ordered = sorted(values)

    expected = sum(ordered[int(rank) - 1] == value for rank, value in zip(predicted.tolist(), values)) / n

    true = to_ranks(torch.tensor(values, dtype=torch.float64))
    assert partial_ranks(predicted, true).item() == pytest.approx(expected)


@pytest.mark.errors
@pytest.mark.parametrize("compare", [kendall_tau, partial_ranks, hamming_similarity])
def test_rankings_of_different_lengths_are_refused(compare):
    with pytest.raises(
        ValueError, match=rf"{compare.__name__}: `\w+` must have the shape of `\w+`, \(3,\); got \(4,\)"
    ):
        compare(torch.zeros(3), torch.zeros(4)) if compare is not partial_ranks else compare(
            torch.zeros(4), torch.zeros(3)
        )


# ------------------------------------------------------------------------------------------------- ranks as matrices


@given(n=sizes, seed=seeds)
def test_ranks_without_ties_are_the_matrix_of_their_order(n, seed):
    perm = drawn(n, seed)

    assert rank_matrix(perm + 1.0).equal(to_matrix(invert(perm)))


@given(scores=tied_scores)
def test_tied_items_share_their_positions_evenly(scores):
    """The mean over all matrices that respect the order: by enumeration of each group's permutations."""
    scores = scores[:6]
    ranks = to_ranks(torch.tensor(scores))
    respecting = [p for p in itertools.permutations(range(len(scores))) if [scores[i] for i in p] == sorted(scores)]

    expected = to_matrix(torch.tensor(respecting)).mean(0)

    torch.testing.assert_close(rank_matrix(ranks), expected)
    assert rank_matrix(ranks.double()).dtype == torch.float64


@pytest.mark.errors
def test_integers_are_no_ranks():
    with pytest.raises(TypeError, match=r"rank_matrix: `ranks` must be floating point"):
        rank_matrix(torch.tensor([1, 2]))
