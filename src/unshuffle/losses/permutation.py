"""Objectives of the reordering task, as frozen values: what the scores mean, what they cost, what order they say.

A ranking objective reads n scores as positions, so all n! orders can be learnt; a fixed set reads L scores as classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import permutations
from unshuffle._ranges import Positive, Range
from unshuffle.losses.fenchel_young import fenchel_young, sampled_fenchel_young
from unshuffle.ops.soft_rank import soft_rank
from unshuffle.permutations import SpreadOut
from unshuffle.values import register


@runtime_checkable
class Objective(Protocol):
    """What a reordering method needs of its loss."""

    def outputs(self, n: int) -> int:
        """How many scores the network gives for n patches."""
        ...

    def loss(self, scores: Tensor, ranks: Tensor, generator: torch.Generator | None) -> Tensor:
        """One value a sample, from (B, outputs) scores and (B, n) true ranks."""
        ...

    def predict(self, scores: Tensor, n: int) -> Tensor:
        """The hard ranks (B, n) that the scores say."""
        ...


class _Ranking:
    """Scores are positions: their order is the answer."""

    def outputs(self, n: int) -> int:
        return n

    def predict(self, scores: Tensor, n: int) -> Tensor:
        order = scores.argsort(dim=-1, stable=True)  # ties broken by place: a hard order always
        return order.argsort(dim=-1).to(scores.dtype) + 1


@register
@dataclass(frozen=True)
class PerturbedFenchelYoung(_Ranking):
    """Fenchel-Young loss of Gaussian-perturbed ranks ("Perturbed F-Y").

    Source: Shuffle to Learn, section 2.2 and Appendix A.1.
    """

    sigma: Positive = 0.1
    """Scale of the noise, in units of the scores. The paper's is 0.1."""
    num_samples: Annotated[int, Range(1, 10_000)] | None = None
    """None: the exact expectation (ours, zero variance). A number: that many draws (the paper's 10)."""

    def loss(
        self, scores: Float[Tensor, "batch n"], ranks: Float[Tensor, "batch n"], generator: torch.Generator | None
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        if self.num_samples is None:
            return fenchel_young(scores, ranks, sigma=self.sigma)
        return sampled_fenchel_young(
            scores, ranks, permutations.to_ranks, sigma=self.sigma, num_samples=self.num_samples, generator=generator
        )


@register
@dataclass(frozen=True)
class FastSoftRanking(_Ranking):
    """Half the squared distance between soft and true ranks ("Fast Soft Ranking", FSR).

    Source: Shuffle to Learn, section 2.2; the strength is not stated there.
    """

    regularization_strength: Positive = 1.0
    """Units of the scores; soft ranks are hard where neighbours lie further apart than this."""

    def loss(
        self, scores: Float[Tensor, "batch n"], ranks: Float[Tensor, "batch n"], generator: torch.Generator | None
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        soft = soft_rank(scores, regularization_strength=self.regularization_strength)
        return 0.5 * (soft - ranks).square().sum(-1)


@register
@dataclass(frozen=True)
class RankMSE(_Ranking):
    """Half the squared distance between scores and true ranks: regression, no ranking operator ("MSE").

    Source: Shuffle to Learn, section 3.1.
    """

    def loss(
        self, scores: Float[Tensor, "batch n"], ranks: Float[Tensor, "batch n"], generator: torch.Generator | None
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return 0.5 * (scores - ranks).square().sum(-1)


@register
@dataclass(frozen=True)
class PairwiseLogistic(_Ranking):
    r"""Cross-entropy of every pair's order, the pairs of a sample summed ("RankNet").

    .. math:: \sum_{i<j} \log(1 + e^{o_{ij}}) - p_{ij} \, o_{ij}, \quad o_{ij} = (\theta_i - \theta_j) / s

    with :math:`p_{ij}` 1 where item i belongs after item j, 0 where before, and 1/2 where they tie; the whole times s.
    That is the Fenchel-Young loss of ranks perturbed by Gumbel noise of scale s, pair for pair, and computed as such.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, equations 2 and 3.
    """

    scale: Positive = 1.0
    """Units of the scores: a pair this far apart is told right with odds of e to one."""

    def loss(
        self, scores: Float[Tensor, "batch n"], ranks: Float[Tensor, "batch n"], generator: torch.Generator | None
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return fenchel_young(scores, ranks, sigma=self.scale, noise="gumbel")


@register
@dataclass(frozen=True)
class FixedPermutations:
    """Cross-entropy over a fixed set of permutations that lie far apart ("Fixed Permutation").

    Samples must be shuffled by permutations of the same set, so the transform takes ``choices`` too.

    Source: Noroozi & Favaro 2016; the baseline of Shuffle to Learn (100 permutations).
    """

    choices: SpreadOut = SpreadOut()
    """The set; one class for each of its members."""

    def outputs(self, n: int) -> int:
        """One score a class."""
        return self.choices.count

    def loss(
        self, scores: Float[Tensor, "batch classes"], ranks: Float[Tensor, "batch n"], generator: torch.Generator | None
    ) -> Float[Tensor, " batch"]:
        """The cross-entropy of each sample.

        Raises:
            ValueError: a permutation outside the set was drawn.
        """
        known = (self.choices.build(ranks.shape[-1]).to(ranks.device) + 1).to(ranks.dtype)
        match = (ranks.unsqueeze(1) == known).all(-1)
        if not torch.compiler.is_compiling() and not match.any(-1).all():
            raise ValueError(
                "FixedPermutations: a permutation outside the set was drawn; shuffle with `choices` of the loss."
            )
        return torch.nn.functional.cross_entropy(scores, match.int().argmax(-1), reduction="none")

    def predict(self, scores: Float[Tensor, "batch classes"], n: int) -> Float[Tensor, "batch {n}"]:
        """The ranks of the likeliest member of the set."""
        return self.choices.build(n).to(scores.device)[scores.argmax(-1)].to(scores.dtype) + 1
