"""The network of DeepPermNet: sizes are its authors', images do not touch each other below fc7."""

import pytest
import torch
from torch import nn

from unshuffle.nets import CFN2016, VGG16, AlexNet, ContextFreeNet, Siamese, SiameseNet, SmallConv
from unshuffle.values import from_json, to_json

TINY = SiameseNet(SmallConv(4), 3, (3, 12, 12), 9, patch_features=6, hidden=10, dropout=0.5)


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_an_image_is_embedded_by_its_own_branch_alone(rng):
    net, images = TINY.build().eval(), torch.rand(5, 3, 12, 12, generator=rng)

    assert net.embed(images).shape == (5, 6)
    torch.testing.assert_close(net.embed(images)[2:3], net.embed(images[2:3]))


def test_scores_are_those_of_the_context_free_network_with_the_same_weights(rng):
    sequence = torch.rand(2, 3, 3, 12, 12, generator=rng)
    siamese = TINY.build().eval()
    plain = ContextFreeNet(SmallConv(4), 3, (3, 12, 12), 9, patch_features=6, hidden=10, dropout=0.5).build().eval()
    plain.load_state_dict(siamese.state_dict())

    assert siamese(sequence).shape == (2, 9)
    assert plain(sequence).equal(siamese(sequence))


def test_all_branches_share_their_weights():
    assert parameters(TINY.build().backbone, TINY.build().patch) == parameters(
        SiameseNet(SmallConv(4), 7, (3, 12, 12), 49, patch_features=6, hidden=10).build().backbone, TINY.build().patch
    )


def test_a_description_builds_the_same_kind_again():
    assert from_json(to_json(TINY)) == TINY
    assert isinstance(from_json(to_json(TINY)).build(), Siamese)


def test_the_layers_of_the_authors_model_have_as_many_weights():
    """conv1 to conv5 of the 2016 network; fc6 of 512 a branch, fc7 of 4096 over nine branches, fc8 of 81."""
    with torch.device("meta"):
        backbone = CFN2016().build(3)
    value = ContextFreeNet(CFN2016(), 9, (3, 64, 64), 81, patch_features=512, hidden=4096, dropout=0.5)
    net = value.build(nn.AdaptiveAvgPool2d(1))  # three features in place of the backbone's 256 x 3 x 3

    assert parameters(backbone) == 34_944 + 307_456 + 885_120 + 663_936 + 442_624
    assert parameters(net.patch) == 3 * 512 + 512
    assert parameters(net.aggregate) == 9 * 512 * 4096 + 4096
    assert parameters(net.score) == 4096 * 81 + 81


# -------------------------------------------------------------------------------------------------------------- VGG16


def test_vgg16_has_torchvisions_keys_and_sizes():
    with torch.device("meta"):
        net = VGG16().build(3)

    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert list(net.state_dict()) == [f"features.{i}.{kind}" for i in convolutions for kind in ("weight", "bias")]
    assert parameters(net) == 14_714_688
    assert net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 512, 7, 7)


def test_the_signal_of_vgg16_neither_fades_nor_grows_at_the_start(rng):
    torch.manual_seed(0)
    net = VGG16(width=16).build(3)

    out = net(torch.randn(4, 3, 64, 64, generator=rng))

    assert out.shape == (4, 128, 2, 2)
    assert 0.02 < out.std() < 5


@pytest.mark.errors
def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="`width` must be from 1"):
        VGG16(width=0)
    with pytest.raises(ValueError, match="cannot take patches of shape"):
        SiameseNet(VGG16(4), 2, (3, 31, 31), 4).build()
    assert AlexNet() != VGG16()
