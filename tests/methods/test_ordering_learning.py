"""The learning test of learning to order: digits are put in order after seconds of sets; and the test can fail."""

import functools

import pytest
import torch

from unshuffle import permutations
from unshuffle.data import OrderedSets
from unshuffle.data.samples import digits
from unshuffle.losses import FastSoftRanking, Objective, PerturbedFenchelYoung, RankMSE
from unshuffle.methods import LearnToOrder
from unshuffle.nets import ItemNet, SmallConv
from unshuffle.types import Raw

pytestmark = pytest.mark.once


@functools.cache
def learn(objective: Objective, *, seed: int, truthful: bool = True) -> tuple[list[float], float, float]:
    """60 steps of 20 sets of five; the losses, and on held-out digits partial ranks and the tau of score and digit.

    Where not ``truthful``, the ranks of the sets of a batch are dealt to one another.
    """
    data, generator, transform = digits(), torch.Generator().manual_seed(seed), OrderedSets(5)
    assert data.train.labels is not None
    assert data.test.labels is not None
    torch.manual_seed(seed)
    method = LearnToOrder(ItemNet(SmallConv(8), (1, 8, 8), hidden=64).build(), objective)
    optimizer = torch.optim.AdamW(method.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
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
        raw = Raw(data.test.items, torch.arange(len(data.test)), data.test.labels)
        step = method.step(transform(raw, generator))
        scores = method.score(transform.prepare(data.test.items))
    tau = permutations.kendall_tau(scores, data.test.labels.float())
    return losses, float(step.logs["partial_ranks"]), float(tau)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_digits_are_put_in_order(seed):
    """Measured over five seeds: partial ranks 0.68 to 0.81 (of these three, 0.80 and more), tau 0.72 to 0.83."""
    _, partial_ranks, tau = learn(PerturbedFenchelYoung(sigma=1.0), seed=seed)

    assert partial_ranks > 0.62
    assert tau > 0.65


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_steps_on_ranks_of_other_sets_teach_nothing(seed):
    """Measured over five seeds: 0.27 to 0.37. Guesses have 0.27: of tied digits either order is right."""
    losses, partial_ranks, _ = learn(PerturbedFenchelYoung(sigma=1.0), seed=seed, truthful=False)

    assert partial_ranks < 0.5
    assert sum(losses[-10:]) > 0.95 * sum(losses[:10])


@pytest.mark.parametrize("objective", [PerturbedFenchelYoung(sigma=1.0, num_samples=10), FastSoftRanking(), RankMSE()])
def test_the_loss_of_every_objective_falls(objective):
    """Measured: to 0.45, 0.19 and 0.18 of the first ten steps; partial ranks 0.70, 0.77 and 0.72."""
    losses, partial_ranks, _ = learn(objective, seed=0)

    assert sum(losses[-10:]) < 0.65 * sum(losses[:10])
    assert partial_ranks > 0.6
