r"""Objectives on the permutation matrix, as frozen values: n^2 scores a sample, one for each item at each position.

The scores of a sample are a matrix in the order of its rows: entry i * n + k says how well item i suits position k. The
target is the true permutation matrix, or, where items are tied, the matrix in which they share their positions evenly
(:func:`~unshuffle.permutations.rank_matrix`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import permutations
from unshuffle._ranges import Many, Positive
from unshuffle.losses.permutation import Objective
from unshuffle.ops.assignment import assign
from unshuffle.ops.sinkhorn import sinkhorn
from unshuffle.values import register


@runtime_checkable
class MatrixObjective(Objective, Protocol):
    """An objective that reads its scores as a soft permutation matrix."""

    def cost(self, scores: Tensor, target: Tensor) -> Tensor:
        """One value a sample, from (B, n * n) scores and (B, n, n) doubly stochastic targets."""
        ...

    def matrix(self, scores: Tensor) -> Tensor:
        """The soft permutations (B, n, n) that (B, n * n) scores say, items on rows; differentiable."""
        ...


class _OnMatrices:
    """What all three have in common."""

    def outputs(self, n: int) -> int:
        """A score for each item at each position."""
        return n * n

    def loss(
        self: MatrixObjective,
        scores: Float[Tensor, "batch entries"],
        ranks: Float[Tensor, "batch n"],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample; tied ranks share their positions evenly."""
        return self.cost(scores, permutations.rank_matrix(ranks.to(scores.dtype)))

    def predict(self: MatrixObjective, scores: Float[Tensor, "batch entries"], n: int) -> Float[Tensor, "batch {n}"]:
        """The ranks of the permutation matrix nearest to the soft one, exactly (equation 5 of the paper)."""
        # Scores that are no numbers are for the training loop to tell: an order is due all the same.
        soft = self.matrix(scores.detach()).nan_to_num(0.0)
        return (assign(soft) + 1).to(scores.dtype)


@register
@dataclass(frozen=True)
class SinkhornCrossEntropy(_OnMatrices):
    r"""Cross-entropy of the true matrix and the converged Sinkhorn layer: ours, and the default.

    .. math:: -\sum_{ik} T_{ik} \log P_{ik}, \qquad P = \arg\max_Q \; \langle Q, S \rangle / \tau + H(Q)

    over doubly stochastic matrices Q.

    As T is doubly stochastic too, this is the Fenchel-Young loss of P: convex in the scores, with gradient (P - T) / τ,
    and neither the iterations nor their limit need a derivative. It is exact but for what the rows of P lack of 1, at
    most ``tolerance``. The least value is the entropy of T: 0 without ties.

    Source: DeepPermNet, section 3.3.1, with the iterations made until they have converged; Blondel, Martins & Niculae,
    "Learning with Fenchel-Young Losses", JMLR 2020.
    """

    temperature: Positive = 1.0
    """In the units of the scores, which the network is free to scale."""
    tolerance: Positive = 1e-6
    """Rows of the layer's matrix sum to 1 within this, columns exactly."""
    num_iters: Many = 1000
    """Row and column steps, at the most; matrices that are done stop earlier."""

    def cost(
        self, scores: Float[Tensor, "batch entries"], target: Float[Tensor, "batch n n"]
    ) -> Float[Tensor, " batch"]:
        """The cross-entropy of each sample; see :class:`MatrixObjective`."""
        square = _square(scores).double()
        plan = self.matrix(square.detach().flatten(1))
        entropy = torch.special.entr(plan).sum((-2, -1))
        # With P held, the derivative of this is (P - T) / τ: that of the whole, as P is where its value is largest.
        return (((plan - target) * square).sum((-2, -1)) / self.temperature + entropy).to(scores.dtype)

    def matrix(self, scores: Float[Tensor, "batch entries"]) -> Float[Tensor, "batch n n"]:
        """The doubly stochastic layer; its gradient is that of the limit."""
        return sinkhorn(
            _square(scores), temperature=self.temperature, num_iters=self.num_iters, tolerance=self.tolerance,
            gradient="implicit",
        )  # fmt: skip


@register
@dataclass(frozen=True)
class AuthorsSinkhorn(_OnMatrices):
    r"""The layer of the authors' code: softmax over all n^2 scores, then one row and one column step.

    λ is added to all entries before either step, so no entry comes near 1: with n = 9 the largest share that the right
    position can have is 0.926, and the loss cannot fall below 0.69. Columns sum to 1, rows do so roughly. The cost is
    the sum of -log P over the true entries.

    Source: DeepPermNet, section 3.3.1 (which writes n iterations), and the models of its authors' code (which stack one
    pair). Their models for testing have λ = 0.01.
    """

    regularization: Positive = 1e-3
    """λ, of both steps (the paper's 1e-3)."""

    def cost(
        self, scores: Float[Tensor, "batch entries"], target: Float[Tensor, "batch n n"]
    ) -> Float[Tensor, " batch"]:
        """The cross-entropy of each sample; see :class:`MatrixObjective`."""
        return -(target * self.matrix(scores).log()).sum((-2, -1))

    def matrix(self, scores: Float[Tensor, "batch entries"]) -> Float[Tensor, "batch n n"]:
        """The layer: nearly doubly stochastic."""
        shares = _square(scores.softmax(-1)) + self.regularization
        rows = shares / shares.sum(-1, keepdim=True) + self.regularization
        return rows / rows.sum(-2, keepdim=True)


@register
@dataclass(frozen=True)
class NaiveSigmoid(_OnMatrices):
    """The naive approach: n^2 independent yes-or-no answers, sigmoids with binary cross-entropy.

    Nothing keeps two items from one position but what the network learns.

    Source: DeepPermNet, sections 3.3 and 4.1.
    """

    def cost(
        self, scores: Float[Tensor, "batch entries"], target: Float[Tensor, "batch n n"]
    ) -> Float[Tensor, " batch"]:
        """The binary cross-entropies of each sample, summed; see :class:`MatrixObjective`."""
        square = _square(scores)
        each = torch.nn.functional.binary_cross_entropy_with_logits(square, target, reduction="none")
        return each.sum((-2, -1))

    def matrix(self, scores: Float[Tensor, "batch entries"]) -> Float[Tensor, "batch n n"]:
        """The sigmoids; neither rows nor columns sum to anything in particular."""
        return _square(scores).sigmoid()


def _square(scores: Tensor) -> Tensor:
    """(B, n * n) as (B, n, n).

    Raises:
        ValueError: they are no square.
    """
    n = math.isqrt(scores.shape[-1])
    if n * n != scores.shape[-1]:
        raise ValueError(
            f"a permutation matrix has n * n scores a sample, one for each item at each position; got "
            f"{tuple(scores.shape)}. Build the network with `outputs(n)` of its objective."
        )
    return scores.unflatten(-1, (n, n))
