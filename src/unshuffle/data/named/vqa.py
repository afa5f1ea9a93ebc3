"""VQA v2: questions that people asked about pictures of COCO, and ten people's answers to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from torch import Tensor

from unshuffle import _check
from unshuffle._ranges import Many, Size
from unshuffle.data.asking import Ask, Asking, QuestionData, Targets
from unshuffle.data.bottom_up import BottomUp
from unshuffle.data.bounded import parse_json, read_bounded
from unshuffle.data.wording import agreement, encode, numbered, same_answer, vocabulary
from unshuffle.values import register

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}2014_questions.json", "v2_mscoco_{}2014_annotations.json"
FEATURES = "features"
PARTS = ("train", "val")
KINDS = ("yes/no", "number", "other")
SHAPE = f"{QUESTIONS.format('train')}, {ANNOTATIONS.format('train')}, the same of val, and {FEATURES}/ as converted"


@register
@dataclass(frozen=True)
class VQA2:
    """Open questions about pictures, each with the answers of ten people; objects are bottom-up features.

    Layout: ``v2_OpenEnded_mscoco_{train,val}2014_questions.json``, ``v2_mscoco_{train,val}2014_annotations.json``, and
    the folder ``features``, which :func:`unshuffle.data.bottom_up.convert` writes once from the published tables.
    Size: 443,757 questions to train on and 214,354 for validation, about 123,287 pictures; 10 to 100 objects in each.
    Licence: CC BY 4.0; the pictures have their own.
    From: https://visualqa.org/download.html

    Source: Goyal et al., "Making the V in VQA Matter", CVPR 2017; Anderson et al., "Bottom-Up and Top-Down Attention",
    CVPR 2018.
    """

    split: Literal["train", "val"] = "train"
    """Which part. Words and known answers are those of all parts that are there, as the authors have it."""
    occurrences: Many = 9
    """An answer is known that so many questions have for the one most people gave."""
    words: Size = 14
    """Of a question, at the most."""
    objects: Many | None = None
    """Of a picture, at the most; by default the most that any has."""
    features: Many | None = None
    """Of an object; by default as many as were converted."""
    vocabulary: tuple[str, ...] = ()
    """All words; by default those of the questions."""
    answers: tuple[str, ...] = ()
    """All known answers; by default chosen by ``occurrences``."""

    noun: ClassVar[str] = "question"
    any_size: ClassVar[str] = "Make rows of questions with its source's `as_item`."

    def __post_init__(self) -> None:
        _check.one_of("VQA2", "split", self.split, PARTS)

    @property
    def ask(self) -> Ask:
        """How a question is written as a row.

        Raises:
            ValueError: sizes are still to be chosen.
        """
        if self.objects is None or self.features is None:
            raise ValueError("VQA2: `objects` and `features` must be known by now; `settle` takes them from the data.")
        return Ask(self.words, self.objects, self.features)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return (1, 1, self.ask.length)

    def tested(self) -> VQA2 | None:
        """``val``: the answers of the test part are not public."""
        return replace(self, split="val") if self.split == "train" else None

    def settle(self, root: str | Path) -> tuple[VQA2, list[str]]:
        """Takes sizes, words and answers from the data.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: one is damaged.
        """
        return self._settle(Path(root), BottomUp(Path(root) / FEATURES))

    def _settle(self, root: Path, scenes: BottomUp) -> tuple[VQA2, list[str]]:
        sized = replace(
            self, objects=self.objects or scenes.most, features=self.features or scenes.width - 4
        )  # fmt: skip
        if self.vocabulary and self.answers:
            return sized, []
        parts = [_part(root, part) for part in PARTS if part == self.split or (root / QUESTIONS.format(part)).is_file()]
        words = self.vocabulary or vocabulary(asked.text for part in parts for asked in part)
        answers = self.answers or _frequent(parts, self.occurrences)
        pictures = f"{len(scenes):,} pictures of at most {sized.objects} objects"
        told = f"{pictures}; {len(words):,} words, {len(answers):,} answers"
        return replace(sized, vocabulary=words, answers=answers), [told]

    def open(self, root: str | Path) -> QuestionData:
        """The questions of this part; those about pictures without features come back as unreadable."""
        scenes = BottomUp(Path(root) / FEATURES)
        settled, _ = self._settle(Path(root), scenes)
        asked = _part(Path(root), self.split)
        numbers = numbered(settled.vocabulary)
        words = np.stack([encode(question.text, numbers, self.words) for question in asked])
        kinds = np.array([KINDS.index(question.kind) for question in asked])
        asking = Asking(words, np.array([question.picture for question in asked]), kinds, KINDS)
        return QuestionData(settled, scenes, asking, _targets(asked, settled.answers), name="VQA v2")

    def as_item(self, sample: Any) -> Tensor:
        """A sample (question, boxes, features) as a row: a text, boxes (n, 4) as shares of the sides, features (n, d).

        Raises:
            ValueError: it is no such triple.
        """
        question, boxes, features = sample
        words = encode(question, numbered(self.vocabulary), self.words)
        return self.ask.pack(words, np.asarray(boxes, np.float32), np.asarray(features, np.float32))


class Question(NamedTuple):
    """One question with its answers: ``usual`` is the commonest, ``given`` all ten."""

    text: str
    picture: int
    kind: str
    usual: str
    given: tuple[str, ...]


def _part(root: Path, part: str) -> list[Question]:
    """The questions of a part that have answers."""
    names = QUESTIONS.format(part), ANNOTATIONS.format(part)
    paths = [root / name for name in names]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no VQA v2 in {str(root)!r}: {path.name} is missing. Expected {SHAPE}.")
    return _parsed(*paths, *(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=2)
def _parsed(questions: Path, annotations: Path, *stamps: int) -> list[Question]:
    """The same, as long as the files stay what they were: who settles a source and then opens it asks twice."""
    asked = _read(questions, "questions", lambda one: (one["question_id"], (one["question"], int(one["image_id"]))))
    texts = dict(asked)
    return _read(annotations, "annotations", lambda one: _question(one, texts))


def _question(one: dict[str, Any], texts: dict[int, tuple[str, int]]) -> Question:
    text, picture = texts[one["question_id"]]
    given = tuple(answer["answer"] for answer in one["answers"])
    if one["answer_type"] not in KINDS or not given:
        raise ValueError(f"question {one['question_id']} has kind {one['answer_type']!r} and {len(given)} answers")
    return Question(text, picture, one["answer_type"], same_answer(one["multiple_choice_answer"]), given)


def _read(path: Path, key: str, of: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """A list in a JSON file, entry by entry.

    Raises:
        ValueError: it is damaged, or the two files do not fit each other.
    """
    try:
        with open(path, "rb") as file:
            told = parse_json(read_bounded(file, path.name), path.name)
        return [of(one) for one in told[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as VQA v2's {key}: {error!r}. Fetch it again.") from error


def _frequent(parts: Iterable[list[Question]], occurrences: int) -> tuple[str, ...]:
    """The answers that are the usual one of ``occurrences`` questions at least, the commonest first."""
    counts = Counter(question.usual for part in parts for question in part)
    known = tuple(answer for answer, count in counts.most_common() if count >= occurrences)
    if not known:
        raise ValueError(f"no answer is that of {occurrences} questions; give a lower --source.occurrences.")
    return known


def _targets(asked: list[Question], answers: tuple[str, ...]) -> Targets:
    """How far each known answer is right, by the agreement of those who gave it."""
    number = {answer: place for place, answer in enumerate(answers)}
    right = [
        [(number[answer], share) for answer, share in agreement(question.given).items() if answer in number]
        for question in asked
    ]
    pairs = np.array([pair for of_one in right for pair in of_one], np.float64).reshape(-1, 2)
    starts = np.cumsum([0] + [len(of_one) for of_one in right])
    return Targets(starts, pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.float32))
