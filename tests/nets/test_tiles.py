"""The networks of mosaics are the paper's, to the last weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unshuffle.methods import MosaicNet, NumberNet
from unshuffle.nets import Classifier, ClassifierNet, ResNet, SmallConv, TileFeatures


def test_mnist_3x3_has_as_many_weights_as_the_authors_network():
    """221,057, of which 14,400 are those of the linear start; the authors keep them in PO-U too, unused."""
    counts = {
        model: sum(p.numel() for p in MosaicNet(model, 3, 3, (1, 10, 10)).build().parameters())
        for model in ("po-la", "po-u", "lin-assign")
    }

    assert counts == {"po-la": 221_057, "po-u": 221_057 - 14_400, "lin-assign": 1_664 + 14_400}


def test_the_comparison_of_numbers_has_two_inputs_sixteen_units_and_one_output():
    """Beside the step size; without the last bias, of which F takes nothing."""
    assert sum(p.numel() for p in NumberNet().build().parameters()) == 2 * 16 + 16 + 16 + 1


def test_features_of_tiles_are_convolution_relu_and_pooling():
    net, tiles = TileFeatures((3, 7, 6), 4).double(), torch.randn(2, 5, 3, 7, 6, dtype=torch.float64)

    found = net(tiles)

    for b in range(2):
        for i in range(5):
            plain = nn.functional.max_pool2d(
                nn.functional.conv2d(tiles[b, i], net.conv.weight, net.conv.bias, padding=2).relu(), 2
            )
            torch.testing.assert_close(found[b, i], plain.flatten())
    assert found.shape == (2, 5, net.features) == (2, 5, 4 * 3 * 3)


def test_the_pooled_stem_is_the_small_one_and_torchvisions_pooling():
    small, pooled = ResNet(stem="small", width=4).build(1), ResNet(stem="pooled", width=4).build(1)
    pooled.load_state_dict(small.state_dict())
    seen = []
    pooled.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 1, 28, 28)

    pooled.eval()(images)

    small.eval()
    before = small.relu(small.bn1(small.conv1(images)))
    assert seen[0].shape == (2, 4, 14, 14)
    torch.testing.assert_close(seen[0], nn.functional.max_pool2d(before, 3, stride=2, padding=1))


def test_a_classifier_embeds_what_its_last_layer_sees():
    net = ClassifierNet(SmallConv(4), (1, 12, 12), 3).build().eval()
    images = torch.randn(2, 1, 12, 12)

    assert isinstance(net, Classifier)
    torch.testing.assert_close(net.label(net.embed(images)), net(images))
    assert net(images).shape == (2, 3)


@pytest.mark.errors
def test_tiles_too_small_are_refused():
    with pytest.raises(ValueError, match="tiles must have at least 2 x 2 pixels; got 1 x 5"):
        TileFeatures((1, 1, 5), 4)
