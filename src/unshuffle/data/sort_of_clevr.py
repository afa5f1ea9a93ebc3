"""Sort-of-CLEVR: six objects of six colours, and questions about one of them, or about how it stands to the others.

A file ``.npz`` holds ``objects`` (N, 6, 5): x, y, size, all as shares of the picture's side, whether it is a circle,
and the number of its colour; and of each question ``q_image``, ``q_colour``, ``q_type``, ``answer`` and ``split``; with
the names of ``colours``, ``questions`` and ``answers``. Pictures may lie in it too: they are not read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from unshuffle import _check
from unshuffle._files import write_atomically
from unshuffle._ranges import Size
from unshuffle.data.asking import Ask, Asking, QuestionData, Targets
from unshuffle.data.bounded import read_npz
from unshuffle.data.wording import encode, numbered, vocabulary
from unshuffle.values import register

COLOURS = ("red", "green", "blue", "orange", "grey", "yellow")
QUESTIONS = (
    "shape",
    "is it on the left",
    "is it in the upper half",
    "shape of the closest object",
    "shape of the furthest object",
    "how many objects have its shape",
)
RELATIONAL = QUESTIONS[3:]
ANSWERS = ("circle", "square", "yes", "no", "1", "2", "3", "4", "5", "6")
RADIUS = 5 / 75
APART = 2.4 * RADIUS
"""No two centres are nearer."""
_ARRAYS = ("objects", "q_image", "q_colour", "q_type", "answer", "split", "colours", "questions", "answers")


@register
@dataclass(frozen=True)
class SortOfClevr:
    """Questions about drawn objects, from a file ``.npz``; :func:`write` makes one.

    Source: Santoro et al., "A simple neural network module for relational reasoning", NeurIPS 2017, section 4.3.
    """

    split: Literal["train", "test"] = "train"
    """Which part; no picture is in both."""
    words: Size = 8
    """Of a question, at the most."""
    vocabulary: tuple[str, ...] = ()
    """All words; by default those of the file."""
    answers: tuple[str, ...] = ()
    """All answers; by default those of the file."""

    noun: ClassVar[str] = "question"
    any_size: ClassVar[str] = "Make rows of questions with its source's `as_item`."

    def __post_init__(self) -> None:
        _check.one_of("SortOfClevr", "split", self.split, ("train", "test"))

    @property
    def ask(self) -> Ask:
        """How a question is written as a row: six objects with their colour, shape, size and place."""
        return Ask(self.words, len(COLOURS), len(COLOURS) + 5)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return (1, 1, self.ask.length)

    def tested(self) -> SortOfClevr | None:
        """The part to test on what was learned from this one."""
        return replace(self, split="test") if self.split == "train" else None

    def settle(self, root: str | Path) -> tuple[SortOfClevr, list[str]]:
        """Takes words and answers from the file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is none of these.
        """
        return self._settle(_read(root))

    def _settle(self, arrays: dict[str, np.ndarray]) -> tuple[SortOfClevr, list[str]]:
        if self.vocabulary and self.answers:
            return self, []
        words = vocabulary(_text(arrays, c, q) for c in range(len(COLOURS)) for q in range(len(arrays["questions"])))
        settled = replace(self, vocabulary=words, answers=tuple(arrays["answers"].tolist()))
        return settled, [f"{len(settled.vocabulary)} words, {len(settled.answers)} answers"]

    def open(self, root: str | Path) -> QuestionData:
        """The questions of this part.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is none of these, has no question of this part, or an answer that is not in ``answers``.
        """
        arrays = _read(root)
        settled, _ = self._settle(arrays)
        mine = np.flatnonzero(arrays["split"] == self.split)
        if not len(mine):
            raise ValueError(f"{str(root)!r} holds no question of {self.split!r}.")
        numbers = numbered(settled.vocabulary)
        pairs = zip(arrays["q_colour"][mine].tolist(), arrays["q_type"][mine].tolist())
        words = np.stack([encode(_text(arrays, colour, kind), numbers, self.words) for colour, kind in pairs])
        asking = Asking(
            words, arrays["q_image"][mine], arrays["q_type"][mine], tuple(arrays["questions"].tolist())
        )  # fmt: skip
        answers = _by_name(arrays["answers"].tolist(), settled.answers, arrays["answer"][mine], root)
        right = Targets(np.arange(len(mine) + 1), answers, np.ones(len(mine), np.float32))
        return QuestionData(settled, _Drawn(arrays["objects"]), asking, right, name=Path(root).stem)

    def as_item(self, sample: Any) -> Tensor:
        """A sample (question, objects) as a row: a text such as "red: shape", and objects (n, 5) as in the file.

        Raises:
            ValueError: it is no such pair.
        """
        question, objects = sample
        words = encode(question, numbered(self.vocabulary), self.words)
        return self.ask.pack(words, *_seen(np.asarray(objects, np.float32)))


class _Drawn:
    """Pictures as the file describes them."""

    def __init__(self, objects: np.ndarray) -> None:
        self.objects = objects

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        return _seen(self.objects[place])


def _seen(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4), and features (n, 11): colour, circle or square, size, and where the centre is.

    The place is a feature, too, as attention sees no boxes: what knows them should win nothing by that alone.
    """
    centre, size, circle, colour = objects[:, :2], objects[:, 2:3], objects[:, 3:4], objects[:, 4].astype(int)
    boxes = np.concatenate([centre - size, centre + size], 1)
    return boxes, np.concatenate([np.eye(len(COLOURS), dtype=np.float32)[colour], circle, 1 - circle, size, centre], 1)


