"""A backbone of whole images with a projector on it: two spaces to look at an image in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle._ranges import Count
from unshuffle.nets.backbones import Backbone
from unshuffle.nets.heads import Projector
from unshuffle.nets.scorers import feature_count
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ProjectedNet:
    """Describes a :class:`Projected` network: enough to build it again."""

    backbone: Backbone
    item_shape: tuple[Count, ...]
    projector: Projector = Projector()

    def build(self, backbone: nn.Module | None = None) -> Projected:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        return Projected(self.backbone.build(self.item_shape[0]) if backbone is None else backbone, self)


class Projected(nn.Module):
    """Images of any size to representations, and those to projections.

    Args:
        backbone: any module from (B, C, h, w) to (B, d), or to (B, d, h', w'), of which the mean over all places is
            taken: views of every size have representations of one length.
        shape: of the images, and the projector.

    Source: GroCo, section 3.1: encoder g and projection head h.
    """

    def __init__(self, backbone: nn.Module, shape: ProjectedNet) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = shape.projector.build(feature_count(nn.Sequential(backbone, Pool()), shape.item_shape))
        if _channels_may_be_last(self):
            # With this order of the weights convolutions are a third faster on CPUs, and on GPUs in mixed precision.
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """The representation: what is kept."""
        return _pooled(self.backbone(images))

    def project(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch projection"]:
        """The projection: what the loss compares."""
        return self.projector(self.embed(images))

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch projection"]:
        """As :meth:`project`."""
        return self.project(images)


def _channels_may_be_last(net: nn.Module) -> bool:
    """Whether PyTorch computes the convolutions in that order without harm.

    Its CPU build (2.13, oneDNN) writes past the end of a buffer in the backward pass of strided 1 x 1 convolutions of
    eight channels: seen with 232 images of 96 pixels, never with 16 channels or more.
    """
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    pointwise = [m for m in convolutions if m.kernel_size == (1, 1) and m.stride != (1, 1)]
    return all(m.in_channels % 16 == 0 for m in pointwise)


class Pool(nn.Module):
    """Averages maps over all places; features that have none stay as they are."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, d) or (B, d, h, w) to (B, d)."""
        return _pooled(features)


def _pooled(features: Tensor) -> Tensor:
    """(B, d) as they are, (B, d, h, w) averaged over all places."""
    return features if features.ndim == 2 else features.flatten(2).mean(-1)
