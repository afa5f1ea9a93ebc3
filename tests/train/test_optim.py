import math

import pytest
import torch
from torch import nn

from unshuffle.nets import SmallConv
from unshuffle.train.optim import RATE, SGD, Adam, Adamax, AdamW


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    optim, total = AdamW(lr=2.0, warmup=0.1), 100
    rates = [optim.rate(step, total) for step in range(total)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.002
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_the_rate_of_short_runs_is_a_positive_number(total, warmup):
    rates = [AdamW(lr=1.0, warmup=warmup).rate(step, total) for step in range(total)]
    assert all(math.isfinite(rate) and 0 < rate <= 1 for rate in rates)


def test_adam_is_constant():
    assert {Adam(lr=0.3).rate(step, 10) for step in range(10)} == {0.3}


def test_adamax_follows_its_timetable():
    """Thirteen epochs of ten steps: a staircase up to twice the rate, which stays, and a quarter of it twice."""
    optim = Adamax(lr=1e-3)

    epochs = [{optim.rate(10 * epoch + step, 130) for step in range(10)} for epoch in range(13)]

    assert all(len(rates) == 1 for rates in epochs)
    factors = [0.5, 1.0, 1.5, *[2.0] * 7, 0.5, 0.5, 0.125]
    assert [rates.pop() for rates in epochs] == pytest.approx([1e-3 * factor for factor in factors])


@pytest.mark.parametrize("total", [1, 5, 13, 1000])
def test_the_timetable_is_stretched_to_any_length(total):
    rates = [Adamax(lr=1.0).rate(step, total) for step in range(total)]

    assert rates[0] == 0.5
    assert max(rates) <= 2.0
    assert total < 13 or rates[-1] == 0.125


@pytest.mark.errors
def test_timetables_that_make_no_sense_say_so():
    with pytest.raises(ValueError, match=r"`rising` must hold a factor at least"):
        Adamax(rising=())
    with pytest.raises(ValueError, match=r"`clip` must be from 0 .*; got -1"):
        Adamax(clip=-1.0)


def test_biases_and_norms_do_not_decay():
    net = nn.Sequential(SmallConv(width=2).build(1), nn.Linear(6, 3))
    names = {id(p): name for name, p in net.named_parameters()}
    decayed, spared = AdamW(weight_decay=0.3).build(net).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    modules = dict(net.named_modules())
    for group, kinds in ((decayed, (nn.Conv2d, nn.Linear)), (spared, (nn.BatchNorm2d, nn.Linear))):
        for p in group["params"]:
            owner, _, role = names[id(p)].rpartition(".")
            assert isinstance(modules[owner], kinds)
            assert group is decayed or role == "bias" or isinstance(modules[owner], nn.BatchNorm2d)
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_what_is_frozen_is_left_out():
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    decayed, spared = AdamW().build(net).param_groups
    assert (len(decayed["params"]), len(spared["params"])) == (1, 0)


def test_a_method_may_name_its_own_groups():
    class Own(nn.Linear):
        def param_groups(self):
            return [{"params": [self.weight], "weight_decay": 0.7}]

    (group,) = AdamW().build(Own(2, 2)).param_groups
    assert group["weight_decay"] == 0.7


def test_one_step_moves_a_weight_by_the_rate():
    """Adam's first step is the rate times the gradient's sign, whatever the gradient's size."""
    net = nn.Linear(1, 1, bias=False)
    before = net.weight.detach().clone()
    optimizer = AdamW(lr=0.1, weight_decay=0.0).build(net)
    net.weight.grad = torch.tensor([[5.0]])
    optimizer.step()
    torch.testing.assert_close(net.weight.detach(), before - 0.1)


def test_the_rate_of_steps_falls_to_a_tenth_at_every_quarter():
    rates = [SGD(lr=1.0).rate(step, 400) for step in range(400)]

    assert rates == pytest.approx([1.0] * 100 + [0.1] * 100 + [0.01] * 100 + [0.001] * 100)


def test_the_rate_of_steps_of_the_authors_code_falls_twice():
    rates = [SGD(lr=1.0, drop_every=0.375).rate(step, 400) for step in range(400)]

    assert rates == pytest.approx([1.0] * 150 + [0.1] * 150 + [0.01] * 100)


def test_biases_and_the_backbone_move_at_rates_of_their_own():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Linear(2, 3), nn.Linear(3, 1)

    net = Net()

    groups = SGD(weight_decay=0.3, bias_rate=2.0, backbone_rate=0.1).build(net).param_groups

    told = {id(p): (g[RATE], g["weight_decay"]) for g in groups for p in g["params"]}
    assert told[id(net.head.weight)] == (1.0, 0.3)
    assert told[id(net.head.bias)] == (2.0, 0.0)
    assert told[id(net.backbone.weight)] == (0.1, 0.3)
    assert told[id(net.backbone.bias)] == (0.2, 0.0)
    assert len(told) == 4


@pytest.mark.errors
@pytest.mark.parametrize("name", ["drop_every", "drop"])
def test_steps_that_cannot_be_are_refused(name):
    with pytest.raises(ValueError, match=f"SGD: `{name}` must be above 0"):
        SGD(**{name: 0.0})
