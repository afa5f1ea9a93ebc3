"""The rate falls when the paper says, and the weights move as PyTorch's."""

import numpy as np
import pytest
import torch
from torch import nn

from unshuffle.train.milestones import StepSGD


def test_rates_are_those_of_the_authors_code(golden):
    """Of 400 epochs; theirs are 401."""
    theirs = golden("sela_schedule")["lr_main_005"][:400]

    np.testing.assert_allclose([StepSGD().rate(epoch, 400) for epoch in range(400)], theirs)


def test_everything_decays_and_moves_as_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = StepSGD(lr=0.1, weight_decay=0.5, momentum=0.0).build(net)
    before = [p.detach().clone() for p in net.parameters()]

    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    for old, new in zip(before, net.parameters()):
        torch.testing.assert_close(new.detach(), old * (1 - 0.1 * 0.5))


@pytest.mark.errors
def test_drops_beyond_the_end_are_refused():
    with pytest.raises(ValueError, match="StepSGD: `drops` must hold numbers from 0 to 1"):
        StepSGD(drops=(0.5, 1.5))