def _by_name(names: list[str], known: tuple[str, ...], given: np.ndarray, root: str | Path) -> np.ndarray:
    """The numbers of answers among the known ones, which another file may list in another order."""
    numbers = {name: number for number, name in enumerate(known)}
    if unknown := sorted({names[number] for number in np.unique(given)} - numbers.keys()):
        raise ValueError(
            f"{str(root)!r}: the answer {unknown[0]!r} is none that was learnt ({', '.join(known)}); {len(unknown)} "
            "answers are unknown. Give a file with the answers of the training data."
        )
    return np.array([numbers.get(name, -1) for name in names])[given]


def _text(arrays: dict[str, np.ndarray], colour: int, kind: int) -> str:
    return f"{arrays['colours'][colour]}: {arrays['questions'][kind]}"


def _read(root: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    try:
        with open(root, "rb") as file:
            arrays = read_npz(file, _ARRAYS)
    except (ValueError, IsADirectoryError) as error:
        raise ValueError(f"{str(root)!r} is no file of sort-of-CLEVR questions (.npz): {error}.") from error
    objects, images = arrays["objects"], arrays["q_image"]
    within = len(images) == 0 or 0 <= images.min() <= images.max() < len(objects)
    if objects.ndim != 3 or objects.shape[1:] != (6, 5) or not within:
        given = f"{objects.shape} and places up to {images.max(initial=-1)}"
        raise ValueError(f"{str(root)!r}: `objects` must be (N, 6, 5), and `q_image` places in it; got {given}.")
    if arrays["split"].shape != images.shape:
        raise ValueError(f"{str(root)!r}: `split` must be {images.shape}; got {arrays['split'].shape}.")
    for numbers, names in (("q_colour", "colours"), ("q_type", "questions"), ("answer", "answers")):
        _refuse_beyond(root, numbers, arrays[numbers], names, len(arrays[names]), len(images))
    return arrays


def _refuse_beyond(root: str | Path, field: str, given: np.ndarray, names: str, count: int, questions: int) -> None:
    """Refuses numbers of which one names nothing, or of which there is not one a question."""
    whole = given.dtype.kind in "iu" and given.shape == (questions,)
    if not whole or (questions and not 0 <= given.min() <= given.max() < count):
        told = f"{given.min()} to {given.max()}" if whole else f"{given.dtype} {given.shape}"
        raise ValueError(
            f"{str(root)!r}: `{field}` must hold an integer from 0 to {count - 1}, an index into `{names}`, for each "
            f"of {questions} questions; got {told}."
        )


# ------------------------------------------------------------------------------------------------------------ drawing


def write(
    path: str | Path, *, images: int = 1000, questions: int = 12, test_fraction: float = 0.2, seed: int = 0
) -> None:
    """Draws scenes and questions into a file.

    Args:
        path: an ``.npz``.
        images: how many scenes.
        questions: about each, from 1 to 36: all are of different colour or kind.
        test_fraction: share of the scenes, the last ones, that is for testing.
        seed: of all draws.

    Example:
        ``write("scenes.npz", images=10_000)``
    """
    rng = np.random.default_rng(seed)
    objects, asked = [], []
    for image in range(images):
        centres, circle = _scene(rng)
        shuffled = rng.permutation(6)
        described = np.column_stack([centres, np.full(6, RADIUS), circle, np.arange(6)])
        objects.append(described[shuffled])
        for pair in rng.permutation(36)[:questions].tolist():
            colour, kind = divmod(pair, 6)
            asked.append((image, colour, kind, ANSWERS.index(_answer(centres, circle, colour, kind))))
    q_image, q_colour, q_type, answer = np.array(asked).T
    split = np.where(q_image >= round(images * (1 - test_fraction)), "test", "train")
    arrays = {
        "objects": np.stack(objects).astype(np.float32), "q_image": q_image, "q_colour": q_colour, "q_type": q_type,
        "answer": answer, "split": split, "colours": np.array(COLOURS), "questions": np.array(QUESTIONS),
        "answers": np.array(ANSWERS),
    }  # fmt: skip
    write_atomically(Path(path), partial(np.savez_compressed, **arrays))


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres (6, 2) of objects that do not touch, and which are circles, (6,)."""
    centres: list[np.ndarray] = []
    while len(centres) < 6:
        tried = rng.uniform(RADIUS, 1 - RADIUS, 2)
        if all(np.hypot(*(tried - other)) > APART for other in centres):
            centres.append(tried)
    return np.array(centres), rng.integers(0, 2, 6)


def _answer(centres: np.ndarray, circle: np.ndarray, colour: int, kind: int) -> str:
    """The answer to question ``kind`` about the object of a colour."""
    shapes = ["circle" if c else "square" for c in circle]
    distance = np.hypot(*(centres - centres[colour]).T)
    if kind in (1, 2):
        return "yes" if centres[colour, kind - 1] < 0.5 else "no"
    if kind == 5:
        return str(shapes.count(shapes[colour]))
    others = np.where(np.arange(6) == colour, np.inf, distance)
    return shapes[{0: colour, 3: int(others.argmin()), 4: int(distance.argmax())}[kind]]
