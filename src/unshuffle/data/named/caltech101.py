"""Caltech-101: photographs of 101 kinds of things, in folders."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unshuffle import _check
from unshuffle._ranges import Seed
from unshuffle.data.files import FileDataset
from unshuffle.data.named.layout import Tree
from unshuffle.data.named.transfer import listed
from unshuffle.values import register

_NAME = re.compile(r"(?:.*/)?101_ObjectCategories/([^/]+)/[^/]+", re.DOTALL)


@register
@dataclass(frozen=True)
class Caltech101:
    """Photographs of 101 kinds of things and faces; there is no division of its own, so one is drawn.

    Layout: ``101_ObjectCategories/{class}/image_0001.jpg``; ``BACKGROUND_Google`` is no class and is left out.
    Size: 8,677 images; 130 MB. From: https://data.caltech.edu/records/mzrjq-6wc02

    Thirty images of each class are there to learn from, drawn by ``seed``, and all others to be tested on, as in the
    transfer of Kornblith et al. 2019.

    Source: Fei-Fei et al., "Learning Generative Visual Models from Few Training Examples", 2004.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""
    seed: Seed = 0
    """Of the draw of the images to learn from."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Caltech101", "split", self.split, ("train", "test"))

    def tested(self) -> Caltech101 | None:
        """``test``, of the same draw."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: there is none.
        """
        tree = Tree(root, (".jpg",), name="Caltech-101", shape="101_ObjectCategories/accordion/image_0001.jpg")
        of: defaultdict[str, list[str]] = defaultdict(list)
        for name in tree.files.names:
            if (match := _NAME.fullmatch(name)) and match[1] != "BACKGROUND_Google":
                of[match[1]].append(name)
        if not of:
            raise tree.missing("101_ObjectCategories/*/*.jpg")
        pairs = [(name, kind) for kind in sorted(of) for name in self._part(sorted(of[kind]))]
        return listed(tree, "", items, pairs, sorted(of))

    def _part(self, names: list[str]) -> list[str]:
        """Those of one class that belong to this part."""
        drawn = set(np.random.default_rng([self.seed, len(names)]).permutation(len(names))[:30].tolist())
        return [name for place, name in enumerate(names) if (place in drawn) == (self.split == "train")]
