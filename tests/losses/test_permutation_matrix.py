"""Objectives on permutation matrices: the authors' layer to their numbers, ours against definitions, and ties."""

import json
import math
from itertools import permutations as every_order

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unshuffle.losses import AuthorsSinkhorn, MatrixObjective, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.permutations import apply, rank_matrix, sample
from unshuffle.values import from_json, to_json

EXACT = SinkhornCrossEntropy(tolerance=1e-13, num_iters=100_000)
OBJECTIVES: list[MatrixObjective] = [SinkhornCrossEntropy(), AuthorsSinkhorn(), NaiveSigmoid()]
TIED = torch.tensor([[1.0, 2.5, 2.5, 5.0, 4.0], [3.0, 3.0, 3.0, 3.0, 3.0], [2.0, 1.0, 5.0, 4.0, 3.0]])

every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)


def truth(n: int, count: int, seed: int = 0) -> Tensor:
    """Ranks of shuffled samples."""
    return sample(count, n, generator=torch.Generator().manual_seed(seed)).double() + 1


# -------------------------------------------------------------------------------------------------------- all of them


@every_objective
@pytest.mark.parametrize("n", [1, 2, 5])
def test_gradients_are_those_of_finite_differences(objective, n, rng):
    scores = torch.randn(3, n * n, dtype=torch.float64, generator=rng, requires_grad=True)
    exact = EXACT if isinstance(objective, SinkhornCrossEntropy) else objective

    assert torch.autograd.gradcheck(lambda s: exact.loss(s, truth(n, 3), None), scores, atol=1e-7)
    assert torch.autograd.gradcheck(lambda s: exact.matrix(s), scores, atol=1e-7)


@every_objective
def test_ties_are_targets_like_any_other(objective, rng):
    scores = torch.randn(3, 25, dtype=torch.float64, generator=rng, requires_grad=True)
    exact = EXACT if isinstance(objective, SinkhornCrossEntropy) else objective

    assert torch.autograd.gradcheck(lambda s: exact.loss(s, TIED.double(), None), scores, atol=1e-7)
    torch.testing.assert_close(
        objective.loss(scores, TIED.double(), None), objective.cost(scores, rank_matrix(TIED.double()))
    )


@every_objective
def test_tied_items_cost_the_same_whichever_comes_first(objective, rng):
    scores = torch.randn(1, 25, generator=rng)
    swapped = scores.reshape(1, 5, 5)[:, [0, 2, 1, 3, 4]].flatten(1)  # items 1 and 2 tie

    torch.testing.assert_close(objective.loss(scores, TIED[:1], None), objective.loss(swapped, TIED[:1], None))


@every_objective
@given(n=st.integers(1, 6), seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 1.0, 30.0]))
def test_a_prediction_is_a_permutation_whatever_the_scores(objective, n, seed, spread):
    scores = spread * torch.randn(4, n * n, generator=torch.Generator().manual_seed(seed))

    ranks = objective.predict(scores, n)

    assert torch.equal(ranks.sort(-1).values, torch.arange(1.0, n + 1).expand(4, n))


@every_objective
@pytest.mark.parametrize("n", [2, 4])
def test_the_predicted_matrix_is_the_nearest_of_all(objective, n, rng):
    """In the Frobenius norm, by enumeration (equation 5)."""
    scores = 2 * torch.randn(6, n * n, generator=rng)
    soft = objective.matrix(scores)
    matrices = torch.stack([rank_matrix(torch.tensor(p) + 1.0) for p in every_order(range(n))])

    said = rank_matrix(objective.predict(scores, n))

    nearest = (soft.unsqueeze(1) - matrices).square().sum((-2, -1)).amin(-1)
    torch.testing.assert_close((soft - said).square().sum((-2, -1)), nearest)


