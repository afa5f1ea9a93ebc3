"""Questions about sets of objects as samples: one row of numbers each, so that loaders need to know nothing of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle._check import Explained
from unshuffle._ranges import Many
from unshuffle.data.files import reason
from unshuffle.data.loaders import Unreadable
from unshuffle.types import Asked, Questions, Raw
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Ask:
    """Writes a question and a set of objects as one row (1, 1, length), and reads batches of rows again.

    A row holds the number of objects, the words' numbers, the boxes and the features; what is missing to the largest
    set is filled up with zeros.
    """

    words: Many
    """Of a question, at the most; shorter ones are filled up in front."""
    objects: Many
    """Of a picture, at the most."""
    features: Many
    """Of an object, beside the four numbers of its box."""

    @property
    def length(self) -> int:
        """Numbers in a row."""
        return 1 + self.words + self.objects * (4 + self.features)

    def pack(self, words: np.ndarray, boxes: np.ndarray, objects: np.ndarray) -> Tensor:
        """One sample as a row.

        Args:
            words: (words,) numbers.
            boxes: (n, 4) left, top, right, bottom as shares of the picture's sides.
            objects: (n, features).

        Raises:
            ValueError: there is no object or there are too many, sizes do not fit, or a number is not finite.
        """
        n = len(boxes)
        if not 1 <= n <= self.objects:
            raise ValueError(f"{n} objects; there must be 1 to {self.objects}")
        if words.shape != (self.words,) or boxes.shape != (n, 4) or objects.shape != (n, self.features):
            raise ValueError(
                f"words {words.shape}, boxes {boxes.shape} and features {objects.shape} are not ({self.words},), "
                f"(n, 4) and (n, {self.features})"
            )
        row = np.zeros(self.length, np.float32)
        row[0], at = n, 1 + self.words
        row[1:at] = words
        row[at : at + 4 * n] = boxes.ravel()
        at += 4 * self.objects
        row[at : at + n * self.features] = objects.ravel()
        if not np.isfinite(row).all():
            raise ValueError("it holds NaN or infinite values")
        return torch.from_numpy(row).reshape(1, 1, -1)

    def prepare(self, items: Float[Tensor, "batch 1 1 length"]) -> Questions:
        """A batch of rows as questions."""
        count, words, boxes, objects = items.flatten(1).split(
            [1, self.words, 4 * self.objects, self.features * self.objects], dim=1
        )
        present = torch.arange(self.objects, device=items.device) < count
        shape = (len(items), self.objects, -1)
        return Questions(words.long(), objects.reshape(shape), boxes.reshape(shape), present)

    def __call__(self, raw: Raw, generator: torch.Generator) -> Asked:
        """A batch of rows with their answers; nothing is drawn.

        Raises:
            ValueError: the samples carry no answers.
        """
        if raw.label is None:
            raise ValueError("Ask: the samples carry no answers to learn from; give (row, answers) pairs.")
        return Asked(self.prepare(raw.items), raw.label.float(), raw.index)


@runtime_checkable
class Scenes(Protocol):
    """Pictures as sets of objects."""

    def __getitem__(self, place: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4), as shares of the picture's sides, and features (n, d) of one picture."""
        ...


class Targets(NamedTuple):
    """How far each answer is right, for many questions: those of question i are entries ``starts[i] : starts[i + 1]``.

    Only answers that are right at all are listed; ``answers`` are their numbers.
    """

    starts: np.ndarray
    answers: np.ndarray
    shares: np.ndarray

    def dense(self, question: int, size: int) -> Tensor:
        """One question's as a vector (size,)."""
        target = torch.zeros(size)
        part = slice(self.starts[question], self.starts[question + 1])
        target[torch.from_numpy(self.answers[part])] = torch.from_numpy(self.shares[part])
        return target


class Asking(NamedTuple):
    """The questions of a data set: words (Q, w), which picture each is about (Q,), and what kind it is, (Q,).

    ``kinds`` holds places in ``kind_names``.
    """

    words: np.ndarray
    pictures: np.ndarray
    kinds: np.ndarray
    kind_names: tuple[str, ...]


class QuestionData(Dataset):
    """Questions as (row, answers) samples: what cannot be a row comes back as :class:`Unreadable`.

    Args:
        source: the frozen value that read them; its ``ask`` is the layout of a row, and an encoder keeps it.
        scenes: the pictures.
        asking: the questions.
        targets: their answers.
        name: what tables call the data set.
    """

    def __init__(self, source: Any, scenes: Scenes, asking: Asking, targets: Targets, *, name: str) -> None:
        self.source, self.scenes, self.asking, self.targets, self.name = source, scenes, asking, targets, name
        self.ask: Ask = source.ask
        self.answers: Sequence[str] = source.answers

    def __len__(self) -> int:
        return len(self.asking.words)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | Unreadable:
        try:
            boxes, objects = self.scenes[int(self.asking.pictures[index])]
            row = self.ask.pack(self.asking.words[index], boxes, objects)
        except Explained:
            raise
        except Exception as error:  # a damaged file of features leads to anything
            return Unreadable(f"question {index}", reason(error))
        return row, self.targets.dense(index, len(self.answers))
