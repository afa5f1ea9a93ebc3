"""Sinkhorn's iterations against vectors made by the papers' own code, on both paths."""

import numpy as np
import pytest
import torch
from torch import Tensor

from unshuffle.ops.sinkhorn import sinkhorn


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("num_iters", [1, 5, 20, 100])
def test_the_iterations_are_those_of_the_gumbel_sinkhorn_code(golden, num_iters):
    data = golden("gumbel_sinkhorn")

    answer = sinkhorn(torch.tensor(data["log_alpha"]), num_iters=num_iters)

    np.testing.assert_allclose(answer, data[f"log_sinkhorn_L{num_iters}"], rtol=0, atol=1e-12)


def with_noise(scores: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """What `gumbel_sinkhorn` does, for given uniforms."""
    gumbel = -(-(uniform + 1e-20).log() + 1e-20).log()
    return sinkhorn(scores + gumbel, temperature=temperature)


@pytest.mark.usefixtures("path")
def test_a_noisy_sample_is_that_of_the_gumbel_sinkhorn_code(golden):
    data = golden("gumbel_sinkhorn")

    answer = with_noise(torch.tensor(data["log_alpha"]), torch.tensor(data["uniform_seed500"]), 0.5)

    np.testing.assert_allclose(answer, data["gumbel_tau0.5_L20"], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("path")
def test_the_gradient_is_that_of_the_gumbel_sinkhorn_code(golden):
    data = golden("gumbel_sinkhorn")
    scores = torch.tensor(data["log_alpha"], requires_grad=True)

    (slope,) = torch.autograd.grad((sinkhorn(scores) * torch.tensor(data["W"])).sum(), scores)

    np.testing.assert_allclose(slope, data["dlogalpha_of_sum_log_sinkhorn_L20_W"], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("num_iters", [1, 4, 20])
@pytest.mark.parametrize("temperature", [1, 0.5])
def test_the_iterations_are_those_of_permutation_optimisation(golden, num_iters, temperature):
    data = golden("perm_optim")

    answer = sinkhorn(torch.tensor(data["sinkhorn/x"]), temperature=temperature, num_iters=num_iters)

    np.testing.assert_allclose(answer, data[f"sinkhorn/L{num_iters}_t{temperature:g}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["l4_lam0.01", "l9_lam0.001", "l9_lam0.01"])
def test_one_iteration_is_the_layer_of_deeppermnet_with_its_two_additions(golden, name):
    """It adds a small number to all entries before each step. Rows that sum to 1 still have equal sums after that."""
    data, added = golden("deeppermnet_sinkhorn_formula"), float(name.partition("lam")[2])
    logits, label = torch.tensor(data[f"{name}/logits"], requires_grad=True), torch.tensor(data[f"{name}/label"])
    shares = logits.softmax(-1).reshape(label.shape) + added
    rows = shares / shares.sum(-1, keepdim=True)

    answer = sinkhorn((rows + added).log(), num_iters=1)

    np.testing.assert_allclose(answer.detach(), data[f"{name}/dsm"], rtol=0, atol=1e-12)
    loss = -(label * answer.log()).sum() / len(label)
    np.testing.assert_allclose(loss.item(), data[f"{name}/loss"], rtol=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(loss, logits)[0], data[f"{name}/grad"], rtol=0, atol=1e-12)
