"""Answering questions about pictures by bilinear attention, with or without a learnt order of the objects.

The model is that of Kim et al. (2018): attention maps over pairs of an object and a word, what each of them looks at
added to the question in turn, how many objects it looks at counted. A :class:`SetReader` may add, for each map, what
an LSTM reads in the objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unshuffle import _dist
from unshuffle._ranges import Count, Few, FractionBelowOne, MaybeFew, Size
from unshuffle.methods.set_reader import SetReading
from unshuffle.nets.bilinear import BilinearAttention, BilinearPool, attend, dense
from unshuffle.nets.counting import Counter
from unshuffle.nets.wording import QuestionEncoder
from unshuffle.types import Asked, Questions, Step
from unshuffle.values import register


@register
@dataclass(frozen=True)
class AnswerNet:
    """Describes an :class:`Answerer`: enough to build it again."""

    vocabulary: Count
    """Known words."""
    features: Count
    """Of an object."""
    answers: Count
    """Known answers."""
    hidden: Size = 1280
    """Width of the model: units of the GRU, products of a glimpse, length of an embedding."""
    glimpses: Few = 8
    """Attention maps."""
    rank: Few = 3
    """Products behind an attention logit, in widths of the model."""
    word_features: Size = 300
    """Length of a word's vector."""
    counted: MaybeFew = 10
    """Largest count of the counting module; 0: without one."""
    reading: SetReading | None = None
    """How the objects are read as a sequence; None: they are not."""
    dropout: FractionBelowOne = 0.2
    """Before the projections of objects and words."""
    last_dropout: FractionBelowOne = 0.5
    """Of the attention's products and before the answers."""

    def build(self) -> Answerer:
        """The network, with fresh weights."""
        return Answerer(self)


class Answerer(nn.Module):
    """A bilinear attention network: questions and sets of objects to a logit for each answer.

    Args:
        shape: sizes, and which modules stand around the attention.

    Source: Kim, Jun & Zhang, "Bilinear Attention Networks", NeurIPS 2018; counts: Zhang et al., ICLR 2018; reading:
    Zhang et al., ICLR 2019, section 4.4. As in the first's code, the words' padding takes part.
    """

    def __init__(self, shape: AnswerNet) -> None:
        super().__init__()
        width, dropout = shape.hidden, shape.dropout
        self.question = QuestionEncoder(shape.vocabulary, shape.word_features, width)
        self.attention = BilinearAttention(
            shape.features, width, hidden=shape.rank * width, glimpses=shape.glimpses,
            dropout=(dropout, shape.last_dropout),
        )  # fmt: skip
        self.counter = Counter(shape.counted) if shape.counted else None
        self.reader = None if shape.reading is None else shape.reading.build(shape.features)
        self.glimpses = nn.ModuleList(_Glimpse(shape) for _ in range(shape.glimpses))
        self.answer = nn.Sequential(
            dense(width, 2 * width), dense(2 * width, shape.answers, dropout=shape.last_dropout, relu=False)
        )

    def forward(self, questions: Questions) -> Float[Tensor, "batch answers"]:
        """The logits of all answers."""
        return self.answer(self.embed(questions))

    def embed(self, questions: Questions) -> Float[Tensor, "batch hidden"]:
        """What the answer is read from: the question, with all that was seen and counted added to it."""
        present = questions.present
        objects = torch.where(present.unsqueeze(-1), questions.objects, 0.0)
        words = self.question(questions.words)
        logits = self.attention(objects, words)
        attention = attend(logits, present)
        beside = self._beside(objects, questions.boxes, logits.amax(-1), present)
        for place, glimpse in enumerate(self.glimpses):
            words = glimpse(objects, words, attention[:, place], [part[:, place] for part in beside])
        return words.sum(1)

    def _beside(self, objects: Tensor, boxes: Tensor, logits: Tensor, present: Tensor) -> list[Tensor]:
        """What the modules beside the attention make of its logits (B, g, n): (B, g, ...) each."""
        found = []
        if self.counter is not None:
            glimpses = logits.shape[1]
            repeated = (part.repeat_interleave(glimpses, 0) for part in (boxes, present))
            found.append(self.counter(logits.flatten(0, 1), *repeated).unflatten(0, (-1, glimpses)))
        if self.reader is not None:
            found.append(self.reader(objects, boxes, logits, present))
        return found


class _Glimpse(nn.Module):
    """One step: what one attention map looks at, and what the modules beside it say, added to every word."""

    def __init__(self, shape: AnswerNet) -> None:
        super().__init__()
        width, dropout = shape.hidden, shape.dropout
        self.pool = BilinearPool(shape.features, width, width, dropout=dropout)
        self.see = dense(width, width, dropout=dropout, relu=False)
        sizes = [shape.counted + 1] * bool(shape.counted) + ([] if shape.reading is None else [shape.reading.units])
        self.beside = nn.ModuleList(dense(size, width) for size in sizes)

    def forward(self, objects: Tensor, words: Tensor, attention: Tensor, beside: list[Tensor]) -> Tensor:
        """(B, w, hidden), the words as this glimpse leaves them."""
        added = self.see(self.pool(objects, words, attention))
        for layer, part in zip(self.beside, beside, strict=True):
            added = added + layer(part)
        return words + added.unsqueeze(1)


class LearnToAnswer(nn.Module):
    """Learns how far each answer is right, from questions about sets of objects.

    Args:
        net: an :class:`Answerer`, or any module from questions to logits with ``embed``.

    Source: Kim, Jun & Zhang 2018; the loss is a binary cross-entropy an answer, as Teney et al. (2018) have it.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def step(self, batch: Asked) -> Step:
        """The loss of one batch, and how far its best answers are right, on average."""
        logits = self.net(batch.questions).float()
        each = nn.functional.binary_cross_entropy_with_logits(logits, batch.answers, reduction="none")
        loss = _dist.global_mean(each.sum(-1))
        right = batch.answers.gather(1, logits.argmax(-1, keepdim=True))
        return Step(loss, {"loss": loss.detach(), "accuracy": right.mean()})

    def embed(self, questions: Questions) -> Tensor:
        """(B, hidden)."""
        return self.net.embed(questions)  # type: ignore[operator]
