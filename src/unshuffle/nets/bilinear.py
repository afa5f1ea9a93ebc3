"""Bilinear attention between the objects of a picture and the words of a question.

Every pair of an object and a word gets a weight, in one distribution over all pairs; what is attended to is the sum of
products of their features, weighted so. No feature of a pair is ever stored: memory is that of the weights.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


def dense(inputs: int, outputs: int, *, dropout: float = 0.0, relu: bool = True) -> nn.Sequential:
    """Dropout, a linear layer whose weights are a direction and one length (weight normalisation), and a ReLU."""
    linear = cast(nn.Module, weight_norm(nn.Linear(inputs, outputs), dim=-1))
    return nn.Sequential(nn.Dropout(dropout), linear, nn.ReLU() if relu else nn.Identity())


class BilinearAttention(nn.Module):
    r"""Attention maps over pairs of an object and a word, one for each glimpse.

    .. math:: L^g_{ij} = \sum_k h_{gk} \, \mathrm{relu}(U x_i)_k \, \mathrm{relu}(V q_j)_k + b_g

    Args:
        objects: features of an object.
        words: features of a word.
        hidden: number of products, 3 times the model's width in the paper.
        glimpses: how many maps.
        dropout: before the two projections, and of the objects' projections.

    Source: Kim, Jun & Zhang, "Bilinear Attention Networks", NeurIPS 2018, section 3 (bilinear attention map).
    """

    def __init__(
        self, objects: int, words: int, *, hidden: int, glimpses: int, dropout: tuple[float, float] = (0.2, 0.5)
    ) -> None:
        super().__init__()
        self.object = dense(objects, hidden, dropout=dropout[0])
        self.word = dense(words, hidden, dropout=dropout[0])
        self.dropout = nn.Dropout(dropout[1])
        self.glimpses = cast(nn.Linear, weight_norm(nn.Linear(hidden, glimpses), dim=-1))

    def forward(
        self, objects: Float[Tensor, "batch n d"], words: Float[Tensor, "batch w q"]
    ) -> Float[Tensor, "batch g n w"]:
        """The logits of all maps, (B, glimpses, n, w)."""
        weight, bias = self.glimpses.weight, cast(Tensor, self.glimpses.bias)
        # The glimpses' weights go to the words: a question has fewer words than a picture has objects.
        weighted = (self.word(words).unsqueeze(1) * weight.unsqueeze(1)).flatten(1, 2)
        logits = self.dropout(self.object(objects)) @ weighted.mT
        shape = (len(objects), objects.shape[1], len(weight), words.shape[1])
        return logits.reshape(shape).transpose(1, 2) + bias.reshape(-1, 1, 1)


class BilinearPool(nn.Module):
    r"""What one attention map looks at: :math:`y_k = \sum_{ij} A_{ij} \, (U x_i)_k \, (V q_j)_k`, after ReLUs.

    Args:
        objects: features of an object.
        words: features of a word.
        outputs: features of the answer.
        dropout: before the two projections.

    Source: Kim, Jun & Zhang 2018, section 3.
    """

    def __init__(self, objects: int, words: int, outputs: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.object = dense(objects, outputs, dropout=dropout)
        self.word = dense(words, outputs, dropout=dropout)

    def forward(
        self,
        objects: Float[Tensor, "batch n d"],
        words: Float[Tensor, "batch w q"],
        attention: Float[Tensor, "batch n w"],
    ) -> Float[Tensor, "batch outputs"]:
        """(B, outputs)."""
        return ((attention.mT @ self.object(objects)) * self.word(words)).sum(1)


def attend(logits: Float[Tensor, "batch g n w"], present: Bool[Tensor, "batch n"]) -> Float[Tensor, "batch g n w"]:
    """Softmax over all pairs of an object and a word; padded objects get 0, and all do where there is no object."""
    there = present[:, None, :, None]
    shares = torch.where(there, logits, -math.inf).flatten(2)
    shares = torch.where(present.any(-1)[:, None, None], shares, 0.0).softmax(-1)
    return torch.where(there, shares.reshape(logits.shape), 0.0)
