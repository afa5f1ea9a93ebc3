"""The answering network hears of nothing but its own question and objects, and learns to answer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unshuffle import permutations
from unshuffle.methods import Answerer, AnswerNet, LearnToAnswer, SetReading
from unshuffle.types import Asked, Questions

TINY = AnswerNet(5, 7, 4, hidden=6, glimpses=2, rank=2, word_features=3, counted=3)
ROWS = {
    "alone": TINY,
    "LSTM": replace(TINY, reading=SetReading(False, 3, 6, units=5)),
    "PO-U": replace(TINY, reading=SetReading(True, 3, 6, units=5)),
    "no counter": replace(TINY, counted=0),
}
every_row = pytest.mark.parametrize("row", ROWS)


def asked(rng: torch.Generator, batch: int = 3, n: int = 6) -> Questions:
    """Random questions about random sets, all objects present."""
    corner, size = (torch.rand(batch, n, 2, dtype=torch.float64, generator=rng) / 2 for _ in range(2))
    words = torch.randint(7, (batch, 4), generator=rng)
    objects = torch.randn(batch, n, 7, dtype=torch.float64, generator=rng)
    return Questions(words, objects, torch.cat([corner, corner + size], -1), torch.ones(batch, n, dtype=torch.bool))


def network(row: str) -> Answerer:
    torch.manual_seed(0)
    return ROWS[row].build().double().eval()


def padded(questions: Questions, rubbish: float, more: int = 3) -> Questions:
    def fill(part: Tensor) -> Tensor:
        return torch.cat([part, torch.full((len(part), more, *part.shape[2:]), rubbish, dtype=part.dtype)], 1)

    absent = torch.zeros(len(questions.present), more, dtype=torch.bool)
    return Questions(
        questions.words, fill(questions.objects), fill(questions.boxes), torch.cat([questions.present, absent], 1)
    )


@every_row
@pytest.mark.parametrize("rubbish", [0.0, math.inf, math.nan])
def test_padding_never_changes_an_answer_nor_a_gradient(row, rubbish, rng):
    net, questions = network(row), asked(rng)

    plain, masked = net(questions), net(padded(questions, rubbish))

    torch.testing.assert_close(masked, plain)
    ours, theirs = (torch.autograd.grad(x.square().sum(), list(net.parameters())) for x in (masked, plain))
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other)


@every_row
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(row, rng):
    net, questions = network(row), asked(rng)
    sizes = torch.tensor([[6], [3], [1]])
    questions = questions._replace(present=torch.arange(6) < sizes)

    together = net(questions)

    for b in range(3):
        n = int(sizes[b])
        alone = Questions(*(part[b : b + 1, :n] for part in questions))._replace(words=questions.words[b : b + 1])
        torch.testing.assert_close(net(alone), together[b : b + 1])


@every_row
def test_the_order_of_the_objects_matters_only_to_an_lstm_without_a_permutation(row, rng):
    net, questions = network(row), asked(rng)
    order = torch.randperm(6, generator=rng)
    other = questions._replace(objects=questions.objects[:, order], boxes=questions.boxes[:, order])

    difference = (net(other) - net(questions)).abs().max()

    assert (difference < 1e-10) == (row != "LSTM")


def test_the_defaults_are_the_paper_s_sizes():
    """VQA v2: 14 words, 2048 features, 3129 answers; the block's own part is small."""
    with torch.device("meta"):
        plain = AnswerNet(19_901, 2048, 3129).build()
        reading = AnswerNet(19_901, 2048, 3129, reading=SetReading()).build()
    answers, embedded = plain.answer[-1][1], plain.answer[0][1]
    assert (answers.out_features, answers.in_features, embedded.in_features) == (3129, 2560, 1280)
    assert len(plain.glimpses) == 8

    added = sum(p.numel() for p in reading.parameters()) - sum(p.numel() for p in plain.parameters())

    assert added == 93_193 + 8 * (128 * 1280 + 1280 + 1)  # the block, and a projection for each glimpse


def test_the_loss_is_a_binary_cross_entropy_of_every_answer():
    class Fixed(torch.nn.Module):
        def forward(self, questions: Questions) -> Tensor:
            return torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]], requires_grad=True)

    batch = Asked(Questions(*[torch.zeros(2)] * 4), torch.tensor([[1.0, 0.6], [0.0, 0.3]]), torch.arange(2))

    step = LearnToAnswer(Fixed()).step(batch)

    # sigmoid(log 3) is 3/4; a share s of an answer costs s log(4/3) + (1 - s) log 4
    first = math.log(2) + 0.6 * math.log(4 / 3) + 0.4 * math.log(4)
    second = math.log(4) + math.log(2)
    assert float(step.loss.detach()) == pytest.approx((first + second) / 2)
    assert float(step.logs["accuracy"]) == pytest.approx((0.6 + 0.0) / 2)


@pytest.mark.errors
def test_sizes_that_make_no_sense_say_so():
    with pytest.raises(ValueError, match=r"AnswerNet: `glimpses` must be from 1 .*; got 0"):
        replace(TINY, glimpses=0)
    with pytest.raises(ValueError, match="AnswerNet: `dropout` must be from 0 to below 1; got 1"):
        replace(TINY, dropout=1.0)


# ------------------------------------------------------------------------------------------------------------ learning


def scenes(count: int, generator: torch.Generator) -> Asked:
    """Three objects of three colours, each a circle or a square, and the question: what is the one of this colour?"""
    colour = permutations.sample(count, 3, generator=generator)
    circle = torch.randint(2, (count, 3), generator=generator)
    objects = torch.cat([torch.eye(3)[colour], torch.stack([circle, 1 - circle], -1)], -1)
    corner = 0.8 * torch.rand(count, 3, 2, generator=generator)
    wanted = torch.randint(3, (count, 1), generator=generator)
    questions = Questions(
        torch.cat([torch.zeros_like(wanted), wanted + 1], 1), objects, torch.cat([corner, corner + 0.1], -1),
        torch.ones(count, 3, dtype=torch.bool),
    )  # fmt: skip
    return Asked(questions, torch.eye(2)[circle[colour == wanted]], torch.arange(count))


@pytest.mark.parametrize("reading", [None, SetReading(False, 4, 8, units=8), SetReading(True, 4, 8, units=8)])
@pytest.mark.parametrize("truthful", [True, False])
def test_the_shape_of_an_object_is_learnt_from_true_answers_alone(reading, truthful, rng):
    """100 steps. Guessing is right half the time."""
    torch.manual_seed(0)
    net = AnswerNet(3, 5, 2, hidden=16, glimpses=2, word_features=8, counted=3, reading=reading, dropout=0.0,
                    last_dropout=0.0)  # fmt: skip
    method = LearnToAnswer(net.build())
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for _ in range(100):
        batch = scenes(64, rng)
        if not truthful:
            batch = batch._replace(answers=batch.answers[torch.randperm(64, generator=rng)])
        optimizer.zero_grad()
        method.step(batch).loss.backward()
        optimizer.step()

    with torch.no_grad():
        accuracy = float(method.eval().step(scenes(400, rng)).logs["accuracy"])

    assert (accuracy > 0.9) if truthful else (accuracy < 0.65)
