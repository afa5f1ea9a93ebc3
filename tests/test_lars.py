from copy import deepcopy

import numpy as np
import pytest
import torch

from unshuffle.lars import ADAPT, LARS


def test_steps_are_those_of_the_authors_code(golden):
    """apex's LARC around SGD at rate 1.6 with decay 1e-4: a matrix and a vector, four steps."""
    larc = {key.removeprefix("larc/"): torch.from_numpy(value) for key, value in golden("groco_eval").items()}
    matrix, vector = (torch.nn.Parameter(larc[name].clone()) for name in ("p0", "b0"))
    optimiser = LARS([matrix, vector], 1.6, weight_decay=1e-4)
    for step in range(4):
        matrix.grad, vector.grad = larc[f"gp{step}"].clone(), larc[f"gb{step}"].clone()
        optimiser.step()
        assert torch.allclose(matrix, larc[f"p{step + 1}"], rtol=1e-6, atol=1e-7)
        assert torch.allclose(vector, larc[f"b{step + 1}"], rtol=1e-6, atol=1e-7)


def by_the_formula(weight, gradients, *, lr, momentum, decay, trust, eps, clip):
    """In numpy, for one tensor."""
    carried = np.zeros_like(weight)
    for gradient in gradients:
        size, slope = np.linalg.norm(weight), np.linalg.norm(gradient)
        step = gradient
        if size > 0 and slope > 0:
            scale = trust * size / (slope + decay * size + eps)
            step = (gradient + decay * weight) * (min(scale / lr, 1) if clip else scale)
        carried = momentum * carried + step
        weight = weight - lr * carried
    return weight


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("case", ["usual", "no weights", "no gradient"])
def test_steps_follow_the_formula(case, clip):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((4, 3)), rng.standard_normal((5, 4, 3))
    if case == "no weights":
        start = np.zeros_like(start)
    if case == "no gradient":
        gradients = np.zeros_like(gradients)
    options = {"momentum": 0.8, "trust": 0.02, "eps": 1e-3, "clip": clip}
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = LARS([weight], 0.5, weight_decay=0.1, **options)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimiser.step()
    expected = by_the_formula(start, gradients, lr=0.5, decay=0.1, **options)
    assert np.allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_groups_that_do_not_adapt_take_plain_momentum():
    start = torch.randn(6, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = LARS([{"params": [ours], ADAPT: False}], 0.1, weight_decay=0.01)
    plain = torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        for weight, optimiser in ((ours, mine), (theirs, plain)):
            optimiser.zero_grad()
            (weight**3).sum().backward()
            optimiser.step()
    assert torch.allclose(ours, theirs, rtol=1e-6)


def test_what_it_carries_can_be_saved_and_resumed():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = LARS([weight], 0.5)
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    optimiser.step()
    again = torch.nn.Parameter(weight.detach().clone())
    other = LARS([again], 0.5)
    other.load_state_dict(deepcopy(optimiser.state_dict()))
    for one, carrier in ((weight, optimiser), (again, other)):
        one.grad = torch.tensor([1.0, 0.0, -1.0])
        carrier.step()
    assert torch.equal(weight, again)


def test_a_closure_is_evaluated_with_gradients():
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = LARS([weight], 1.0)

    def closure():
        optimiser.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure) == 2.0
    assert (weight < 1).all()


@pytest.mark.errors
@pytest.mark.parametrize("option", ["lr", "momentum", "weight_decay", "trust", "eps"])
def test_negative_options_are_refused(option):
    options = {"lr": 0.1, option: -1.0}
    with pytest.raises(ValueError, match=f"LARS: `{option}` must be"):
        LARS([torch.nn.Parameter(torch.ones(1))], **options)
