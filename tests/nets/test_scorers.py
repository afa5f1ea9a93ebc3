"""The context-free network and the item scorer: what they see, and what they can be built from."""

import json

import pytest
import torch
from torch import Tensor, nn

from unshuffle import values
from unshuffle.nets import CFN2016, AlexNet, ContextFree, ContextFreeNet, ItemNet, ResNet, SmallConv
from unshuffle.nets.scorers import feature_count

PATCH = (3, 9, 7)
SMALL = ContextFreeNet(SmallConv(4), 5, PATCH, outputs=5, patch_features=6, hidden=10, dropout=0.5)
ITEMS = ItemNet(SmallConv(4), (1, 8, 8), hidden=10)


def patches(batch: int = 3, n: int = 5, shape: tuple[int, ...] = PATCH, seed: int = 0) -> Tensor:
    return torch.randn(batch, n, *shape, generator=torch.Generator().manual_seed(seed))


def patch_features(net: ContextFree, inputs: Tensor) -> Tensor:
    """(B, n, d): what the first aggregate layer is given."""
    seen: list[Tensor] = []
    hook = net.aggregate.register_forward_pre_hook(lambda module, arguments: seen.extend(arguments))
    net(inputs)
    hook.remove()
    return seen[0].reshape(*inputs.shape[:2], -1)


# -------------------------------------------------------------------------------------------------------- context-free


@pytest.mark.parametrize("j", range(5))
def test_no_patch_knows_of_another_before_the_aggregate_layer(j):
    net, before = SMALL.build().eval(), patches()
    after = before.clone()
    after[:, j] = patches(seed=1)[:, j]

    first, second = patch_features(net, before), patch_features(net, after)

    others = [i for i in range(5) if i != j]
    torch.testing.assert_close(second[:, others], first[:, others], rtol=0, atol=0)
    assert not torch.allclose(second[:, j], first[:, j])
    assert not torch.allclose(net(after), net(before))  # the aggregate layer does know


def test_the_same_patch_has_the_same_features_at_every_place():
    net = SMALL.build().eval()
    one = patches(n=1).expand(-1, 5, -1, -1, -1)

    features = patch_features(net, one)

    torch.testing.assert_close(features, features[:, :1].expand_as(features))


def test_the_embedding_is_the_first_aggregate_layer_after_its_relu():
    net = SMALL.build().eval()

    embedded = net.embed(patches())

    assert embedded.shape == (3, 10)
    assert embedded.min() == 0
    # In evaluation the scores are one linear layer away from it.
    torch.testing.assert_close(net.score[-1](embedded), net(patches()))
    assert net(patches()).shape == (3, 5)


def test_dropout_lies_between_the_aggregate_layers_only():
    net = SMALL.build().train()
    torch.manual_seed(0)

    assert net.embed(patches()).equal(net.embed(patches()))
    assert not net(patches()).equal(net(patches()))


# -------------------------------------------------------------------------------------------------------- item scorers


def test_the_score_of_an_item_does_not_depend_on_its_set():
    net = ITEMS.build().eval()
    sets = patches(2, 4, (1, 8, 8))

    scores = net(sets)

    assert scores.shape == (2, 4)
    alone = torch.stack([net(sets[:, i : i + 1])[:, 0] for i in range(4)], 1)
    torch.testing.assert_close(scores, alone)


def test_the_embedding_of_an_item_is_the_layer_before_its_score():
    net = ITEMS.build().eval()
    items = patches(1, 6, (1, 8, 8))

    embedded = net.embed(items[0])

    assert embedded.shape == (6, 10)
    torch.testing.assert_close(net.score(embedded).T, net(items))


# --------------------------------------------------------------------------------------------------- built from values


@pytest.mark.parametrize(
    "value",
    [
        SMALL,
        ITEMS,
        ContextFreeNet(AlexNet(stride=4), 4, (3, 64, 64), 24),
        ContextFreeNet(CFN2016(), 4, (3, 27, 27), 24),
        ContextFreeNet(ResNet(width=4, stem="small"), 4, (3, 9, 9), 24),
        ItemNet(ResNet(width=4), (1, 28, 28)),
    ],
)
def test_a_description_survives_json_and_builds_the_same_network(value):
    again = values.from_json(json.loads(json.dumps(values.to_json(value))))

    assert again == value
    first, second = value.build().state_dict(), again.build().state_dict()
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}


@pytest.mark.parametrize("shape", [(1, 1, 26), (1, 1, 1), (3, 2, 3), (2, 5, 4), (3, 28, 31)])
def test_the_small_backbone_takes_patches_of_any_size_even_one_pixel_high(shape):
    net = ContextFreeNet(SmallConv(4), 4, shape, 4, patch_features=3, hidden=6).build()

    assert net(patches(2, 4, shape)).shape == (2, 4)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels(channels):
    assert ContextFreeNet(SmallConv(4), 4, (channels, 8, 8), 4).build()(patches(2, 4, (channels, 8, 8))).shape == (2, 4)


class Own(nn.Module):
    """A backbone of one's own, whose features keep their axes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_a_backbone_of_ones_own_takes_the_place_of_the_described_one():
    own = Own()

    net = SMALL.build(own)
    scorer = ItemNet(SmallConv(), PATCH).build(own)

    assert net.backbone is own
    assert net(patches()).shape == (3, 5)
    assert scorer(patches()).shape == (3, 5)
    assert feature_count(own, PATCH) == 2 * 7 * 5


@pytest.mark.parametrize("training", [True, False])
def test_counting_features_leaves_a_network_as_it_was(training):
    backbone = SmallConv(4).build(3).train(training)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}

    feature_count(backbone, PATCH)

    assert backbone.training is training
    assert all(v.equal(before[k]) for k, v in backbone.state_dict().items())  # batch-norm statistics too


@pytest.mark.errors
def test_a_backbone_that_cannot_take_such_patches_is_named_with_what_helps():
    with pytest.raises(ValueError, match=r"AlexNetFeatures cannot take patches of shape \(3, 8, 8\)") as error:
        ContextFreeNet(AlexNet(), 9, (3, 8, 8), 9).build()
    assert "Use larger images, fewer patches, or a smaller backbone." in str(error.value)
    with pytest.raises(ValueError, match=r"Own cannot take patches of shape \(1, 8, 8\)"):
        ContextFreeNet(SmallConv(), 9, (1, 8, 8), 9).build(Own())


class OneSize(nn.Module):
    """As networks of one input size do, it asserts."""

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("Input height (9) doesn't match model (224).")


@pytest.mark.errors
def test_a_backbone_of_another_input_size_is_named_too():
    with pytest.raises(ValueError, match=r"OneSize cannot take patches .* match model \(224\)\. Use larger images"):
        SMALL.build(OneSize())


class Listing(nn.Module):
    """As backbones of other libraries may, it gives a list of feature maps."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


@pytest.mark.errors
def test_a_backbone_that_gives_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"Listing must give a tensor of features; got list. Wrap it"):
        SMALL.build(Listing())


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 1, 2), (1, 6, 3), (1, 1, 500), (6, 50), (9,), (2, 3, 24, 24)])
def test_patches_of_any_shape_are_scored_and_teach(shape):
    """Stretches of series, single moments, and stacks of frames."""
    net = ContextFreeNet(SmallConv(4), 5, shape, outputs=5, patch_features=8, hidden=16).build()
    patches = torch.randn(4, 5, *shape, generator=torch.Generator().manual_seed(0))

    scores = net(patches)
    scores.square().sum().backward()

    assert scores.shape == (4, 5)
    assert net.embed(patches).shape == (4, 16)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
