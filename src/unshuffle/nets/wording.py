"""Questions as vectors, one for each word."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class QuestionEncoder(nn.Module):
    """Word vectors, and a GRU over them: (B, w) numbers of words to (B, w, hidden), the GRU's state after each word.

    Questions are filled up in front, with zero vectors, so that the last state has read the whole question.

    Args:
        vocabulary: how many words are known; they are numbered from 1, and ``vocabulary + 1`` is any other.
        features: length of a word's vector.
        hidden: units of the GRU.
        dropout: of the word vectors.

    Source: Kim, Jun & Zhang, "Bilinear Attention Networks", NeurIPS 2018 (question embedding).
    """

    def __init__(self, vocabulary: int, features: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary + 2, features, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.GRU(features, hidden, batch_first=True)

    def forward(self, words: Int[Tensor, "batch w"]) -> Float[Tensor, "batch w hidden"]:
        """The states after each word."""
        return self.read(self.dropout(self.vectors(words)))[0]

    @torch.no_grad()
    def begin_with(self, vectors: Float[Tensor, "vocabulary features"], known: Tensor) -> None:
        """Sets the vectors of the words that are ``known``, (vocabulary,) bool; the others keep theirs."""
        self.vectors.weight[1:-1][known] = vectors[known].to(self.vectors.weight)
