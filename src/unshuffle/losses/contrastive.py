r"""Objectives over views, as frozen values: an image's views near each other, and far from those of other images.

All take embeddings of m views and compare them by their cosine distance, :math:`d(x, y) = -\cos(x, y)`. They differ in
what they make of an anchor's positives and negatives: sorted as groups, as classes of a softmax, or as triplets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import Positive, Range
from unshuffle.losses.group_order import ORIENTATIONS, Orientation, group_order
from unshuffle.losses.similarities import Negatives, costs_of_anchors, positive_views
from unshuffle.ops.comparators import NETWORKS, Network
from unshuffle.values import register

Pairs = Literal["paper", "code"]


@runtime_checkable
class ViewsObjective(Protocol):
    """What a method that learns from views needs of its loss."""

    def loss(self, anchors: Tensor, candidates: Tensor, *, first: int = 0, positives: int | None = None) -> Tensor:
        """One value an anchor.

        Args:
            anchors: (m, b, d) embeddings of m views of the images of this process.
            candidates: (m, n, d) those of the images of all processes. In one process the same tensor.
            first: anchor ``[v, i]`` is a view of candidate image ``first + i``.
            positives: how many views, the first ones, may be positives (global crops); all, when None.

        Returns:
            (m, b), whose mean is the loss; in single precision at least, inside autocast too. Where there is no other
            image an anchor has no negatives, and costs 0 with gradient 0.

        Raises:
            TypeError: embeddings are not floating point.
            ValueError: the shapes do not fit, or an anchor has no positive.
        """
        ...


class _OnPairs:
    """What all three have in common: a cost of an anchor's positives and negatives."""

    negatives: Negatives
    stop_gradient: bool

    def cost(self, positive: Float[Tensor, "*a p"], negative: Float[Tensor, "*a n"]) -> Float[Tensor, "*a"]:
        """What an anchor costs whose positives and negatives have these cosines; minus infinity stands for none."""
        raise NotImplementedError

    def loss(
        self,
        anchors: Float[Tensor, "m b d"],
        candidates: Float[Tensor, "m n d"],
        *,
        first: int = 0,
        positives: int | None = None,
    ) -> Float[Tensor, "m b"]:
        """The loss of each anchor; see :class:`ViewsObjective`."""
        near = positive_views(type(self).__name__, anchors, candidates, first, positives)
        near, weights = self._weighed(near)
        costs = costs_of_anchors(
            anchors, candidates, self.cost, first=first, near=near, negatives=self.negatives,
            stop_gradient=self.stop_gradient,
        )  # fmt: skip
        return costs if weights is None else costs * costs.new_tensor(weights).unsqueeze(-1)

    def _weighed(self, near: list[list[int]]) -> tuple[list[list[int]], list[float] | None]:
        """The positive views of each view's anchors, and what these weigh; None: all alike."""
        return near, None


@register
@dataclass(frozen=True)
class GroupOrder(_OnPairs):
    """Positives sorted before the strongest negatives by a differentiable network: GroCo.

    Source: GroCo, section 3; the defaults are its section 4.1.
    """

    inverse_temperature: Positive = 1.0
    """β of the network's Cauchy relaxation, in inverse units of the cosine."""
    negatives: Negatives = Negatives()
    """Which views of other images are sorted along: a number of them, as the network is as deep as its list is long."""
    stop_gradient: bool = True
    """Whether only the anchor is moved by its distances, not what it is compared with."""
    preorder: bool = True
    """Whether either group enters the network in ascending order; if not, in the order of the batch."""
    network: Network = "odd_even"
    """Which comparators sort."""
    orientation: Orientation = "paper"
    """How the list enters; see :func:`unshuffle.losses.group_order`."""

    def __post_init__(self) -> None:
        _check.one_of("GroupOrder", "network", self.network, NETWORKS)
        _check.one_of("GroupOrder", "orientation", self.orientation, ORIENTATIONS)
        if self.negatives.count is None:
            raise ValueError("GroupOrder: `negatives.count` must be a number; got None. The paper's is 10.")

    def cost(self, positive: Float[Tensor, "*a p"], negative: Float[Tensor, "*a n"]) -> Float[Tensor, "*a"]:
        """How far either group of cosines is from its place in the sorted list."""
        return group_order(
            -positive, -negative, inverse_temperature=self.inverse_temperature, network=self.network,
            preorder=self.preorder, orientation=self.orientation,
        )  # fmt: skip


