"""Data sets that list their files in text: those with which transfer is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

Part = Literal["train", "test"]
_PARTS = ("train", "test")


def listed(tree: Tree, base: str, items: Any, pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> FileDataset:
    """The files and classes of a list as samples.

    Raises:
        ValueError: the list is empty.
    """
    if not pairs:
        raise ValueError(f"a list of {tree.name} in {str(tree.root)!r} is empty; fetch it again.")
    number = {name: place for place, name in enumerate(classes)}
    return tree.dataset(
        [base + name for name, _ in pairs], base, items, Labels(tuple(classes), [number[c] for _, c in pairs])
    )


@register
@dataclass(frozen=True)
class Aircraft:
    """FGVC-Aircraft: 100 variants of aeroplanes.

    Layout: ``fgvc-aircraft-2013b/data/{images/*.jpg, variants.txt, images_variant_{trainval,test}.txt}``, a number and
    a variant a line. Size: 6,667 and 3,333 images; 2.6 GB.
    From: https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft

    Source: Maji et al., "Fine-Grained Visual Classification of Aircraft", 2013.
    """

    split: Part = "train"
    """Which part; train is the data set's trainval."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Aircraft", "split", self.split, _PARTS)

    def tested(self) -> Aircraft | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
        """
        tree = Tree(root, (".jpg", ".txt"), name="FGVC-Aircraft", shape="data/images and data/variants.txt")
        base = tree.base("variants.txt")
        lines = tree.text(f"{base}images_variant_{'trainval' if self.split == 'train' else 'test'}.txt").splitlines()
        pairs = [(f"images/{number}.jpg", name) for number, _, name in (x.partition(" ") for x in lines if x.strip())]
        return listed(tree, base, items, pairs, _lines(tree.text(f"{base}variants.txt")))


@register
@dataclass(frozen=True)
class DTD:
    """Describable Textures: 47 kinds of textures, by the first of the ten divisions.

    Layout: ``dtd/{images/*/*.jpg, labels/{train1,val1,test1}.txt}``, ``banded/banded_0002.jpg`` a line.
    Size: 3,760 (train and val) and 1,880 images; 600 MB. From: https://www.robots.ox.ac.uk/~vgg/data/dtd

    Source: Cimpoi et al., "Describing Textures in the Wild", CVPR 2014.
    """

    split: Part = "train"
    """Which part; train is train1 and val1."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("DTD", "split", self.split, _PARTS)

    def tested(self) -> DTD | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
        """
        tree = Tree(root, (".jpg", ".txt"), name="DTD", shape="dtd/images/*/*.jpg and dtd/labels/train1.txt")
        base = tree.base("labels/train1.txt")
        lists = {part: _lines(tree.text(f"{base}labels/{part}1.txt")) for part in ("train", "val", "test")}
        names = lists["test"] if self.split == "test" else lists["train"] + lists["val"]
        classes = sorted({name.partition("/")[0] for part in lists.values() for name in part})
        return listed(tree, base, items, [(f"images/{name}", name.partition("/")[0]) for name in names], classes)


@register
@dataclass(frozen=True)
class Food101:
    """Dishes of 101 kinds.

    Layout: ``food-101/{images/*/*.jpg, meta/{classes,train,test}.txt}``, ``apple_pie/1005649`` a line.
    Size: 75,750 and 25,250 images; 5 GB. From: https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101

    Source: Bossard et al., "Food-101", ECCV 2014.
    """

    split: Part = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Food101", "split", self.split, _PARTS)

    def tested(self) -> Food101 | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
        """
        tree = Tree(root, (".jpg", ".txt"), name="Food-101", shape="food-101/images/*/*.jpg and food-101/meta")
        base = tree.base("meta/classes.txt")
        names = _lines(tree.text(f"{base}meta/{self.split}.txt"))
        pairs = [(f"images/{name}.jpg", name.partition("/")[0]) for name in names]
        return listed(tree, base, items, pairs, _lines(tree.text(f"{base}meta/classes.txt")))


@register
@dataclass(frozen=True)
class Pets:
    """Oxford-IIIT Pets: 37 breeds of cats and dogs.

    Layout: ``{images/*.jpg, annotations/{trainval,test}.txt}``; the lists say ``Abyssinian_100 1 1 1``, the breed's
    number second. Size: 3,680 and 3,669 images; 800 MB. From: https://www.robots.ox.ac.uk/~vgg/data/pets

    Source: Parkhi et al., "Cats and Dogs", CVPR 2012.
    """

    split: Part = "train"
    """Which part; train is the data set's trainval."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("Pets", "split", self.split, _PARTS)

    def tested(self) -> Pets | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
        """
        tree = Tree(root, (".jpg", ".txt"), name="Oxford-IIIT Pets", shape="images/*.jpg and annotations/trainval.txt")
        base = tree.base("annotations/trainval.txt")
        lists = {part: _lines(tree.text(f"{base}annotations/{part}.txt")) for part in ("trainval", "test")}
        names = {part: [line.split()[0] for line in lines] for part, lines in lists.items()}
        breed = {name: re.sub(r"_\d+$", "", name) for part in names.values() for name in part}
        chosen = names["test" if self.split == "test" else "trainval"]
        return listed(tree, base, items, [(f"images/{x}.jpg", breed[x]) for x in chosen], sorted(set(breed.values())))


@register
@dataclass(frozen=True)
class SUN397:
    """Scenes of 397 kinds, by the first of the ten divisions.

    Layout: ``SUN397/{a/abbey/sun_*.jpg, ClassName.txt, Training_01.txt, Testing_01.txt}``, the lists in that folder,
    ``/a/abbey/sun_aaalbzqrimafwbiv.jpg`` a line. Size: 19,850 images in each part, of 108,754; 37 GB.
    From: https://vision.princeton.edu/projects/2010/SUN

    Source: Xiao et al., "SUN Database", CVPR 2010.
    """

    split: Part = "train"
    """Which part."""

    noun: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        _check.one_of("SUN397", "split", self.split, _PARTS)

    def tested(self) -> SUN397 | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part.

        Raises:
            FileNotFoundError: a list, or every image, is missing.
        """
        tree = Tree(root, (".jpg", ".txt"), name="SUN397", shape="ClassName.txt, Training_01.txt and a/abbey/*.jpg")
        base = tree.base("ClassName.txt")
        names = _lines(tree.text(f"{base}{'Training' if self.split == 'train' else 'Testing'}_01.txt"))
        pairs = [(name.lstrip("/"), name.rpartition("/")[0]) for name in names]
        return listed(tree, base, items, pairs, _lines(tree.text(f"{base}ClassName.txt")))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
