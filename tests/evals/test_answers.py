"""Answers are counted right by their shares, by kind, beside what is had without looking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unshuffle.data import SortOfClevr
from unshuffle.data.loaders import SkipLog
from unshuffle.data.sort_of_clevr import ANSWERS, COLOURS, QUESTIONS, write
from unshuffle.evals import stamp
from unshuffle.evals.answers import _answered, answer, answer_results
from unshuffle.evals.encoder import Encoder
from unshuffle.types import Questions


class Shapes(nn.Module):
    """Answers every question with the shape of the object that it names: right where that is asked for."""

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.colours = {vocabulary.index(name) + 1: place for place, name in enumerate(COLOURS)}

    def forward(self, questions: Questions) -> Tensor:
        logits = torch.zeros(len(questions.words), len(ANSWERS))
        for row, (words, objects) in enumerate(zip(questions.words.tolist(), questions.objects)):
            (colour,) = [self.colours[word] for word in words if word in self.colours]
            mine = objects[objects[:, colour] == 1][0]
            logits[row, 0 if mine[len(COLOURS)] == 1 else 1] = 1.0
        return logits


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "scenes.npz"
    write(path, images=20, questions=36)
    return SortOfClevr(split="test").open(path)


def shapes(data) -> Encoder:
    return Encoder(Shapes(data.source.vocabulary), data.ask, data.source.item_shape, source=data.source)


def test_the_kind_that_a_network_can_answer_is_all_right_and_those_it_cannot_are_all_wrong(data):
    answered = answer(shapes(data), data, batch_size=50)

    lines = answer_results(answered, QUESTIONS, stamp("scenes", "test", "shapes"), layer="trained", seed=0)
    value = {(r.task, r.layer): r.value for r in lines}
    assert value["answers: shape", "trained"] == 1.0
    assert value["answers: is it on the left", "trained"] == 0.0
    assert value["answers: how many objects have its shape", "trained"] == 0.0
    assert value["answers: all", "trained"] == pytest.approx(np.mean(answered.shares))
    assert {r.n for r in lines if r.task == "answers: shape"} == {24}
    assert {r.n for r in lines if r.task == "answers: all"} == {144}


def test_the_best_constant_answer_is_that_of_each_kind():
    answers = np.array([[1, 0.3, 0], [0, 1, 0], [0, 0.6, 1], [0, 0, 1.0]])

    found = _answered(np.array([3, 2, 1, 0]), np.array([0, 0, 2, 2]), answers, np.array([1, 0, 0, 0]))

    # rows are questions 3, 2, 1, 0, of kinds 0, 0, 0, 1
    assert found.kinds.tolist() == [0, 0, 0, 1]
    assert found.shares.tolist() == [1, 0, 1, 1]
    assert found.constant.tolist() == [0.3, 1, 0.6, 1]


def test_what_cannot_be_read_is_left_out(data):
    scenes, data.scenes = data.scenes, {int(p): data.scenes[int(p)] for p in set(data.asking.pictures) - {16}}
    skipped = SkipLog()

    answered = answer(shapes(data), data, skipped=skipped)

    data.scenes = scenes
    assert len(answered.index) == 144 - 36
    assert len(skipped.reasons) == 36
    assert 16 not in data.asking.pictures[answered.index]


@pytest.mark.errors
def test_other_answers_than_those_of_training_are_refused(data):
    encoder = shapes(data)
    other = SortOfClevr(vocabulary=data.source.vocabulary, answers=("yes", "no"))

    with pytest.raises(ValueError, match="the network knows 2 answers, not the 10 of the data"):
        answer(Encoder(encoder.net, data.ask, encoder.item_shape, source=other), data)
