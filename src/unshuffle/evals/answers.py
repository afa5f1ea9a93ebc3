"""How often the answers of a trained network are right, over all questions and by their kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from unshuffle import _check
from unshuffle.data.asking import QuestionData
from unshuffle.data.loaders import SkipLog, ordered_loader
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import Stamp
from unshuffle.types import Result

TASK = "answers"


class Answered(NamedTuple):
    """Questions with the answer chosen for each: ``index`` (N,) tells which, ``chosen`` (N,) is the answer's number.

    ``shares`` (N,) is how far it is right, and ``constant`` (N,) how far the answer would be that is right most often
    for questions of the same kind: what can be had without looking at any picture, or reading further.
    """

    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]  (tuple.index is not missed)
    chosen: np.ndarray
    shares: np.ndarray
    constant: np.ndarray
    kinds: np.ndarray


@torch.no_grad()
def answer(
    encoder: Encoder,
    data: QuestionData,
    *,
    batch_size: int = 256,
    workers: int = 0,
    skipped: SkipLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Answers all questions of a data set.

    Args:
        encoder: trained on questions.
        data: the questions, with the same known answers as in training.
        batch_size: questions at a time.
        workers: processes that read them.
        skipped: counts what cannot be read.
        progress: called with (done, total).

    Raises:
        ValueError: the known answers are others, or not one question can be read.
    """
    _check.positive("answer", "batch_size", batch_size)
    known = getattr(encoder.source, "answers", data.answers)
    if tuple(known) != tuple(data.answers):
        raise ValueError(f"the network knows {len(known)} answers, not the {len(data.answers)} of the data.")
    skipped = skipped if skipped is not None else SkipLog()
    encoder.eval()
    index, chosen, answers = [], [], []
    done = 0
    for loaded in ordered_loader(data, batch_size=batch_size, workers=workers):
        skipped.add(loaded.skipped)
        done += len(loaded.skipped)
        if loaded.raw is not None:
            assert loaded.raw.label is not None
            index.append(loaded.raw.index)
            chosen.append(encoder.net(encoder.prepare(loaded.raw.items)).argmax(-1).cpu())
            answers.append(loaded.raw.label)
            done += len(loaded.raw.items)
        if progress is not None:
            progress(done, len(data))
    if not index:
        raise ValueError(f"not one of {len(data)} questions could be read. {skipped.summary()}")
    which, best, known = (torch.cat(part).numpy() for part in (index, chosen, answers))
    return _answered(which, best, known, data.asking.kinds)


def _answered(index: np.ndarray, chosen: np.ndarray, answers: np.ndarray, kinds: np.ndarray) -> Answered:
    kinds = kinds[index]
    shares = np.take_along_axis(answers, chosen[:, None], 1)[:, 0]
    constant = np.zeros_like(shares)
    for kind in np.unique(kinds):
        constant[kinds == kind] = answers[kinds == kind][:, answers[kinds == kind].mean(0).argmax()]
    return Answered(index, chosen, shares, constant, kinds)


def answer_results(answered: Answered, names: tuple[str, ...], stamp: Stamp, *, layer: str, seed: int) -> list[Result]:
    """Accuracy over all questions and of each kind, beside that of the best constant answers.

    An answer that people disagree about is right in part: see :func:`~unshuffle.data.wording.agreement`.

    Args:
        answered: questions with their answers.
        names: of the kinds, by their numbers.
        stamp: what all lines share.
        layer: what the lines call the network.
        seed: of its training.
    """
    every = np.ones(len(answered.kinds), bool)
    parts = {"all": every} | {name: answered.kinds == kind for kind, name in enumerate(names)}
    return [
        Result(f"{TASK}: {name}", "accuracy", float(shares[rows].mean()), int(rows.sum()), seed, layer=row,
               **stamp._asdict())
        for name, rows in parts.items()
        if rows.any()
        for row, shares in ((layer, answered.shares), ("best constant", answered.constant))
    ]  # fmt: skip
