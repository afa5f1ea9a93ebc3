"""Metrics of orders: the authors' numbers, definitions written out pair by pair, and their rules for ties."""

from itertools import combinations
from itertools import permutations as every_order

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

from unshuffle.evals.ordering import (
    Answers,
    in_order,
    is_permutation,
    matrix_similarity,
    ndcg,
    normalization_error,
    ordering_results,
    pairwise_accuracy,
    row_argmax,
    strict_kendall_tau,
    strict_pairwise_accuracy,
)
from unshuffle.evals.results import stamp
from unshuffle.permutations import kendall_tau, rank_matrix, sample, to_ranks


def tie_as_numpys_heapsort(values: np.ndarray) -> torch.Tensor:
    """The same order without ties. The authors' argsort is unstable, and where relevances tie their figure shows it."""
    return torch.from_numpy(values.argsort(-1, kind="heapsort").argsort(-1))


@pytest.mark.parametrize(("name", "n"), [("l4", 4), ("l8_ties", 8)])
def test_all_figures_of_the_authors_evaluation_are_ours(golden, name, n):
    data = golden("deeppermnet_metrics")
    true, said = (torch.tensor(data[f"{name}/{key}"]).reshape(-1, n, n) for key in ("gt", "pred"))
    relevance = torch.tensor(data[f"{name}/rel"])
    slots = (true @ relevance.unsqueeze(-1)).squeeze(-1)  # of the shuffled sequence
    recovered = in_order(slots, said.argmax(-1) + 1.0)
    best, scores = (tie_as_numpys_heapsort(v.numpy()) for v in (relevance, recovered))

    ours = {
        "inv_hamming": matrix_similarity(said, true),
        "acc": (matrix_similarity(said, true) == 1).double(),
        "pair_acc": strict_pairwise_accuracy(recovered, relevance),
        "kendall": strict_kendall_tau(recovered, relevance),
        "ndcg": ndcg(scores, relevance) / ndcg(best, relevance),
    }

    for key, value in ours.items():
        assert value.mean().item() == pytest.approx(float(data[f"{name}/{key}"]), abs=1e-9), key


@given(n=st.integers(2, 8), values=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_pairs_are_counted_as_their_definitions_say(n, values, seed):
    rng = torch.Generator().manual_seed(seed)
    said, true = torch.randint(values, (2, 3, n), generator=rng)
    pairs = list(combinations(range(n), 2))
    agree = [
        [np.sign(s[j] - s[i]) == np.sign(t[j] - t[i]) for i, j in pairs] for s, t in zip(said.numpy(), true.numpy())
    ]
    tied = [[t[i] == t[j] for i, j in pairs] for t in true.numpy()]

    strict = np.mean(agree, -1)

    np.testing.assert_allclose(strict_pairwise_accuracy(said, true), strict)
    np.testing.assert_allclose(strict_kendall_tau(said, true), 2 * strict - 1)
    np.testing.assert_allclose(pairwise_accuracy(said, true), (np.array(agree) | np.array(tied)).mean(-1))


@given(n=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_without_ties_the_papers_tau_is_kendalls(n, seed):
    said, true = sample(2, n, generator=torch.Generator().manual_seed(seed)).double()

    assert strict_kendall_tau(said, true).item() == pytest.approx(kendalltau(said, true).statistic)
    assert strict_kendall_tau(said, true).item() == pytest.approx(kendall_tau(said, true).item(), abs=1e-6)
    assert pairwise_accuracy(said, true) == strict_pairwise_accuracy(said, true)


def test_the_order_of_tied_items_is_right_either_way_and_wrong_strictly():
    true, both = torch.tensor([1.0, 2.5, 2.5]), torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])

    assert pairwise_accuracy(both, true.expand(2, 3)).tolist() == [1, 1]
    assert strict_pairwise_accuracy(both, true.expand(2, 3)).tolist() == pytest.approx([2 / 3] * 2)


