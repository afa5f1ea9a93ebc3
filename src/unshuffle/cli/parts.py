"""Labelled data for ``unshuffle eval``, in a part to learn from and a part to be tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from unshuffle.cli.where import opened

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from unshuffle.data.named import Layout
    from unshuffle.evals.encoder import Encoder

TEST_SHARE = 0.2


class Parts(NamedTuple):
    """Training and test data with labels, and what all of it is called.

    ``kind`` is what the labels are: a class a sample, a number, or several classes. ``question`` names them.
    """

    train: Dataset
    test: Dataset
    classes: Sequence[str]
    name: str
    split: str
    question: str
    kind: Literal["classification", "regression", "multilabel"]


def parts(encoder: Encoder, data: Path, test: Path | None, layout: Layout | None, *, seed: int) -> Parts:
    """Opens labelled data in two parts.

    The test part is ``test``, or the data set's own, or else a fifth of the data: of each class alike, where a sample
    has one class.

    Raises:
        FileNotFoundError: there are no such data.
        ValueError: they have no labels, or both parts have not the same ones.
    """
    known = opened(encoder, data, layout)
    if known.labels is None:
        kind = f"{known.source.noun}s"
        raise ValueError(f"{data} has no labels: put the {kind} of each class into a sub-folder of its name.")
    tested = None if layout is None else layout.tested()
    question = getattr(layout, "target", "class") or "order"
    if test is None and tested is None:
        return _divided(known, question, seed)
    asked = opened(encoder, test or data, tested or layout, besides=known)
    if asked.classes != known.classes:
        given = " and ".join(", ".join(classes) or "none" for classes in (known.classes, asked.classes))
        raise ValueError(f"--data and --test must have the same sub-folders; got {given}.")
    split = getattr(tested, "split", "test")
    return Parts(_labelled(known), _labelled(asked), known.classes, known.name, split, question, _kind(known))


def _divided(data: Any, question: str, seed: int) -> Parts:
    """A fifth drawn at random for testing."""
    from torch.utils.data import Subset

    from unshuffle.data.files import rows_with_class
    from unshuffle.evals.judge import split_rows

    kind = _kind(data)
    if kind == "classification":
        known = rows_with_class(data)
        places = np.arange(len(data)) if known is None else np.array(known)
        parts = split_rows(np.asarray(data.labels)[places], test_fraction=TEST_SHARE, seed=seed)
        rows, held_out = (places[part].tolist() for part in parts)
    else:
        order = np.random.default_rng(seed).permutation(len(data)).tolist()
        held = max(1, round(TEST_SHARE * len(order)))
        rows, held_out = sorted(order[held:]), sorted(order[:held])
    return Parts(Subset(data, rows), Subset(data, held_out), data.classes, data.name, "test", question, kind)


def _labelled(data: Any) -> Any:
    """The samples that have a label: files in no class folder have none."""
    from torch.utils.data import Subset

    from unshuffle.data.files import rows_with_class

    rows = rows_with_class(data)
    return data if rows is None else Subset(data, rows)


def _kind(data: Any) -> Literal["classification", "regression", "multilabel"]:
    if np.ndim(data.labels) == 2:
        return "multilabel"
    return "classification" if data.classes else "regression"
