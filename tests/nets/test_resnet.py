"""Residual networks carry torchvision's names and shapes, so that weights travel."""

import pytest
import torch
from torch import Tensor, nn

from unshuffle.nets import ContextFreeNet, ResNet
from unshuffle.nets.resnet import Basic, Bottleneck

# torchvision.models.resnet18(): every convolution, as its weights are published (resnet18-f37072fd). The batch norm of
# a convolution has the name below; ``fc`` is left out.
RESNET18 = """
conv1 64 3 7
layer1.0.conv1 64 64 3
layer1.0.conv2 64 64 3
layer1.1.conv1 64 64 3
layer1.1.conv2 64 64 3
layer2.0.conv1 128 64 3
layer2.0.conv2 128 128 3
layer2.0.downsample.0 128 64 1
layer2.1.conv1 128 128 3
layer2.1.conv2 128 128 3
layer3.0.conv1 256 128 3
layer3.0.conv2 256 256 3
layer3.0.downsample.0 256 128 1
layer3.1.conv1 256 256 3
layer3.1.conv2 256 256 3
layer4.0.conv1 512 256 3
layer4.0.conv2 512 512 3
layer4.0.downsample.0 512 256 1
layer4.1.conv1 512 512 3
layer4.1.conv2 512 512 3
"""


def bottlenecks(stage: int, count: int, before: int, width: int) -> str:
    """One stage of resnet50()'s list."""
    lines = []
    for k in range(count):
        name = f"layer{stage}.{k}"
        lines += [f"{name}.conv1 {width} {before if k == 0 else 4 * width} 1", f"{name}.conv2 {width} {width} 3"]
        lines += [f"{name}.conv3 {4 * width} {width} 1"]
        lines += [f"{name}.downsample.0 {4 * width} {before} 1"] if k == 0 else []
    return "\n".join(lines)


RESNET50 = "\n".join(
    [
        "conv1 64 3 7",
        bottlenecks(1, 3, 64, 64),
        bottlenecks(2, 4, 256, 128),
        bottlenecks(3, 6, 512, 256),
        bottlenecks(4, 3, 1024, 512),
    ]
)


def entries(convolutions: str) -> dict[str, tuple[int, ...]]:
    """The whole state dict that goes with a list of convolutions."""
    found: dict[str, tuple[int, ...]] = {}
    for name, after, before, size in (line.split() for line in convolutions.strip().splitlines()):
        found[f"{name}.weight"] = (int(after), int(before), int(size), int(size))
        norm = name.replace("downsample.0", "downsample.1").replace("conv", "bn")
        found |= {f"{norm}.{part}": (int(after),) for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"{norm}.num_batches_tracked"] = ()
    return found


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in net.state_dict().items()}


@pytest.mark.parametrize(("depth", "convolutions"), [(18, RESNET18), (50, RESNET50)])
def test_keys_and_shapes_are_torchvisions(depth, convolutions):
    with torch.device("meta"):
        net = ResNet(depth).build(3)

    assert shapes(net) == entries(convolutions)


# The weights that torchvision states for each, less those of ``fc``: 1000 classes.
@pytest.mark.parametrize(
    ("depth", "stated", "features"), [(18, 11_689_512, 512), (34, 21_797_672, 512), (50, 25_557_032, 2048)]
)
def test_there_are_as_many_weights_as_torchvision_states(depth, stated, features):
    with torch.device("meta"):
        net = ResNet(depth).build(3)

    assert sum(p.numel() for p in net.parameters()) == stated - (features * 1000 + 1000)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_answers_are_torchvisions_where_it_is_there(depth, rng):
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    theirs, ours = getattr(models, f"resnet{depth}")(), ResNet(depth).build(3)

    told = ours.load_state_dict(theirs.state_dict(), strict=False)
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64, generator=rng)

    assert (told.missing_keys, told.unexpected_keys) == ([], ["fc.weight", "fc.bias"])
    assert ours.eval()(x).equal(theirs.eval()(x))


@pytest.mark.parametrize(
    ("value", "shape", "features"),
    [
        (ResNet(18, width=4), (3, 64, 64), (32,)),
        (ResNet(50, width=4), (1, 64, 64), (128,)),
        (ResNet(18, width=4, pool=False), (3, 64, 64), (32, 2, 2)),  # halved five times
        (ResNet(34, width=4, stem="small", pool=False), (3, 28, 28), (32, 4, 4)),  # three times
        (ResNet(18, width=4, stem="small"), (1, 1, 26), (32,)),  # one pixel high
    ],
)
def test_features_of_patches(value, shape, features):
    net = value.build(shape[0])

    assert net(torch.zeros(2, *shape)).shape == (2, *features)


def test_the_small_stem_changes_the_first_convolution_only():
    with torch.device("meta"):
        small = shapes(ResNet(stem="small").build(3))

    assert small == entries(RESNET18) | {"conv1.weight": (64, 3, 3, 3)}


def test_convolutions_start_by_their_outputs_and_batch_norms_as_the_identity():
    torch.manual_seed(0)
    for module in ResNet().build(3).modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()


@pytest.mark.parametrize("depth", [18, 50])
def test_blocks_begin_as_the_identity_where_asked(depth):
    net = ResNet(depth, width=4, zero_init_residual=True).build(3).eval()
    blocks = [m for m in net.modules() if isinstance(m, (Basic, Bottleneck))]
    assert blocks

    for block in blocks:
        x = torch.rand(1, next(block.parameters()).shape[1], 6, 6)
        expected = x if block.downsample is None else block.downsample(x).relu()
        torch.testing.assert_close(block(x), expected)


def test_the_strided_convolution_of_a_bottleneck_is_the_one_in_the_middle():
    blocks = [m for m in ResNet(50, width=4).build(3).modules() if isinstance(m, Bottleneck)]

    assert {b.conv1.stride for b in blocks} | {b.conv3.stride for b in blocks} == {(1, 1)}
    assert [b.conv2.stride for b in blocks].count((2, 2)) == 3


def test_it_is_a_backbone_of_the_context_free_network():
    net = ContextFreeNet(ResNet(width=4, stem="small"), 4, (3, 12, 12), 4, patch_features=6, hidden=10).build()
    patches: Tensor = torch.zeros(2, 4, 3, 12, 12)

    assert net.backbone(patches.flatten(0, 1)).shape == (8, 32)
    assert net(patches).shape == (2, 4)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"depth": 20}, "`depth` must be one of 18, 34, 50; got 20"),
        ({"width": 0}, "`width` must be from 1 .*; got 0"),
        ({"stem": "tiny"}, "`stem` must be one of 'standard', 'small', 'pooled'; got 'tiny'"),
    ],
)
def test_options_that_are_not_there_are_named(options, told):
    with pytest.raises(ValueError, match=f"ResNet: {told}"):
        ResNet(**options)