@given(n=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_the_gain_is_that_of_scikit_learn(n, seed):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.rand(4, n, dtype=torch.float64, generator=rng)
    relevance = torch.randint(5, (4, n), generator=rng)
    relevance[:, 0] = 4

    expected = [ndcg_score([2.0**r - 1], [s], ignore_ties=True) for s, r in zip(scores.numpy(), relevance.numpy())]

    np.testing.assert_allclose(ndcg(scores, relevance), expected)


def test_two_random_matrices_of_eight_agree_in_most_entries():
    first, second = rank_matrix(sample(20_000, 8, generator=torch.Generator().manual_seed(0)) + 1.0).chunk(2)

    assert matrix_similarity(first, second).mean().item() == pytest.approx(6 / 8 + 2 / 64, abs=2e-3)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_permutations_are_told_from_all_other_answers(n):
    matrices = torch.stack([rank_matrix(torch.tensor(p) + 1.0) for p in every_order(range(n))])

    assert is_permutation(matrices).all()
    assert not is_permutation(matrices * 0.5).any()
    if n > 1:
        crowded = torch.zeros(n, n)
        crowded[:, 0] = 1
        assert not is_permutation(crowded)
        assert not is_permutation(crowded.T)
        assert not is_permutation(torch.full((n, n), 1 / n))


def test_rows_alone_may_send_two_items_to_one_position():
    soft = torch.tensor([[[0.6, 0.4], [0.7, 0.3]], [[0.9, 0.1], [0.2, 0.8]]])

    hard = row_argmax(soft)

    assert hard.tolist() == [[[1, 0], [1, 0]], [[1, 0], [0, 1]]]
    assert is_permutation(hard).tolist() == [False, True]


def test_the_normalisation_error_is_the_mean_over_rows_and_columns():
    soft = torch.tensor([[1.0, 0.5], [0.0, 0.25]])  # rows 1.5 and 0.25, columns 1 and 0.75

    assert normalization_error(soft).item() == pytest.approx((0.5 + 0.75 + 0 + 0.25) / 4)
    assert normalization_error(rank_matrix(to_ranks(torch.tensor([3, 1, 1])))).item() == 0


def test_the_recovered_sequence_is_the_product_with_the_transposed_matrix(rng):
    items, perm = torch.randn(5, 6, generator=rng), sample(5, 6, generator=rng)

    expected = (rank_matrix(perm + 1.0).mT @ items.unsqueeze(-1)).squeeze(-1)

    torch.testing.assert_close(in_order(items, perm + 1.0), expected)


def lines(said: Answers, true: torch.Tensor) -> dict[tuple[str, str], float]:
    mark = stamp("made up", "test", "none")
    return {(r.metric, r.layer): r.value for r in ordering_results(said, true, mark, layer="net", seed=0)}


def test_who_is_right_is_told_so_beside_random_orders(rng):
    """Also where the truth was drawn from the same seed."""
    true = sample(2000, 5, generator=torch.Generator().manual_seed(0)) + 1.0

    found = lines(Answers(true, rank_matrix(true)), true)

    assert {found[key, "net"] for key in ("tau", "accuracy", "similarity")} == {1.0}
    assert found["error", "net"] == 0
    assert found["share", "net, row by row"] == found["similarity", "net, row by row"] == 1
    assert found["tau", "chance"] == pytest.approx(0, abs=0.05)
    assert found["accuracy", "chance"] == pytest.approx(0.5, abs=0.03)
    assert found["similarity", "chance"] == pytest.approx(3 / 5 + 2 / 25, abs=0.02)


def test_ties_are_right_in_either_order_in_all_figures():
    true = to_ranks(torch.tensor([[1, 2, 2, 3], [1, 1, 4, 5]]))
    said = torch.tensor([[1.0, 3.0, 2.0, 4.0], [2.0, 1.0, 3.0, 4.0]])

    found = lines(Answers(said, None), true)

    assert found["accuracy", "net"] == found["similarity", "net"] == 1
    assert found["tau", "net"] == pytest.approx(np.mean([kendalltau(s, t).statistic for s, t in zip(said, true)]))
    assert {key for key, layer in found if layer == "net"} == {"tau", "accuracy", "similarity"}


def test_sets_in_which_all_items_tie_have_no_tau():
    found = lines(Answers(torch.tensor([[1.0, 2.0]]), None), torch.tensor([[1.5, 1.5]]))

    assert ("tau", "net") not in found
    assert found["accuracy", "net"] == 1


@pytest.mark.errors
def test_one_item_makes_no_pair():
    with pytest.raises(ValueError, match=r"pairwise_accuracy: there must be two items or more"):
        pairwise_accuracy(torch.ones(3, 1), torch.ones(3, 1))
