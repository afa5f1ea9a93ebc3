"""Objectives of the reordering task: what they cost, what they predict, how they travel."""

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.losses import (
    FastSoftRanking,
    FixedPermutations,
    Objective,
    PerturbedFenchelYoung,
    RankMSE,
    fenchel_young,
    sampled_fenchel_young,
)
from unshuffle.permutations import SpreadOut, apply, sample, to_ranks
from unshuffle.values import from_json, to_json

RANKINGS: list[Objective] = [
    PerturbedFenchelYoung(),
    PerturbedFenchelYoung(sigma=0.5, num_samples=2000),
    FastSoftRanking(),
    FastSoftRanking(regularization_strength=0.1),
    RankMSE(),
]
FIXED = FixedPermutations(SpreadOut(count=7))
OBJECTIVES: list[Objective] = [*RANKINGS, FIXED]

every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
every_ranking = pytest.mark.parametrize("objective", RANKINGS, ids=str)


def known_ranks(n: int) -> torch.Tensor:
    """The true ranks of samples shuffled by each member of the fixed set."""
    return FIXED.choices.build(n).float() + 1


# -------------------------------------------------------------------------------------------------------- all of them


@every_objective
@pytest.mark.parametrize("n", [4, 9])
def test_one_value_a_sample_with_a_gradient_for_every_output(objective, n, rng):
    # Close together: soft ranks, once hard, have no gradient.
    scores = (0.01 * torch.randn(7, objective.outputs(n), generator=rng)).requires_grad_()

    loss = objective.loss(scores, known_ranks(n), rng)
    (gradient,) = torch.autograd.grad(loss.sum(), scores)

    assert loss.shape == (7,)
    assert gradient.shape == scores.shape
    assert gradient.abs().sum(-1).gt(0).all()


@every_objective
def test_samples_of_a_batch_do_not_touch_each_other(objective, rng):
    # Near each other: the soft ranks of scores that lie apart are hard, without a gradient.
    scores = (0.05 * torch.randn(7, objective.outputs(4), generator=rng)).requires_grad_()

    (gradient,) = torch.autograd.grad(objective.loss(scores, known_ranks(4), rng)[2], scores)

    assert gradient[[0, 1, 3, 4, 5, 6]].abs().max() == 0
    assert gradient[2].abs().max() > 0


@every_objective
@given(n=st.integers(4, 6), seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 1.0]))
def test_a_prediction_is_a_permutation_of_1_to_n_even_where_scores_tie(objective, n, seed, spread):
    rng = torch.Generator().manual_seed(seed)
    scores = (spread * torch.randn(6, objective.outputs(n), generator=rng)).round()

    ranks = objective.predict(scores, n)

    assert torch.equal(ranks.sort(-1).values, torch.arange(1.0, n + 1).expand(6, n))


@every_objective
def test_a_value_comes_back_equal_from_json_text(objective):
    assert from_json(json.loads(json.dumps(to_json(objective)))) == objective


# ----------------------------------------------------------------------------------------------------------- rankings


@every_ranking
def test_a_ranking_has_one_score_for_each_patch(objective):
    assert [objective.outputs(n) for n in (1, 4, 9)] == [1, 4, 9]


@every_ranking
def test_the_right_order_costs_least_of_all_orders(objective):
    orders = torch.tensor(list(itertools.permutations(range(4))))
    scores = orders.float() + 1
    for right in (0, 5, 23):
        loss = objective.loss(scores, scores[right].expand(24, 4), torch.Generator().manual_seed(0))

        others = torch.cat([loss[:right], loss[right + 1 :]])
        assert loss[right] < others.min()


@every_ranking
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_the_predicted_ranks_put_the_shuffled_patches_back(objective, n, seed):
    """A network that scores each slot by where its content belongs is right, by the project's convention."""
    perm = sample(3, n, generator=torch.Generator().manual_seed(seed))
    original = torch.arange(3 * n).reshape(3, n)

    predicted = objective.predict(7.0 * perm - 3, n)

    assert torch.equal(predicted, perm + 1.0)
    assert torch.equal(apply(apply(original, perm), predicted.argsort(-1)), original)


@every_ranking
def test_tied_scores_are_ranked_by_place(objective):
    n = 300  # large enough that an unstable sort would show

    assert torch.equal(objective.predict(torch.zeros(2, n), n), torch.arange(1.0, n + 1).expand(2, n))


def test_rank_mse_by_hand():
    """Half of (0 - 1)^2 + (2 - 2)^2 + (1 - 3)^2."""
    loss = RankMSE().loss(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]]), None)

    assert loss.tolist() == [2.5]


def test_fast_soft_ranking_by_hand():
    """Scores 0 and 1 at strength 2 have soft ranks 1.25 and 1.75: half of 0.75^2 twice against the other order."""
    loss = FastSoftRanking(regularization_strength=2.0).loss(
        torch.tensor([[0.0, 1.0]] * 2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), None
    )

    assert loss.tolist() == [0.25**2, 0.75**2]


def test_perturbed_fenchel_young_is_exact_without_samples_and_sampled_with_them(rng):
    scores, ranks = torch.randn(3, 5, generator=rng), to_ranks(torch.randn(3, 5, generator=rng))

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    exact = PerturbedFenchelYoung(sigma=0.3).loss(scores, ranks, None)
    drawn = PerturbedFenchelYoung(sigma=0.3, num_samples=6).loss(scores, ranks, seeded())

    assert torch.equal(exact, fenchel_young(scores, ranks, sigma=0.3))
    expected = sampled_fenchel_young(scores, ranks, to_ranks, sigma=0.3, num_samples=6, generator=seeded())
    assert torch.equal(drawn, expected)


def test_the_defaults_are_the_papers_noise_and_its_hundred_permutations():
    assert PerturbedFenchelYoung().sigma == 0.1
    assert FixedPermutations().outputs(9) == 100


# ------------------------------------------------------------------------------------------------- fixed permutations


@pytest.mark.parametrize("n", [4, 9])
def test_the_fixed_set_costs_the_cross_entropy_of_the_known_class(n, rng):
    scores, classes = torch.randn(7, 7, generator=rng), torch.randperm(7, generator=rng)

    loss = FIXED.loss(scores, known_ranks(n)[classes], None)

    torch.testing.assert_close(loss, F.cross_entropy(scores, classes, reduction="none"))


def test_the_likeliest_class_is_predicted_as_its_ranks():
    scores = torch.eye(7)

    assert torch.equal(FIXED.predict(scores, 4), known_ranks(4))
    # And the class that costs least is the one whose ranks are true.
    losses = torch.stack([FIXED.loss(10 * row.expand(7, 7), known_ranks(4), None) for row in scores])
    assert losses.argmin(-1).tolist() == list(range(7))


@pytest.mark.errors
def test_a_permutation_outside_the_set_is_refused():
    inside = {tuple(row) for row in known_ranks(4).tolist()}
    outside = next(p for p in itertools.permutations([1.0, 2.0, 3.0, 4.0]) if p not in inside)

    with pytest.raises(ValueError, match=r"FixedPermutations: a permutation outside the set was drawn"):
        FIXED.loss(torch.zeros(2, 7), torch.tensor([list(next(iter(inside))), list(outside)]), None)


@pytest.mark.errors
def test_a_set_larger_than_all_permutations_is_refused():
    with pytest.raises(ValueError, match=r"`count` must be at most 3! = 6; got 7"):
        FIXED.predict(torch.zeros(1, 7), 3)
