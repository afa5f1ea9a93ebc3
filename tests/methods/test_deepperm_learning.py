"""The learning test: DeepPermNet puts sets of digits in order, with any of its objectives, and the test can fail."""

import functools
from typing import NamedTuple

import pytest
import torch

from unshuffle.data import OrderedSets
from unshuffle.data.samples import digits
from unshuffle.evals.ordering import normalization_error
from unshuffle.losses import AuthorsSinkhorn, MatrixObjective, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.methods import DeepPermNet
from unshuffle.nets import SiameseNet, SmallConv
from unshuffle.types import Raw, Sets


class Learnt(NamedTuple):
    losses: list[float]
    partial_ranks: float
    error: float
    tied: float
    apart: float


@functools.cache
def learn(objective: MatrixObjective, *, seed: int, truthful: bool = True) -> Learnt:
    """100 steps of 20 sets of five, then the held-out digits.

    ``error`` is that of the soft matrices' sums; ``tied`` and ``apart`` how far the rows of two items lie from each
    other, half the sum of the differences, where they are of one digit and where they are not. Where not ``truthful``,
    the ranks of the sets of a batch are dealt to one another.
    """
    data, generator, transform = digits(), torch.Generator().manual_seed(seed), OrderedSets(5)
    assert data.train.labels is not None
    assert data.test.labels is not None
    torch.manual_seed(seed)
    net = SiameseNet(SmallConv(8), 5, (1, 8, 8), 25, patch_features=32, hidden=128).build()
    method = DeepPermNet(net, objective)
    optimizer = torch.optim.AdamW(method.parameters(), lr=5e-3)
    losses = []
    for _ in range(100):
        rows = torch.randint(len(data.train), (100,), generator=generator)
        batch = transform(Raw(data.train.items[rows], rows, data.train.labels[rows]), generator)
        if not truthful:
            batch = batch._replace(ranks=batch.ranks[torch.randperm(len(batch.ranks), generator=generator)])
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    method.eval()
    with torch.no_grad():
        batch = transform(Raw(data.test.items, torch.arange(len(data.test)), data.test.labels), generator)
        placed, soft = method.step(batch).logs["partial_ranks"], objective.matrix(method.net(batch.items))
    distance = (soft.unsqueeze(1) - soft.unsqueeze(2)).abs().sum(-1) / 2
    same = batch.ranks.unsqueeze(1) == batch.ranks.unsqueeze(2)
    pairs = ~torch.eye(5, dtype=torch.bool).expand_as(same)
    return Learnt(
        losses, float(placed), float(normalization_error(soft).mean()), float(distance[same & pairs].mean()),
        float(distance[~same].mean()),
    )  # fmt: skip


@pytest.mark.parametrize("objective", [SinkhornCrossEntropy(), AuthorsSinkhorn(), NaiveSigmoid()], ids=str)
def test_held_out_digits_are_put_in_order(objective):
    learnt = learn(objective, seed=0)

    assert learnt.partial_ranks > 0.6
    assert sum(learnt.losses[-10:]) < 0.75 * sum(learnt.losses[:10])


def test_the_same_steps_on_ranks_of_other_sets_teach_nothing():
    learnt = learn(SinkhornCrossEntropy(), seed=0, truthful=False)

    assert learnt.partial_ranks < 0.4
    assert sum(learnt.losses[-10:]) > 0.9 * sum(learnt.losses[:10])


def test_tied_items_get_rows_that_are_alike():
    learnt = learn(SinkhornCrossEntropy(), seed=0)

    assert learnt.tied < 0.7 * learnt.apart


def test_only_the_sinkhorn_layer_of_ours_keeps_all_sums_at_one():
    errors = [learn(o, seed=0).error for o in (SinkhornCrossEntropy(), AuthorsSinkhorn(), NaiveSigmoid())]

    assert errors[0] < 1e-5
    assert min(errors[1:]) > 1e-2


@pytest.mark.errors
def test_a_single_sequence_over_which_nothing_can_be_normalised_is_refused_by_name():
    net = SiameseNet(SmallConv(4), 5, (1, 8, 8), 25, patch_features=8, hidden=8).build()
    batch = Sets(torch.rand(1, 5, 1, 8, 8), torch.arange(1.0, 6.0).unsqueeze(0), torch.arange(5).unsqueeze(0))

    with pytest.raises(ValueError, match=r"at least two sequences.*got one of 5 items"):
        DeepPermNet(net, SinkhornCrossEntropy()).step(batch)
