"""A backbone with a projector: two spaces, views of every size, torchvision's keys below."""

import pytest
import torch
from torch import nn

from unshuffle.nets import ProjectedNet, Projector, ResNet, SmallConv


def test_the_projector_is_the_papers():
    """Three layers of 2,048 with batch norm, ReLU behind the first two, nothing learnt behind the last."""
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    layers = list(Projector().build(512))

    assert [type(layer) for layer in layers] == kinds
    assert [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)] == [
        (2048, 512), (2048, 2048), (2048, 2048)
    ]  # fmt: skip
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Linear))
    assert [layer.affine for layer in layers if isinstance(layer, nn.BatchNorm1d)] == [True, True, False]


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_projectors_have_the_layers_and_the_length_asked_for(layers):
    net = Projector(hidden=7, features=5, layers=layers).build(3)

    assert sum(isinstance(layer, nn.Linear) for layer in net) == layers
    assert net(torch.randn(4, 3)).shape == (4, 5)


def test_a_projection_has_mean_nothing_and_deviation_one_over_the_batch():
    projected = ProjectedNet(SmallConv(4), (1, 8, 8), Projector(8, 6)).build().project(torch.randn(64, 1, 8, 8))

    torch.testing.assert_close(projected.mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(projected.std(0, correction=0), torch.ones(6), rtol=0, atol=1e-2)


@pytest.mark.parametrize("backbone", [SmallConv(4), ResNet(width=2, stem="small"), ResNet(width=2, pool=False)])
def test_views_of_every_size_have_representations_of_one_length(backbone):
    net = ProjectedNet(backbone, (3, 32, 32), Projector(8, 6)).build().eval()

    embedded = [net.embed(torch.randn(2, 3, size, size)) for size in (32, 20)]

    assert embedded[0].shape == embedded[1].shape
    assert net.project(torch.randn(2, 3, 20, 20)).shape == net(torch.randn(2, 3, 20, 20)).shape == (2, 6)


def test_the_representation_of_a_map_is_its_mean():
    net = ProjectedNet(SmallConv(4), (1, 12, 12), Projector(8, 6)).build().eval()
    images = torch.randn(3, 1, 12, 12)

    torch.testing.assert_close(net.embed(images), net.backbone(images).mean((2, 3)))


def test_weights_of_the_backbone_keep_their_names():
    value = ResNet(width=2)
    net = ProjectedNet(value, (3, 32, 32), Projector(8, 6)).build()

    names = {name.removeprefix("backbone.") for name in net.state_dict() if name.startswith("backbone.")}

    assert names == set(value.build(3).state_dict())
    assert all(name.startswith(("backbone.", "projector.")) for name in net.state_dict())


def test_a_quarter_of_the_width_has_a_quarter_of_the_features():
    nets = [ProjectedNet(ResNet(18, stem="small", width=width), (3, 32, 32), Projector(8, 6)) for width in (64, 16)]

    assert [net.build().eval().embed(torch.randn(1, 3, 32, 32)).shape[1] for net in nets] == [512, 128]


@pytest.mark.errors
def test_projectors_that_cannot_be_say_so():
    with pytest.raises(ValueError, match=r"Projector: `layers` must be from 1 .*; got 0"):
        Projector(layers=0)


@pytest.mark.parametrize(("width", "last"), [(8, False), (16, True), (24, False)])
def test_channels_come_last_only_where_pytorch_computes_that_without_harm(width, last):
    net = ProjectedNet(ResNet(18, stem="small", width=width), (3, 8, 8), Projector(8, 8)).build()
    weight = net.backbone.layer2[0].conv1.weight

    assert weight.is_contiguous(memory_format=torch.channels_last) is last
    assert weight.is_contiguous() is not last
