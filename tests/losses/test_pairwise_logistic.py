"""RankNet's loss against its own formula, pair by pair."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unshuffle.losses import PairwiseLogistic
from unshuffle.permutations import to_ranks


def pair_by_pair(scores: Tensor, ranks: Tensor, scale: float) -> Tensor:
    """Oracle: log(1 + exp(o)) - p o over all pairs, p 1, 0 or, of ties, 1/2 (Burges et al. 2005, equation 3)."""
    total = scores.new_zeros(len(scores))
    for i in range(scores.shape[1]):
        for j in range(i):
            odds = (scores[:, i] - scores[:, j]) / scale
            goal = ((ranks[:, i] - ranks[:, j]).sign() + 1) / 2
            total = total + scale * (torch.nn.functional.softplus(odds) - goal * odds)
    return total


@given(
    n=st.integers(1, 7), levels=st.integers(1, 7), seed=st.integers(0, 2**31), scale=st.sampled_from([0.3, 1.0, 4.0])
)
def test_the_loss_is_the_sum_over_pairs_ties_at_a_half(n, levels, seed, scale):
    rng = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(4, n, generator=rng, dtype=torch.float64)
    ranks = to_ranks(torch.randint(levels, (4, n), generator=rng)).double()

    found = PairwiseLogistic(scale).loss(scores, ranks, None)

    torch.testing.assert_close(found, pair_by_pair(scores, ranks, scale))


def test_the_gradient_is_that_of_the_formula(rng):
    scores = torch.randn(3, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    ranks = to_ranks(torch.randint(4, (3, 6), generator=rng)).double()

    assert torch.autograd.gradcheck(lambda s: PairwiseLogistic(0.7).loss(s, ranks, None), (scores,))


def test_a_pair_alone_costs_what_its_odds_say():
    loss = PairwiseLogistic().loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 2.0]]), None)

    torch.testing.assert_close(loss, torch.tensor([math.log1p(math.exp(-2))]))


@pytest.mark.errors
def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"PairwiseLogistic: `scale` must be above 0 .*; got 0"):
        PairwiseLogistic(0)
