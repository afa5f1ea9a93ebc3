"""Recipes of answering questions about pictures: bilinear attention, with and without a learnt order of the objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from unshuffle._ranges import Epochs, Few, FractionBelowOne, MaybeFew, Minibatch, Seed, Size
from unshuffle.data.named.vqa import VQA2
from unshuffle.data.sort_of_clevr import SortOfClevr
from unshuffle.data.wording import read_vectors
from unshuffle.methods.answering import AnswerNet, LearnToAnswer
from unshuffle.methods.set_reader import SetReading
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, Adamax, AdamW
from unshuffle.values import register


@register
@dataclass(frozen=True)
class AnswerRecipe:
    """Everything that decides what is learned from questions."""

    source: VQA2 | SortOfClevr = VQA2()
    """Where questions and pictures come from."""
    reading: SetReading | None = None
    """How the objects are read as a sequence; None: they are not."""
    hidden: Size = 1280
    """Width of the model, and length of an embedding."""
    glimpses: Few = 8
    """Attention maps."""
    rank: Few = 3
    """Products behind an attention logit, in widths of the model."""
    word_features: Size = 300
    """Length of a word's vector."""
    vectors: str | None = None
    """Text file of word vectors to begin with, as GloVe is distributed; by default they begin at random."""
    counted: MaybeFew = 10
    """Largest count of the counting module; 0: without one."""
    dropout: FractionBelowOne = 0.2
    """Before the projections of objects and words."""
    last_dropout: FractionBelowOne = 0.5
    """Of the attention's products and before the answers."""
    optim: Adamax | AdamW | Adam = Adamax()
    """How the weights move."""
    batch_size: Minibatch = 112
    """Questions in a step, over all processes."""
    epochs: Epochs = 13
    """Passes over the data."""
    holdout: FractionBelowOne = 0.0
    """Share of the questions kept out of training; the data sets have parts of their own for testing."""
    seed: Seed = 0
    """Of everything."""

    def settle(self, root: str | Path) -> tuple[AnswerRecipe, list[str]]:
        """Takes words, answers and sizes from the data; lines tell what was found."""
        source, told = self.source.settle(root)
        return replace(self, source=source), told

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for rows of this shape; ``net`` is an answering network of one's own.

        Raises:
            ValueError: the source's words and answers are not known yet, or ``vectors`` does not fit.
        """
        source = self.source
        if not source.vocabulary or not source.answers:
            raise ValueError("AnswerRecipe: words and answers are not known; call `settle` with the data first.")
        value = AnswerNet(
            len(source.vocabulary), source.ask.features, len(source.answers), hidden=self.hidden,
            glimpses=self.glimpses, rank=self.rank, word_features=self.word_features, counted=self.counted,
            reading=self.reading, dropout=self.dropout, last_dropout=self.last_dropout,
        )  # fmt: skip
        if net is not None:
            return Plan(LearnToAnswer(net), source.ask, net, None, None)
        answerer = value.build()
        if self.vectors is not None:
            vectors, known = read_vectors(self.vectors, source.vocabulary, self.word_features)
            answerer.question.begin_with(torch.from_numpy(vectors), torch.from_numpy(known))
        return Plan(LearnToAnswer(answerer), source.ask, answerer, value, None)


def vqa2_ban() -> AnswerRecipe:
    """Bilinear attention with 8 glimpses and the counting module on VQA v2: the baseline of Table 3.

    Paper: Table 3 (validation, mean of 10 runs): overall 65.96 ± 0.16, yes/no 83.34, number 49.24, other 57.17.
    Ours:  not yet run; it needs the bottom-up features and a GPU. Their code needs 64 GB of memory and 4000 s an epoch
           on four Titan XP; features here stay on the disk.
    Run:   unshuffle train vqa2_ban --data vqa2/ --out runs/vqa2_ban --device cuda --vectors glove.6B.300d.txt
    """
    return AnswerRecipe()


def vqa2_ban_lstm() -> AnswerRecipe:
    """As ``vqa2_ban``, with an LSTM over the objects as they come, without a permutation ("BAN + LSTM").

    Paper: Table 3: overall 66.06 ± 0.13, yes/no 83.29, number 49.64, other 57.30.
    """
    return replace(vqa2_ban(), reading=SetReading(permute=False))


def vqa2_ban_po_u() -> AnswerRecipe:
    """As ``vqa2_ban``, with an LSTM over the objects in a learnt order ("BAN + PO-U").

    Paper: Table 3: overall 66.33 ± 0.09, yes/no 83.50, number 50.42, other 57.48; 30 % more time.
    """
    return replace(vqa2_ban(), reading=SetReading())


def clevr_ban() -> AnswerRecipe:
    """Bilinear attention with 2 glimpses and the counting module on sort-of-CLEVR questions: minutes on one core.

    The baseline that the paper's two other rows are held against, where VQA v2 is out of reach.

    Paper: no number: it has VQA v2 alone.
    Ours:  docs/guides/questions.md, with the two other rows.
    Run:   unshuffle train clevr_ban --data scenes.npz --out runs/clevr_ban
    """
    return AnswerRecipe(
        source=SortOfClevr(), hidden=64, glimpses=2, word_features=32, counted=6, dropout=0.0, last_dropout=0.0,
        optim=Adamax(lr=5e-3), batch_size=128, epochs=8,
    )  # fmt: skip


def clevr_ban_lstm() -> AnswerRecipe:
    """As ``clevr_ban``, with an LSTM over the objects as they come."""
    return replace(clevr_ban(), reading=SetReading(permute=False, compared=32, units=32))


def clevr_ban_po_u() -> AnswerRecipe:
    """As ``clevr_ban``, with an LSTM over the objects in a learnt order."""
    return replace(clevr_ban(), reading=SetReading(compared=32, units=32))