@every_objective
@given(n=st.integers(2, 7), seed=st.integers(0, 2**31))
def test_the_predicted_ranks_put_shuffled_items_back(objective, n, seed):
    """A network that is sure where each slot's content belongs is right, by the project's convention."""
    perm = sample(3, n, generator=torch.Generator().manual_seed(seed))
    original = torch.arange(3 * n).reshape(3, n)
    scores = 10.0 * F.one_hot(perm, n).flatten(1)

    predicted = objective.predict(scores, n)

    assert torch.equal(predicted, perm + 1.0)
    assert torch.equal(apply(apply(original, perm), predicted.argsort(-1)), original)
    assert (objective.loss(scores, predicted, None) < objective.loss(-scores, predicted, None)).all()


@every_objective
def test_scores_that_are_no_numbers_still_have_an_order(objective):
    """The training loop tells that the loss is no number; a prediction in its logs must not come before it."""
    scores = torch.zeros(2, 9)
    scores[0, 4] = torch.nan

    assert torch.equal(objective.predict(scores, 3).sort(-1).values, torch.tensor([[1.0, 2.0, 3.0]] * 2))
    assert objective.loss(scores, torch.tensor([[1.0, 2.0, 3.0]] * 2), None).isfinite().tolist() == [False, True]


@every_objective
def test_a_value_comes_back_equal_from_json_text(objective):
    assert from_json(json.loads(json.dumps(to_json(objective)))) == objective


@every_objective
def test_there_is_a_score_for_each_item_at_each_position(objective):
    assert [objective.outputs(n) for n in (1, 4, 9)] == [1, 16, 81]
    assert isinstance(objective, MatrixObjective)


@pytest.mark.errors
@every_objective
def test_scores_that_are_no_square_are_refused(objective):
    with pytest.raises(ValueError, match=r"n \* n scores a sample.*got \(2, 8\)"):
        objective.matrix(torch.zeros(2, 8))


# ------------------------------------------------------------------------------------------------------ the authors'


