"""The nouns that flow from floor to floor.

Loaders yield :class:`Raw`; a transform of :mod:`unshuffle.data` makes :class:`Shuffled`, :class:`Views`, :class:`Sets`
or :class:`Asked` of it; a method's ``step`` makes a :class:`Step` of those; an evaluation writes :class:`Result` and
:class:`Figure` lines into a run's ``results.jsonl``, and the report reads nothing else. Every batch carries ``index``,
the place of its samples in their data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Raw(NamedTuple):
    """A batch as the loader read it, before any transform.

    ``items`` is (B, ...): uint8 pixels (B, C, H, W) for images. ``index`` is (B,) int64. ``label`` is (B,), or None
    where the data has none.
    """

    items: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    label: Tensor | None = None


class Shuffled(NamedTuple):
    """Samples cut into n patches and shuffled: ``patches[:, i] = original[:, perm[i]]``.

    ``patches`` is (B, n, ...) float; ``ranks`` is (B, n) float, ``perm + 1``: where the content of slot i belongs,
    counted from 1. ``index`` is (B,). ``label`` is that of the whole sample, or None where the data has none.
    """

    patches: Tensor
    ranks: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    label: Tensor | None = None


class Sets(NamedTuple):
    """Sets of n items of which the order is known.

    ``items`` is (B, n, ...) float; ``ranks`` is (B, n) float, ascending from 1, tied items sharing the average rank;
    ``index`` is (B, n).
    """

    items: Tensor
    ranks: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)


class Views(NamedTuple):
    """Several random views of each image: ``views[v]`` is (B, C, h_v, w_v) float, normalised.

    Views of one size stand next to each other, the large, global ones first. ``index`` is (B,). ``label`` is that of
    the image, or None where the data has none.
    """

    views: tuple[Tensor, ...]
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    label: Tensor | None = None


class Questions(NamedTuple):
    """Questions about pictures, each a set of objects: ``words`` (B, w) int64, numbers of a vocabulary, 0 for padding.

    ``objects`` is (B, n, d), features of each object; ``boxes`` is (B, n, 4), left, top, right and bottom as shares of
    the picture's sides; ``present`` is (B, n), False for what only fills up the smaller sets of a batch.
    """

    words: Tensor
    objects: Tensor
    boxes: Tensor
    present: Tensor

    def to(self, like: Tensor) -> Questions:
        """On the device of ``like``, and real numbers in its precision."""
        words, present = self.words.to(like.device), self.present.to(like.device)
        return Questions(words, self.objects.to(like), self.boxes.to(like), present)


class Asked(NamedTuple):
    """A batch of questions with their answers: ``answers`` is (B, a), how far each known answer is right, 0 to 1.

    ``index`` is (B,).
    """

    questions: Questions
    answers: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)


class Step(NamedTuple):
    """What one training step returns: a scalar ``loss`` with a gradient, and detached scalars worth logging."""

    loss: Tensor
    logs: dict[str, Tensor]


class Result(NamedTuple):
    """One measured number, with all that is needed to measure it again.

    ``n`` is the number of labelled (or scored) samples behind it, ``layer`` names the representation (``raw``,
    ``random``, ``pretrained``, …), ``split`` the part of ``data`` on which it was measured.
    """

    task: str
    metric: str
    value: float
    n: int
    seed: int
    data: str
    split: str
    layer: str
    recipe: str
    command: str
    machine: str
    date: str


class Figure(NamedTuple):
    """A picture's raw material: ``file`` (an ``.npz`` below ``figures/``) drawn by the report as ``kind``."""

    kind: str
    file: str
    title: str
    caption: str
