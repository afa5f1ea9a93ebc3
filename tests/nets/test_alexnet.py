"""AlexNet's convolutions carry torchvision's names and shapes, so that weights travel."""

import pytest
import torch
from torch import nn

from unshuffle.nets import AlexNet

# torchvision.models.alexnet().features, as its weights are published (alexnet-owt-7be5be79).
TORCHVISION = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
}


def test_keys_and_shapes_are_torchvisions():
    assert {k: tuple(v.shape) for k, v in AlexNet().build(3).state_dict().items()} == TORCHVISION


def test_weights_of_torchvisions_layout_load():
    weights = {k: torch.randn(shape) for k, shape in TORCHVISION.items()}
    net = AlexNet().build(3)

    net.load_state_dict(weights)

    assert all(v.equal(weights[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(("stride", "size", "side"), [(4, 224, 6), (2, 96, 5), (2, 48, 2), (2, 21, 1)])
def test_the_feature_map_of_usual_inputs(stride, size, side):
    net = AlexNet(stride).build(3)

    # One more than torchvision's would be where pooling rounds up; 224 pixels come out alike, 6 x 6.
    assert net(torch.zeros(1, 3, size, size)).shape == (1, 256, side, side)


def test_the_signal_does_not_fade_through_the_layers(rng):
    torch.manual_seed(0)
    net = AlexNet().build(3)

    features = net(torch.randn(2, 3, 64, 64, generator=rng))

    assert 0.1 < features.std() < 10


def test_channels_other_than_three_change_the_first_layer_only():
    shapes = {k: tuple(v.shape) for k, v in AlexNet().build(1).state_dict().items()}

    assert shapes == TORCHVISION | {"features.0.weight": (64, 1, 11, 11)}


def test_all_convolutions_start_at_random_with_biases_at_zero():
    for module in AlexNet().build(3).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.std() > 0
            assert module.bias is not None
            assert module.bias.abs().max() == 0
