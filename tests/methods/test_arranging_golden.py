"""The whole networks give the authors' numbers, forward and backward, to nine digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unshuffle.methods import Arranger, MosaicNet, NumberNet

KEYS = {
    "place.step_size": "lr",
    "place.compare.pair.weight": "compare.skew.0.conv.weight",
    "place.compare.pair.bias": "compare.skew.0.conv.bias",
    "place.compare.cost.weight": "compare.skew.2.conv.weight",
    "place.start.places.weight": "coord.f.0.conv.weight",
    "see.conv.weight": "conv_stack.0.weight",
    "see.conv.bias": "conv_stack.0.bias",
}
"""Ours to theirs; the last bias of the network for numbers, of which F takes nothing, ours has not."""


def with_weights(net: Arranger, vectors: dict[str, np.ndarray], name: str) -> Arranger:
    net = net.double()
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    theirs = {key: torch.from_numpy(vectors[f"{name}/w/{KEYS[key]}"]).reshape(shapes[key]) for key in shapes}
    net.load_state_dict(theirs)
    return net


def assert_gradients(net: Arranger, vectors: dict[str, np.ndarray], name: str) -> None:
    for key, parameter in net.named_parameters():
        expected = torch.from_numpy(vectors[f"{name}/g/{KEYS[key]}"]).reshape(parameter.shape)
        assert parameter.grad is not None, key
        close(parameter.grad, expected)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("model", ["po-u", "po-la"])
def test_a_mosaic_is_theirs(model, golden):
    vectors, name = golden("perm_optim"), f"mosaic_{model.replace('-', '_')}"
    net = with_weights(MosaicNet(model, 3, 3, (1, 10, 10), width=4).build(), vectors, name)
    tiles, arranged = (torch.from_numpy(vectors[f"{name}/{key}"]).transpose(1, 2) for key in ("x", "y"))

    found = net(tiles)
    found.sequence.square().mean().backward()

    close(found.permutation, torch.from_numpy(vectors[f"{name}/P"]))
    close(found.sequence, arranged)
    assert_gradients(net, vectors, name)


def test_sorted_numbers_are_theirs(golden):
    vectors = golden("perm_optim")
    net = with_weights(NumberNet("po-u", 7, steps=6).build(), vectors, "permnet")
    numbers, expected = (torch.from_numpy(vectors[f"permnet/{key}"]).transpose(1, 2) for key in ("x", "y"))

    found = net(numbers)
    (found.sequence - numbers.sort(1).values).square().mean().backward()

    close(found.permutation, torch.from_numpy(vectors["permnet/P"]))
    close(found.sequence, expected)
    assert_gradients(net, vectors, "permnet")
