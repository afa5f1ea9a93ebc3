"""Scorers: networks that give the items of a sample scores to be ranked.

``ContextFree`` sees every patch alone first and joins all of them in two fully connected layers (the jigsaw network);
``ItemScorer`` scores each item of a set alone. Both embed as well as score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle._ranges import Count, FractionBelowOne, Size
from unshuffle.nets.backbones import Backbone
from unshuffle.nets.context_free import CFN2016, head_of_2016, normed_head
from unshuffle.values import register


@register
@dataclass(frozen=True)
class ContextFreeNet:
    """Describes a :class:`ContextFree` network: enough to build it again."""

    backbone: Backbone
    patches: Count
    patch_shape: tuple[Count, ...]
    outputs: Count
    patch_features: Size = 128
    hidden: Size = 512
    dropout: FractionBelowOne = 0.0

    def build(self, backbone: nn.Module | None = None) -> ContextFree:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        channels = picture_shape(self.patch_shape)[0]
        return ContextFree(self.backbone.build(channels) if backbone is None else backbone, self)


class ContextFree(nn.Module):
    """The context-free network: one backbone for all patches, then two aggregate fully connected layers.

    Until the first aggregate layer no patch knows of another; that layer is also the embedding. The layers above the
    backbone are those of 2016 where the backbone is (:class:`~unshuffle.nets.context_free.CFN2016`), else ours.

    Args:
        backbone: any module from (B, C, h, w) to (B, ...) features of one patch; patches of other axes are given to it
            as :func:`picture_shape` says.
        shape: number and shape of the patches, and the layers' sizes.

    Raises:
        ValueError: the backbone cannot take patches of this size.

    Source: Noroozi & Favaro 2016, section 3; Shuffle to Learn, section 2.3.
    """

    def __init__(self, backbone: nn.Module, shape: ContextFreeNet) -> None:
        super().__init__()
        self.backbone = backbone
        features = feature_count(backbone, picture_shape(shape.patch_shape))
        head = head_of_2016 if isinstance(shape.backbone, CFN2016) else normed_head
        self.patch, self.aggregate, self.score = head(
            features, shape.patches, alone=shape.patch_features, hidden=shape.hidden, outputs=shape.outputs,
            dropout=shape.dropout,
        )  # fmt: skip

    def embed(self, patches: Float[Tensor, "batch n *patch"]) -> Float[Tensor, "batch hidden"]:
        """The first aggregate layer, after its ReLU."""
        return self._joined(patches).relu()

    def forward(self, patches: Float[Tensor, "batch n *patch"]) -> Float[Tensor, "batch outputs"]:
        """The scores."""
        return self.score(self._joined(patches))

    def _joined(self, patches: Tensor) -> Tensor:
        batch, n = patches.shape[:2]
        alone = self.patch(self.backbone(patches.reshape(batch * n, *picture_shape(tuple(patches.shape[2:])))))
        return self.aggregate(alone.reshape(batch, n * alone.shape[-1]))


@register
@dataclass(frozen=True)
class ItemNet:
    """Describes an :class:`ItemScorer`: enough to build it again."""

    backbone: Backbone
    item_shape: tuple[Count, ...]
    hidden: Size = 128

    def build(self, backbone: nn.Module | None = None) -> ItemScorer:
        """The network, with fresh weights; ``backbone`` is one's own in place of the described one."""
        return ItemScorer(self.backbone.build(self.item_shape[0]) if backbone is None else backbone, self)


class ItemScorer(nn.Module):
    """One score an item, from that item alone.

    Args:
        backbone: any module from (B, C, h, w) to (B, ...) features of one item.
        shape: the items' shape and the layer's size.
    """

    def __init__(self, backbone: nn.Module, shape: ItemNet) -> None:
        super().__init__()
        self.backbone = backbone
        features = feature_count(backbone, shape.item_shape)
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(features, shape.hidden), nn.ReLU())
        self.score = nn.Linear(shape.hidden, 1)

    def embed(self, items: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch hidden"]:
        """The last layer before the score."""
        return self.features(self.backbone(items))

    def forward(self, sets: Float[Tensor, "batch n c h w"]) -> Float[Tensor, "batch n"]:
        """The scores of all items of all sets."""
        return self.score(self.embed(sets.flatten(0, 1))).reshape(sets.shape[:2])


def picture_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How a backbone of pictures sees a patch of any shape, (c, h, w): of a series (c, t) the height is 1.

    Consecutive frames of a clip (t, c, h, w) are one picture of t * c channels.

    Example:
        >>> picture_shape((6, 50)), picture_shape((2, 3, 64, 64)), picture_shape((3, 32, 32))
        ((6, 1, 50), (6, 64, 64), (3, 32, 32))
    """
    high = shape if len(shape) > 2 else (*shape[:-1], 1, *shape[-1:])
    return math.prod(high[:-2]), *high[-2:]


def feature_count(backbone: nn.Module, shape: tuple[int, ...]) -> int:
    """How many features ``backbone`` gives for one input of ``shape``.

    Raises:
        ValueError: it cannot take inputs of this size, or gives something else than a tensor.
    """
    training = backbone.training
    device = next((p.device for p in backbone.parameters()), None)
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, *shape, device=device))
    except (RuntimeError, AssertionError) as error:  # AssertionError: networks of one input size
        raise ValueError(
            f"the backbone {type(backbone).__name__} cannot take patches of shape {tuple(shape)}: "
            f"{str(error).rstrip('.')}. Use larger images, fewer patches, or a smaller backbone."
        ) from error
    finally:
        backbone.train(training)
    if not isinstance(features, Tensor):
        raise ValueError(
            f"the backbone {type(backbone).__name__} must give a tensor of features; got {type(features).__name__}. "
            "Wrap it in a module that returns one."
        )
    return features.flatten(1).shape[1]
