"""ResNet-18, 34 and 50 without their last layer, under torchvision's state-dict keys, so that weights travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from unshuffle import _check
from unshuffle._ranges import Few
from unshuffle.values import register

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


@register
@dataclass(frozen=True)
class ResNet:
    """A residual network, up to and with its average pooling: 512 features (18, 34) or 2048 (50) at the usual width.

    With ``stem="standard"`` and ``width=64`` keys and shapes are torchvision's, less ``fc``. The 50 layers are
    torchvision's too: the stride lies in a block's 3 × 3 convolution.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; start of the weights: He et al. 2015.
    """

    depth: Literal[18, 34, 50] = 18
    """Layers with weights, the left-out last one included."""
    stem: Literal["standard", "small", "pooled"] = "standard"
    """standard: 7 × 7 at stride 2 and pooling, for images. small: 3 × 3 at stride 1, for patches under 64 pixels.
    pooled: small, and pooling."""
    width: Few = 64
    """Channels of the first stage; the last has eight times as many (32 times at depth 50)."""
    pool: bool = True
    """Average the last map over all places; off, the map goes on whole, and with it where in the patch things are."""
    zero_init_residual: bool = False
    """Start the last normalisation of every block at zero: each block begins as the identity (Goyal et al. 2017)."""

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            raise ValueError(f"ResNet: `depth` must be one of {', '.join(map(str, BLOCKS))}; got {self.depth}.")
        _check.one_of("ResNet", "stem", self.stem, ("standard", "small", "pooled"))

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, features), or (B, features, h', w') without pooling."""
        return ResNetFeatures(channels, self)


class ResNetFeatures(nn.Module):
    """See :class:`ResNet`."""

    def __init__(self, channels: int, value: ResNet) -> None:
        super().__init__()
        block: type[Basic | Bottleneck] = Bottleneck if value.depth == 50 else Basic
        width, counts = value.width, BLOCKS[value.depth]
        standard = value.stem == "standard"
        self.conv1 = _conv(channels, width, 7 if standard else 3, stride=2 if standard else 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if value.stem == "small" else nn.MaxPool2d(3, stride=2, padding=1)
        wide = width * block.expansion
        self.layer1 = _stage(block, width, width, counts[0], stride=1)
        self.layer2 = _stage(block, wide, 2 * width, counts[1], stride=2)
        self.layer3 = _stage(block, 2 * wide, 4 * width, counts[2], stride=2)
        self.layer4 = _stage(block, 4 * wide, 8 * width, counts[3], stride=2)
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if value.pool else nn.Identity()
        _start(self, zero_init_residual=value.zero_init_residual)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, features)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x)


class Basic(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut: the block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        way = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(way)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Narrow, 3 × 3, wide, beside a shortcut: the block of ResNet-50."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * self.expansion
        self.conv1 = _conv(before, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, wide, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        way = self.relu(self.bn1(self.conv1(x)))
        way = self.relu(self.bn2(self.conv2(way)))
        return self.relu(self.bn3(self.conv3(way)) + (x if self.downsample is None else self.downsample(x)))


def _stage(block: type[Basic | Bottleneck], before: int, width: int, count: int, *, stride: int) -> nn.Sequential:
    """``count`` blocks of one width, the first of them with the stride."""
    first = block(before, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(count - 1)))


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    """A projection where the shapes differ; None where the input itself is the shortcut."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(_conv(before, after, 1, stride=stride), nn.BatchNorm2d(after))


def _conv(before: int, after: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)


def _start(net: nn.Module, *, zero_init_residual: bool) -> None:
    """Convolutions as He et al. 2015, by their outputs; batch norms at 1 and 0, as PyTorch starts them."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init_residual and isinstance(module, (Basic, Bottleneck)):
            nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)