@register
@dataclass(frozen=True)
class InfoNCE(_OnPairs):
    r"""Each positive against all negatives in a softmax, averaged over the positives: SimCLR's.

    .. math:: \frac1{|P|} \sum_{y \in P} -\log
              \frac{e^{-d(x, y) / \tau}}{e^{-d(x, y) / \tau} + \sum_z e^{-d(x, z) / \tau}}

    Source: Chen, Kornblith, Norouzi & Hinton, "A Simple Framework for Contrastive Learning of Visual Representations",
    ICML 2020; with several positives GroCo, equation 10.
    """

    temperature: Positive = 0.1
    """τ, in units of the cosine."""
    negatives: Negatives = Negatives(count=None)
    """Which views of other images are contrasted."""
    stop_gradient: bool = False
    """Whether only the anchor is moved by its distances, not what it is compared with."""
    pairs: Pairs = "paper"
    """With views that may not be positives (local crops): ``"paper"``: such a view is near the others, never the other
    way round, and every anchor weighs the same. ``"code"``: as in the authors' code a pair with a positive view is
    taken both ways, and every pair weighs the same."""

    def __post_init__(self) -> None:
        _check.one_of("InfoNCE", "pairs", self.pairs, get_args(Pairs))

    def cost(self, positive: Float[Tensor, "*a p"], negative: Float[Tensor, "*a n"]) -> Float[Tensor, "*a"]:
        """Cross-entropy of each positive cosine beside all negative ones, averaged."""
        others = _log_sum(negative / self.temperature)
        return torch.nn.functional.softplus(others - positive / self.temperature).mean(-1)

    def _weighed(self, near: list[list[int]]) -> tuple[list[list[int]], list[float] | None]:
        if self.pairs == "paper":
            return near, None
        near = [sorted({*own, *(w for w, theirs in enumerate(near) if v in theirs)}) for v, own in enumerate(near)]
        return near, [len(near) * len(own) / sum(map(len, near)) for own in near]


@register
@dataclass(frozen=True)
class Triplet(_OnPairs):
    r"""Each positive nearer than each negative by a margin: :math:`\max(d_i - d_j + r, 0)`, averaged over all pairs.

    An infinite margin is a limit: no triplet is ever done with. Its loss is the mean of :math:`d_i - d_j`.

    Source: Schroff, Kalenichenko & Philbin, "FaceNet", CVPR 2015; GroCo, section 4.5 and Table 6a.
    """

    margin: Annotated[float, Range(0, 1_000_000, infinite=True)] = 1.6
    """r, in units of the cosine; 2 and more is never reached. GroCo's ablation has 0.8, 1.6 and infinity."""
    negatives: Negatives = Negatives()
    """Which views of other images are in the triplets."""
    stop_gradient: bool = True
    """Whether only the anchor is moved by its distances, not what it is compared with."""

    def cost(self, positive: Float[Tensor, "*a p"], negative: Float[Tensor, "*a n"]) -> Float[Tensor, "*a"]:
        """By how much each positive cosine misses its margin to each negative one, averaged over the pairs."""
        there = (negative != -torch.inf).unsqueeze(-2)
        nearer = negative.unsqueeze(-2) - positive.unsqueeze(-1)
        missed = nearer if math.isinf(self.margin) else (nearer + self.margin).relu()
        pairs = (there.sum((-2, -1)) * positive.shape[-1]).clamp_min(1)
        return torch.where(there, missed, 0.0).sum((-2, -1)) / pairs


def _log_sum(numbers: Tensor) -> Tensor:
    """The log-sum-exp of each row, without a derivative where nothing is summed."""
    none = (numbers == -torch.inf).all(-1, keepdim=True)
    return numbers.masked_fill(none, 0.0).logsumexp(-1, keepdim=True).masked_fill(none, -torch.inf)
