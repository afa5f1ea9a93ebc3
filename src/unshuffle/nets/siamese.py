"""The network of DeepPermNet on sequences of whole images: as a context-free one, but it embeds single images."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from unshuffle.nets.scorers import ContextFree, ContextFreeNet, picture_shape
from unshuffle.values import register


@register
@dataclass(frozen=True)
class SiameseNet(ContextFreeNet):
    """Describes a :class:`Siamese` network: enough to build it again."""

    def build(self, backbone: nn.Module | None = None) -> Siamese:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        channels = picture_shape(self.patch_shape)[0]
        return Siamese(self.backbone.build(channels) if backbone is None else backbone, self)


class Siamese(ContextFree):
    """One branch for each image, all with the same weights, and two fully connected layers over all branches.

    The layers are those of :class:`~unshuffle.nets.scorers.ContextFree` (conv1 to fc6, fc7, fc8). What is worth keeping
    of an image is what its own branch says of it, whatever stood beside it: the embedding is fc6.

    Source: DeepPermNet, section 3.3 and figure 2.
    """

    def embed(self, items: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch features"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The first fully connected layer of single images."""
        return self.patch(self.backbone(items))

    def judge(self, features: Float[Tensor, "batch n features"]) -> Float[Tensor, "batch outputs"]:
        """The scores of sequences of images that are embedded already: those that ``forward`` gives of the images."""
        return self.score(self.aggregate(features.flatten(1)))
