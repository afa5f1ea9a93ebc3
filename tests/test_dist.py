"""Collective operations: several gloo processes give what one process holding the whole batch gives."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from unshuffle._dist import gather_rows, global_mean, world_size
from unshuffle.losses import GroupOrder, InfoNCE, Negatives, Triplet, ViewsObjective

# Unequal, so that a mean of the means would be another number; and one process without samples.
SHARES = {2: ((5, 2), (7, 0)), 4: ((2, 2, 2, 1), (3, 0, 1, 3))}
SAME = Negatives(2, views="same")
OBJECTIVES: dict[str, ViewsObjective] = {
    "group ordering": GroupOrder(4.0, Negatives(4)),
    "group ordering, nothing held": GroupOrder(4.0, Negatives(4), stop_gradient=False),
    "group ordering, same view": GroupOrder(4.0, SAME, stop_gradient=False, preorder=False, orientation="code"),
    "group ordering, bitonic": GroupOrder(negatives=Negatives(3), stop_gradient=False, network="bitonic"),
    "InfoNCE": InfoNCE(),
    "InfoNCE, as the code": InfoNCE(0.3, Negatives(None, views="same"), pairs="code"),
    "InfoNCE, hardest": InfoNCE(negatives=Negatives(2), stop_gradient=True),
    "triplets": Triplet(negatives=Negatives(3), stop_gradient=False),
    "all triplets": Triplet(0.4, Negatives(None), stop_gradient=False),
    "triplets, held": Triplet(float("inf")),
}


def batch(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def mean_loss(weight: torch.Tensor, first: int, last: int) -> torch.Tensor:
    return global_mean((batch(7, 3)[first:last] @ weight[:, 0]).tanh().square())


def views_loss(objective: ViewsObjective, weight: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Four views, two of them positives, through a net of one layer."""
    anchors = (batch(4, 7, 3)[:, first:last] @ weight).tanh()
    candidates, start = gather_rows(anchors, dim=1)
    assert start == first
    return global_mean(objective.loss(anchors, candidates, first=start, positives=2))


def outcomes(first: int, last: int) -> torch.Tensor:
    """Values and gradients of all losses on samples first, ..., last - 1 of the batch."""
    found = []
    for objective in (None, *OBJECTIVES.values()):
        weight = (0.5 * batch(3, 5)).requires_grad_()
        value = mean_loss(weight, first, last) if objective is None else views_loss(objective, weight, first, last)
        (gradient,) = torch.autograd.grad(value, weight)
        found.append(torch.cat([value.detach().reshape(1), gradient.flatten()]))
    return torch.stack(found)


def one_of_four(rank: int, folder: str) -> None:
    """What an engine does on each process: its own gradient, averaged over the processes; four of them, then two."""
    for world in (4, 2):
        if rank >= world:
            return
        dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
        averages = []
        for shares in SHARES[world]:
            first = sum(shares[:rank])
            outcome = outcomes(first, first + shares[rank])
            dist.all_reduce(outcome)
            averages.append(outcome / world_size())
        if rank == 0:
            torch.save(torch.stack(averages), f"{folder}/averages{world}.pt")
        dist.destroy_process_group()


def test_gradients_averaged_over_processes_equal_those_of_one_however_the_samples_are_shared(tmp_path: Path):
    mp.spawn(one_of_four, args=(str(tmp_path),), nprocs=4)

    expected = outcomes(0, 7)
    for world in (2, 4):
        averages = torch.load(tmp_path / f"averages{world}.pt", weights_only=True)
        for shares, found in zip(SHARES[world], averages, strict=True):
            for name, ours, one in zip(["mean", *OBJECTIVES], found, expected, strict=True):
                torch.testing.assert_close(
                    ours, one, rtol=0, atol=1e-12, msg=lambda m, n=name, s=shares: f"{n}, shares {s}: {m}"
                )


def test_one_process_alone_takes_the_plain_mean_and_keeps_its_rows(rng):
    values = torch.randn(7, generator=rng)

    assert world_size() == 1
    assert torch.equal(global_mean(values), values.mean())
    rows, first = gather_rows(values)
    assert rows is values  # so that a loss sees that anchors and candidates are the same
    assert first == 0
