"""The context-free network of 2016: sizes, numbers of weights and their start are those of its authors."""

import pytest
import torch
from torch import Tensor, nn

from unshuffle.nets import CFN2016, AlexNet, ContextFree, ContextFreeNet
from unshuffle.nets.context_free import Tower

TINY = ContextFreeNet(CFN2016(), 3, (3, 27, 27), outputs=3, patch_features=8, hidden=16, dropout=0.5)


def sides(net: nn.Module, size: int, kind: type[nn.Module]) -> list[int]:
    """How wide the map is after every layer of one kind."""
    assert isinstance(net, Tower)
    x, found = torch.zeros(1, 3, size, size), []
    for layer in net.features:
        x = layer(x)
        found += [x.shape[-1]] if isinstance(layer, kind) else []
    return found


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("round_up", "size", "convolved", "pooled"),
    [
        (True, 64, [27, 13, 6, 6, 6], [13, 6, 3]),  # as in Caffe
        (False, 64, [27, 13, 6, 6, 6], [13, 6, 2]),  # as in a port that rounds down
        (False, 75, [33, 16, 7, 7, 7], [16, 7, 3]),  # why one of them scales its patches up to 75
    ],
)
def test_the_maps_of_a_patch_are_as_wide_as_the_authors(round_up, size, convolved, pooled):
    net = CFN2016(round_up).build(3)

    assert sides(net, size, nn.Conv2d) == convolved
    assert sides(net, size, nn.MaxPool2d) == pooled
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 256, pooled[-1], pooled[-1])


def test_the_weights_are_as_many_as_counted_by_hand():
    with torch.device("meta"):
        tower = CFN2016().build(3)
    # Groups of two: half the channels come in.
    convolutions = (
        (96 * 3 * 11 * 11 + 96)
        + (256 * 48 * 5 * 5 + 256)
        + (384 * 256 * 3 * 3 + 384)
        + (384 * 192 * 3 * 3 + 384)
        + (256 * 192 * 3 * 3 + 256)
    )
    assert parameters(tower) == convolutions == 2_334_080

    net = ContextFreeNet(CFN2016(), 9, (3, 64, 64), 1000, patch_features=1024, hidden=4096, dropout=0.5).build()
    fc6 = 3 * 3 * 256 * 1024 + 1024
    fc7 = 9 * 1024 * 4096 + 4096
    fc8 = 4096 * 1000 + 1000
    assert parameters(net) == convolutions + fc6 + fc7 + fc8 == 46_544_232


def test_weights_and_biases_start_as_in_the_authors_file():
    torch.manual_seed(0)
    net = ContextFreeNet(CFN2016(), 9, (3, 64, 64), 100, patch_features=256, hidden=512).build()
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]

    for layer, deviation, bias in zip(layers, [0.01] * 5 + [0.005] * 2 + [0.01], [0, 1, 0, 1, 1, 1, 1, 0], strict=True):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert abs(layer.weight.mean().item()) < deviation / 20
        assert isinstance(layer.bias, Tensor)
        assert (layer.bias == bias).all()


def test_responses_are_normalised_by_their_neighbours_squares_after_pooling():
    layer = CFN2016().build(3).features[3]
    x = torch.randn(2, 96, 4, 4, generator=torch.Generator().manual_seed(0)) * 30

    # Caffe: divided by (1 + alpha / n * sum of n squares) ** beta.
    squares = torch.nn.functional.pad(x.square(), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    torch.testing.assert_close(layer(x), x / (1 + 1e-4 / 5 * squares) ** 0.75)


def test_there_is_no_batch_norm_and_dropout_follows_both_fully_connected_layers():
    net = TINY.build()

    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    kinds = [type(m).__name__ for m in [*net.patch, *net.aggregate, *net.score]]
    assert kinds == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def test_it_embeds_and_scores_like_every_context_free_network():
    net = TINY.build().eval()
    patches = torch.randn(2, 3, 3, 27, 27, generator=torch.Generator().manual_seed(0))

    assert isinstance(net, ContextFree)
    assert net.embed(patches).shape == (2, 16)
    torch.testing.assert_close(net.score[-1](net.embed(patches)), net(patches))


def test_a_backbone_of_ones_own_keeps_the_head_of_2016():
    net = TINY.build(nn.Flatten())

    assert not any(isinstance(m, nn.BatchNorm1d) for m in net.modules())


def test_other_backbones_keep_the_head_they_had():
    net = ContextFreeNet(AlexNet(), 2, (1, 32, 32), 2).build()

    assert [type(m).__name__ for m in [*net.patch, *net.aggregate, *net.score]] == [
        "Flatten", "Linear", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip


@pytest.mark.parametrize(("round_up", "least"), [(True, 25), (False, 39)])
def test_the_smallest_patch_is_as_small_as_promised(round_up, least):
    net = CFN2016(round_up).build(1)

    assert net(torch.zeros(1, 1, least, least)).shape == (1, 256, 1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        net(torch.zeros(1, 1, least - 1, least - 1))
