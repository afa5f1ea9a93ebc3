"""Rates that follow the batch, the epochs and a cosine."""

import numpy as np
import pytest
import torch
from torch import nn

from unshuffle.train.cosine import CosineLARS, CosineSGD
from unshuffle.train.optim import AdamW, schedule


class Fixed:
    """As much of a recipe as a schedule asks for."""

    def __init__(self, optim: object, epochs: int) -> None:
        self.optim, self.epochs = optim, epochs


@pytest.mark.parametrize(
    ("batch_size", "epochs", "rate"), [(1024, 100, 24.0), (1024, 200, 12.0), (1024, 400, 6.0), (256, 100, 6.0)]
)
def test_the_rate_is_the_papers_rule(batch_size, epochs, rate):
    assert CosineSGD().peak(batch_size, epochs) == pytest.approx(rate)


def test_the_baselines_rate_is_that_of_its_configuration():
    """0.075 times the root of the batch, however long it trains."""
    for batch_size, epochs in ((1024, 100), (4096, 400)):
        assert CosineLARS().peak(batch_size, epochs) == pytest.approx(0.075 * batch_size**0.5)


def test_a_rate_that_is_not_scaled_stands_as_it_is():
    assert CosineSGD(lr=0.3, scaling="none", reference_epochs=None).peak(32, 7) == 0.3


def test_the_schedule_is_that_of_the_authors_code(golden):
    rate = CosineSGD().schedule(1024, 100)

    np.testing.assert_allclose(
        [rate(step, 100) for step in range(100)], golden("groco_eval")["cosine/init24_ep100_warm10"]
    )


def test_the_rate_rises_for_ten_epochs_and_falls_to_nothing():
    rate = schedule(Fixed(CosineSGD(), 200), 1024)
    rates = [rate(step, 2000) for step in range(2000)]  # ten steps an epoch

    assert rates[0] == 0.0
    assert rates[50] == pytest.approx(6.0)
    assert rates[100] == max(rates) == 12.0
    assert rates[1050] == pytest.approx(6.0)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("total", [1, 2, 3, 9, 40])
def test_short_trainings_warm_up_for_a_tenth_of_their_steps(total):
    rate = CosineSGD(lr=1.0, scaling="none", reference_epochs=None).schedule(256, 4)
    rates = [rate(step, total) for step in range(total)]

    assert rates.index(max(rates)) == round(0.1 * total)
    assert max(rates) == 1.0


def test_optimisers_without_a_schedule_keep_their_rate():
    assert schedule(Fixed(AdamW(lr=0.2), 3), 64)(5, 10) == AdamW(lr=0.2).rate(5, 10)


@pytest.mark.parametrize("kind", [CosineSGD, CosineLARS])
def test_vectors_decay_as_in_the_papers_code_or_are_spared(kind):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    (alike,) = kind(weight_decay=0.3).build(net).param_groups
    weights, vectors = kind(weight_decay=0.3, vectors_alike=False).build(net).param_groups

    assert (len(alike["params"]), alike["weight_decay"]) == (4, 0.3)
    assert ([p.ndim for p in weights["params"]], weights["weight_decay"]) == ([2], 0.3)
    assert ([p.ndim for p in vectors["params"]], vectors["weight_decay"]) == ([1, 1, 1], 0.0)
    if kind is CosineLARS:
        assert (alike["adapt"], weights["adapt"], vectors["adapt"]) == (True, True, False)


def test_what_is_frozen_is_left_out():
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)

    (group,) = CosineSGD().build(net).param_groups

    assert group["params"] == [net.weight]


def test_one_step_of_either_is_the_textbooks():
    """Momentum moves by the rate times the gradient, layer-wise rates by a share of the weight's length."""
    for optim, step in (
        (CosineSGD(weight_decay=0.0), 0.5 * 3.0),
        (CosineLARS(weight_decay=0.0, trust=0.1), 0.5 * 0.1 * 2),
    ):
        net = nn.Linear(1, 1, bias=False)
        nn.init.constant_(net.weight, 2.0)
        optimizer = optim.build(net)
        for group in optimizer.param_groups:
            group["lr"] = 0.5
        net.weight.grad = torch.tensor([[3.0]])
        optimizer.step()
        torch.testing.assert_close(net.weight.detach(), torch.tensor([[2.0 - step]]))


@pytest.mark.errors
def test_rates_that_make_no_sense_say_so():
    with pytest.raises(ValueError, match="CosineSGD: `lr` must be above 0"):
        CosineSGD(lr=0.0)
    with pytest.raises(ValueError, match="CosineLARS: `trust` must be above 0"):
        CosineLARS(trust=0.0)
    with pytest.raises(ValueError, match="CosineSGD: `reference_epochs` must be from 1"):
        CosineSGD(reference_epochs=0)
    with pytest.raises(ValueError, match="CosineLARS: `scaling` must be one of 'linear', 'root', 'none'"):
        CosineLARS(scaling="square")  # type: ignore[arg-type]
