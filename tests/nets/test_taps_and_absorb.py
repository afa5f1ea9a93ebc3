"""Batch norms absorbed change nothing, and taps are where the layers end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unshuffle.nets import VGG16, AlexNet, ContextFreeNet, ResNet, SmallConv
from unshuffle.nets.absorb import absorbed
from unshuffle.nets.taps import taps


def lived_in(net: nn.Module, *shape: int) -> nn.Module:
    """In double precision, with running statistics and scales as training leaves them."""
    net = net.double()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return net.eval()


def seen_at(net: nn.Module, place: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The first output of a module of the network."""
    seen: list[torch.Tensor] = []
    handle = place.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    "backbone", [SmallConv(4), ResNet(18, stem="small", width=4), ResNet(50, width=4), AlexNet()], ids=repr
)
def test_absorbing_batch_norms_keeps_the_function_and_every_tap(backbone):
    net = lived_in(backbone.build(3))
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    folded = absorbed(net)

    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    for name, module in taps(net).items():
        before, after = seen_at(net, module, images), seen_at(folded, taps(folded)[name], images)
        torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-9)
        assert (before >= 0).all()  # after the ReLU
    torch.testing.assert_close(net(images), folded(images), rtol=1e-9, atol=1e-9)


def test_the_network_itself_keeps_its_batch_norms():
    net = lived_in(SmallConv(4).build(3)).train()
    absorbed(net)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 5
    assert net.training


def test_a_norm_that_follows_no_convolution_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    assert isinstance(absorbed(net)[2], nn.BatchNorm2d)


def test_a_network_around_a_backbone_has_its_taps():
    net = ContextFreeNet(SmallConv(4), 4, (3, 8, 8), 4).build()
    assert list(taps(net)) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert len(taps(VGG16(2).build(3))) == 13
    assert taps(nn.Linear(2, 2)) == {}
