"""A classifier of whole images: a backbone and one linear layer."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from unshuffle._ranges import Count
from unshuffle.nets.backbones import Backbone
from unshuffle.nets.scorers import feature_count
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ClassifierNet:
    """Describes a :class:`Classifier`: enough to build it again."""

    backbone: Backbone
    item_shape: tuple[Count, ...]
    classes: Count

    def build(self, backbone: nn.Module | None = None) -> Classifier:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        return Classifier(self.backbone.build(self.item_shape[0]) if backbone is None else backbone, self)


class Classifier(nn.Module):
    """Scores of the classes of whole images.

    Args:
        backbone: any module from (B, C, h, w) to (B, ...) features.
        shape: of the images, and the number of classes.
    """

    def __init__(self, backbone: nn.Module, shape: ClassifierNet) -> None:
        super().__init__()
        self.backbone = backbone
        self.label = nn.Linear(feature_count(backbone, shape.item_shape), shape.classes)

    def embed(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """What the last layer sees."""
        return self.backbone(images).flatten(1)

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """One score a class."""
        return self.label(self.embed(images))
