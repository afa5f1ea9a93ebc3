"""Costs of pairs of items: a small antisymmetric network on each pair, without a tensor of all pairs' features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle import _check
from unshuffle.nets.pairs import score_pairs


class PairwiseCost(nn.Module):
    r"""What it costs that one item comes before another, by a network of two layers on their features.

    .. math:: F(x_i, x_j) = f(x_i, x_j) - f(x_j, x_i), \qquad f(x, y) = V \, \mathrm{relu}(W [x; y] + b) + c

    so that :math:`F(x_i, x_j) = -F(x_j, x_i)` whatever the weights. The numbers are those of the layers on pairs, whose
    weights it has (``pair`` and ``cost``); but the first layer is split, :math:`W [x; y] = W_1 x + W_2 y`, and the
    hidden units of all pairs are never there at once (:mod:`unshuffle.nets.pairs`). Under autocast it computes in the
    dtype of its weights.

    Args:
        features: d, of each item.
        hidden: units of the first layer.
        channels: how many costs each pair has; a grid needs two.
        bias_out: whether the last layer has a bias. F does not depend on it: for weights of networks that had one.

    Example:
        >>> costs = PairwiseCost(features=2, hidden=16)(torch.randn(3, 7, 2))
        >>> costs.shape, torch.equal(costs, -costs.mT)
        (torch.Size([3, 1, 7, 7]), True)

    Source: Zhang, Prügel-Bennett & Hare, "Learning Representations of Sets through Optimized Permutations", ICLR 2019,
    section 2.3 and appendix F; the initialisation is that of the authors' code.
    """

    def __init__(self, features: int, hidden: int, channels: int = 1, *, bias_out: bool = False) -> None:
        super().__init__()
        for name, size in (("features", features), ("hidden", hidden), ("channels", channels)):
            _check.positive("PairwiseCost", name, size)
        self.pair = nn.Linear(2 * features, hidden)
        self.cost = nn.Linear(hidden, channels, bias=bias_out)
        for layer in (self.pair, self.cost):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, items: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch channels n n"]:
        """One cost for each channel and pair; row i and column j hold that of item i before item j."""
        first, second = self.pair.weight.chunk(2, -1)
        if items.shape[-1] != first.shape[-1]:
            raise ValueError(
                f"PairwiseCost: `items` must be (batch, n, {first.shape[-1]}), sets of items with as many features as "
                f"`features` said; got {tuple(items.shape)}."
            )
        with torch.autocast(items.device.type, enabled=False):
            items = items.to(first.dtype)
            before = nn.functional.linear(items, first, self.pair.bias)
            found = score_pairs(before, nn.functional.linear(items, second), self.cost.weight)
            if self.cost.bias is not None:
                found = found + self.cost.bias[:, None, None]
            return found - found.mT
