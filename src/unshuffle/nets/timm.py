"""The door to timm's networks: several hundred backbones by name, where timm can be imported.

timm brings torchvision, which must match the installed PyTorch build exactly; so neither is required, and nothing else
of this package imports them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor, nn

from unshuffle import _check
from unshuffle._ranges import Pixels
from unshuffle.values import register


class NoTimm(_check.Explained, ImportError):
    """timm cannot be imported; the message says what to install."""


@register
@dataclass(frozen=True)
class Timm:
    """A network of timm, by its name there and without its classifier: pooled features of one patch."""

    name: str = "resnet18"
    """As ``timm.list_models()`` has it, for example convnext_atto or vit_tiny_patch16_224."""
    pretrained: bool = False
    """Start from timm's weights, which timm downloads (and PyTorch keeps) when training begins."""
    size: Pixels | None = None
    """Scale patches to this many pixels a side first; for networks of one input size, such as vision transformers."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set(":/\\"):  # else a file from a stranger could name any place
            raise ValueError(
                f"Timm: `name` must be a model of timm itself, as timm.list_models() has it; got {self.name!r}. For a "
                "model from elsewhere, make it yourself and give it to unshuffle.fit as `net`."
            )

    def build(self, channels: int) -> nn.Module:
        """A module from (B, channels, h, w) to (B, features).

        Raises:
            NoTimm: timm cannot be imported here.
            ValueError: timm has no such model.
        """
        timm = _timm(self.name)
        if not timm.is_model(self.name):
            near = ", ".join(timm.list_models(f"*{self.name.partition('_')[0]}*")[:8]) or "timm.list_models() has them"
            raise ValueError(f"Timm: timm {timm.__version__} has no model {self.name!r}. Near: {near}.")
        net = timm.create_model(self.name, pretrained=self.pretrained, in_chans=channels, num_classes=0)
        return net if self.size is None else nn.Sequential(Scaled(self.size), net)

    def fresh(self) -> Timm:
        """The same network without timm's weights: an encoder carries its own and must load without a download."""
        return replace(self, pretrained=False)


class Scaled(nn.Module):
    """Scales patches to a square, bilinearly."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, size, size)."""
        return nn.functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)


def _timm(name: str) -> ModuleType:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    # A torchvision of another build fails with whatever comes first: RuntimeError, AttributeError, OSError.
    except Exception as error:
        raise NoTimm(
            f"Timm: the backbone {name!r} needs timm, which cannot be imported here "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). Install it "
            f"with pip install timm; it brings torchvision, which must match PyTorch {torch.__version__} exactly, so "
            "install torchvision from where this PyTorch came from. Or take a backbone that needs neither: SmallConv, "
            "AlexNet, ResNet."
        ) from error
    return timm
