"""Collective operations: two gloo processes give what one process holding the whole batch gives."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from unshuffle._dist import global_mean, world_size

SHARES = ((5, 2), (7, 0))  # unequal, so that a mean of the means would be another number; and one without samples


def batch() -> torch.Tensor:
    return torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss(weight: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    return global_mean((samples @ weight).tanh().square())


def value_and_gradient(samples: torch.Tensor) -> torch.Tensor:
    weight = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    value = loss(weight, samples)
    (gradient,) = torch.autograd.grad(value, weight)
    return torch.cat([value.detach().reshape(1), gradient])


def one_of_two(rank: int, folder: str) -> None:
    """What an engine does on each process: its own gradient, averaged over the processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    averages = []
    for shares in SHARES:
        start = sum(shares[:rank])
        outcome = value_and_gradient(batch()[start : start + shares[rank]])
        dist.all_reduce(outcome)
        averages.append(outcome / world_size())
    if rank == 0:
        torch.save(torch.stack(averages), f"{folder}/averages.pt")
    dist.destroy_process_group()


def test_gradients_averaged_over_two_processes_equal_those_of_one_however_the_samples_are_shared(tmp_path: Path):
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)

    averages = torch.load(tmp_path / "averages.pt", weights_only=True)

    expected = value_and_gradient(batch()).expand(len(SHARES), -1)
    torch.testing.assert_close(averages, expected, rtol=0, atol=1e-15)


def test_one_process_alone_takes_the_plain_mean(rng):
    values = torch.randn(7, generator=rng)

    assert world_size() == 1
    assert torch.equal(global_mean(values), values.mean())