@pytest.mark.parametrize("name", ["l4_lam0.01", "l9_lam0.001", "l9_lam0.01"])
def test_the_authors_layer_has_their_values_and_gradients(golden, name):
    data = golden("deeppermnet_sinkhorn_formula")
    scores = torch.tensor(data[f"{name}/logits"], requires_grad=True)
    objective = AuthorsSinkhorn(float(name.partition("lam")[2]))

    loss = objective.cost(scores, torch.tensor(data[f"{name}/label"])).mean()

    torch.testing.assert_close(loss, torch.tensor(data[f"{name}/loss"]), rtol=0, atol=1e-9)
    (slope,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(slope, torch.tensor(data[f"{name}/grad"]), rtol=0, atol=1e-9)
    torch.testing.assert_close(objective.matrix(scores), torch.tensor(data[f"{name}/dsm"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("regularization", "best", "floor"), [(1e-3, 0.926, 0.69), (1e-2, 0.562, 5.19)])
def test_no_entry_of_the_authors_layer_comes_near_one(regularization, best, floor):
    """At n = 9: the bounds of the docstring, and of the regularisation that their models for testing have."""
    objective = AuthorsSinkhorn(regularization)
    sure = 50.0 * torch.eye(9, dtype=torch.float64).reshape(1, 81)

    ranks = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 9)
    assert objective.matrix(sure).diagonal(dim1=-2, dim2=-1).max() == pytest.approx(best, abs=5e-4)
    assert objective.loss(sure, ranks, None).item() == pytest.approx(floor, abs=5e-3)


def test_columns_of_the_authors_layer_sum_to_one_and_rows_do_not(rng):
    soft = AuthorsSinkhorn().matrix(torch.randn(5, 81, generator=rng))

    torch.testing.assert_close(soft.sum(-2), torch.ones(5, 9))
    assert (soft.sum(-1) - 1).abs().max() > 0.1


# --------------------------------------------------------------------------------------------------------------- ours


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("tied", [False, True])
def test_ours_is_the_cross_entropy_of_the_balanced_matrix(temperature, tied, rng):
    scores = torch.randn(3, 25, dtype=torch.float64, generator=rng)
    ranks = TIED.double() if tied else truth(5, 3)
    objective = SinkhornCrossEntropy(temperature, tolerance=1e-13, num_iters=100_000)

    loss = objective.loss(scores, ranks, None)

    soft = objective.matrix(scores)
    torch.testing.assert_close(soft.sum(-1), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(soft.sum(-2), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(loss, -(rank_matrix(ranks) * soft.log()).sum((-2, -1)))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_rows_sum_to_one_within_the_tolerance_and_the_loss_is_off_by_little_more(tolerance, spread, rng):
    scores = spread * torch.randn(20, 81, dtype=torch.float64, generator=rng)
    objective = SinkhornCrossEntropy(tolerance=tolerance)

    soft, loss = objective.matrix(scores), objective.loss(scores, truth(9, 20), None)

    assert (soft.sum(-1) - 1).abs().max() <= tolerance
    torch.testing.assert_close(soft.sum(-2), torch.ones(20, 9, dtype=torch.float64))
    assert (loss - EXACT.loss(scores, truth(9, 20), None)).abs().max() < 100 * tolerance


def test_the_least_loss_of_ours_is_the_entropy_of_the_target():
    scores = 200.0 * rank_matrix(TIED).flatten(1)

    loss = SinkhornCrossEntropy().loss(scores, TIED, None)

    torch.testing.assert_close(loss, torch.tensor([2 * math.log(2), 5 * math.log(5), 0.0]), rtol=1e-4, atol=1e-4)


def test_ours_is_convex_in_the_scores(rng):
    first, second = torch.randn(2, 50, 16, dtype=torch.float64, generator=rng)
    loss = lambda scores: EXACT.loss(scores, truth(4, 50), None)  # noqa: E731

    assert (loss((first + second) / 2) <= (loss(first) + loss(second)) / 2).all()


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_ours_is_finite_and_pulls_however_far_the_scores_lie_apart(distance):
    """The logarithm of a matrix that has underflown would be infinite, and without a gradient."""
    scores = (distance * torch.eye(3)).reshape(1, 9).requires_grad_()

    loss = SinkhornCrossEntropy().loss(scores, torch.tensor([[3.0, 1.0, 2.0]]), None)
    (slope,) = torch.autograd.grad(loss.sum(), scores)

    assert loss.item() == pytest.approx(3 * distance, rel=1e-6)
    target = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(slope.reshape(3, 3), torch.eye(3) - target)


def test_single_precision_is_that_of_double_rounded(rng):
    scores = torch.randn(20, 81, dtype=torch.float64, generator=rng).float()

    single = SinkhornCrossEntropy().loss(scores, truth(9, 20).float(), None)

    torch.testing.assert_close(single, SinkhornCrossEntropy().loss(scores.double(), truth(9, 20), None).float())


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: SinkhornCrossEntropy(temperature=0.0), "temperature"),
        (lambda: SinkhornCrossEntropy(tolerance=0.0), "tolerance"),
        (lambda: SinkhornCrossEntropy(num_iters=0), "num_iters"),
        (lambda: AuthorsSinkhorn(0.0), "regularization"),
    ],
)
def test_options_that_cannot_be_are_refused(make, name):
    with pytest.raises(ValueError, match=f"`{name}` must be (from 1|above 0) "):
        make()


# -------------------------------------------------------------------------------------------------------------- naive


def test_the_naive_loss_is_the_sum_of_all_binary_cross_entropies(rng):
    scores, ranks = torch.randn(3, 25, dtype=torch.float64, generator=rng), truth(5, 3)
    yes = rank_matrix(ranks).bool()
    p = torch.sigmoid(scores).reshape(3, 5, 5)

    expected = -torch.where(yes, p.log(), (1 - p).log()).sum((-2, -1))

    torch.testing.assert_close(NaiveSigmoid().loss(scores, ranks, None), expected)
    torch.testing.assert_close(NaiveSigmoid().matrix(scores), p)
