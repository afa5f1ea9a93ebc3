"""Sinkhorn's iterations in C on padded sets: equal calls give equal bits, whatever the machine did between them."""

import os

import pytest
import torch
from torch import Tensor

from unshuffle.ops import _native
from unshuffle.ops.sinkhorn import sinkhorn

pytestmark = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")

TRIES = 5000 if os.environ.get("UNSHUFFLE_LONG") else 300
STEPS = 20


def padded(number: int) -> tuple[Tensor, Tensor]:
    """Moderate scores of a few matrices, with rows and columns absent at their ends."""
    rng = torch.Generator().manual_seed(number)
    count, n, m = (int(torch.randint(1, high, (), generator=rng)) for high in (9, 14, 14))
    rows, columns = (torch.randint(1, most + 1, (count, 1), generator=rng) for most in (n, m))
    mask = (torch.arange(n) < rows)[:, :, None] & (torch.arange(m) < columns)[:, None, :]
    dtype = torch.float64 if number % 2 else torch.float32
    return torch.randn(count, n, m, generator=rng).to(dtype), mask


def fill_registers(number: int) -> None:
    """Leave other numbers in the vector registers: around 0, tiny, large, infinite or none."""
    numbers = torch.arange(-2000, 2000, dtype=torch.float64) * 10.0 ** (60 * number - 150)
    (numbers.exp() + numbers).sum()


def solve(scores: Tensor, mask: Tensor, lanes: int) -> tuple[Tensor, Tensor]:
    """The balanced matrices, and the number of steps of each, negative where they were done in logarithms."""
    count, n, m = scores.shape
    past = torch.empty(-(-count // lanes) * STEPS * (n + m) * lanes, dtype=torch.float64)
    taken, out = torch.empty(count, dtype=torch.int32), torch.empty_like(scores)
    sizes = (count, n, m, scores.dtype == torch.float64, lanes, STEPS, 1.0, 0.0)
    places = (past.data_ptr(), taken.data_ptr(), None, out.data_ptr())
    _native.call("unshuffle_sinkhorn", scores.data_ptr(), mask.data_ptr(), *sizes, *places, work=1)
    return out, taken


@pytest.mark.parametrize("lanes", [1, 8])
def test_moderate_scores_are_never_solved_in_logarithms(lanes):
    for number in range(TRIES):
        assert (solve(*padded(number), lanes)[1] == STEPS).all()


@pytest.mark.parametrize("lanes", [1, 8])
def test_equal_calls_give_equal_bits(lanes):
    for number in range(TRIES):
        scores, mask = padded(number)
        first, _ = solve(scores, mask, lanes)
        for filling in range(6):
            fill_registers(filling)
            again, _ = solve(scores, mask, lanes)
            assert again.equal(first)


def test_equal_calls_give_equal_gradients():
    for number in range(TRIES // 10):
        scores, mask = padded(number)
        scores.requires_grad_()
        answers = []
        for filling in range(6):
            fill_registers(filling)
            plan = sinkhorn(scores, mask=mask, num_iters=STEPS)
            answers.append((plan.detach(), *torch.autograd.grad(plan.square().sum(), scores)))
        for again in answers[1:]:
            torch.testing.assert_close(again, answers[0], rtol=0, atol=0)
