"""Several heads on one trunk, and the AlexNets that self-labelling trains."""

import pytest
import torch
from torch import nn

from unshuffle.nets import AlexNetBN, HeadsNet, SmallConv
from unshuffle.nets.alexnet_norm import NARROW, WIDE


def test_the_wide_variant_has_the_layers_of_the_authors_code():
    """96-256-384-384-256, each with a bias and batch norm; 6 x 6 places of 224 pixels: 9,216 features."""
    features = AlexNetBN().build(3).features

    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    assert tuple(layer.out_channels for layer in convolutions) == WIDE
    assert [layer.kernel_size[0] for layer in convolutions] == [11, 5, 3, 3, 3]
    assert [layer.stride[0] for layer in convolutions] == [4, 1, 1, 1, 1]
    assert [layer.padding[0] for layer in convolutions] == [2, 2, 1, 1, 1]
    assert all(layer.bias is not None and layer.groups == 1 for layer in convolutions)
    kinds = [type(layer).__name__ for layer in features]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*block, "MaxPool2d", *block, "MaxPool2d", *block, *block, *block, "MaxPool2d"]
    assert features.to("meta")(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 256, 6, 6)


@pytest.mark.parametrize("widths", [WIDE, NARROW])
def test_weights_are_as_many_as_counted_by_hand(widths):
    """Kernels, biases, and two numbers a channel of each norm."""
    expected = sum(k * k * i * o + 3 * o for k, i, o in zip((11, 5, 3, 3, 3), (3, *widths), widths))

    assert sum(p.numel() for p in AlexNetBN(widths).build(3).parameters()) == expected


def test_small_images_keep_four_by_four_places():
    net = AlexNetBN((4, 8, 8, 8, 6), stem="small").build(3)

    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 6, 4, 4)


@pytest.mark.parametrize("hidden", [(), (7, 5)])
def test_all_heads_see_the_same_features(hidden):
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3, 4, 2), hidden).build().eval()
    images = torch.randn(6, 1, 8, 8)

    features = net.embed(images)

    assert features.shape == (6, 5 if hidden else 12)
    assert [scores.shape for scores in net.logits(images)] == [(6, 3), (6, 4), (6, 2)]
    for scores, head in zip(net(images), net.heads):
        torch.testing.assert_close(scores, head(features))


def test_layers_between_see_every_place_with_dropout_before_them():
    net = HeadsNet(SmallConv(4), (1, 16, 16), (3,), (7,), 0.25).build()

    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Flatten", "Dropout", "Linear", "ReLU"]
    assert net.layers[1].p == 0.25
    assert net.layers[2].in_features == 12 * 2 * 2


@pytest.mark.errors
def test_a_network_without_heads_is_refused():
    with pytest.raises(ValueError, match="HeadsNet: `classes` must hold a number for each head; got none"):
        HeadsNet(SmallConv(), (1, 8, 8), ())
