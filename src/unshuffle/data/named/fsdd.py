"""The Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels, numbered
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

SHAPE = "recordings/{digit}_{speaker}_{index}.wav"
_NAME = re.compile(r"(?:.*/)?(\d)_([A-Za-z]+)_(\d+)\.(?:wav|flac)", re.DOTALL)


@register
@dataclass(frozen=True)
class SpokenDigits:
    """Digits spoken in English by six people, 8 kHz.

    Layout: ``recordings/{digit}_{speaker}_{index}.wav``; other folders' names and FLAC will do.
    Size: 3,000 recordings of 0.1 to 2.3 s; 16 MB. Those of index 0 to 4 are the official test part, 300 of them.
    Licence: CC BY-SA 4.0. From: https://github.com/Jakobovski/free-spoken-digit-dataset

    Source: Jackson et al., "Free Spoken Digit Dataset", v1.0.8, 2018.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""
    target: Literal["digit", "speaker"] = "digit"
    """What the labels are."""

    noun: ClassVar[str] = "sound"

    def __post_init__(self) -> None:
        _check.one_of("SpokenDigits", "split", self.split, ("train", "test"))
        _check.one_of("SpokenDigits", "target", self.target, ("digit", "speaker"))

    def tested(self) -> SpokenDigits | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The recordings of this part; files of other names are passed over.

        Raises:
            FileNotFoundError: there is none.
        """
        tree = Tree(root, (".wav", ".flac"), name="FSDD", shape=SHAPE)
        told = {name: match.groups() for name in tree.files.names if (match := _NAME.fullmatch(name))}
        if not told:
            raise tree.missing(SHAPE)
        every = numbered([told[name][self.target == "speaker"] for name in told])  # alike in both parts
        assert every.labels is not None
        label = dict(zip(told, every.labels))
        names = [name for name, (_, _, index) in told.items() if (int(index) < 5) == (self.split == "test")]
        return tree.dataset(names, "", items, Labels(every.classes, [int(label[name]) for name in names]))
