"""Relative attributes: categories of images in an order, attribute by attribute (Outdoor Scenes, Public Figures)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple

import numpy as np

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels
from unshuffle.data.mat_files import read_mat
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

SHAPE = "data.mat of relative_attributes_v2.zip, and the images it names in any folder beside it or below"
_LARGEST = 1 << 28


class Facts(NamedTuple):
    """What a ``data.mat`` tells: N images, C categories, A attributes.

    ``category`` is (N,) from 0, ``training`` (N,) of booleans, ``strength`` (A, C): equal numbers tie.
    """

    images: list[str]
    category: np.ndarray
    training: np.ndarray
    attributes: list[str]
    strength: np.ndarray


def read_facts(file: BinaryIO, name: str) -> Facts:
    """Reads the annotations as they were published, a MATLAB file of version 7 or older; nothing in it can run.

    Raises:
        ValueError: it is damaged, larger than any of its kind, or its parts do not fit each other.
    """
    wanted = ["im_names", "class_labels", "used_for_training", "attribute_names", "relative_ordering"]
    if file.seek(0, 2) > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST >> 20} MiB, and cannot be the annotations.")
    file.seek(0)
    try:
        told = read_mat(file, wanted, name, _LARGEST)
        parts = [told[field] for field in wanted]
        images, attributes = _words(parts[0]), _words(parts[3])
        category, training, strength = (np.asarray(parts[k], dtype=np.float64) for k in (1, 2, 4))
    except Exception as error:  # damaged files lead to zlib.error, TypeError, MemoryError, …
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(
            f"{name} cannot be read as the annotations of relative attributes: {reason.rstrip('.')}."
        ) from error
    facts = Facts(images, category.ravel() - 1, training.ravel() == 1, attributes, strength)
    _refuse_misfits(facts, name)
    return facts._replace(category=facts.category.astype(np.int64))


def _words(cells: np.ndarray) -> list[str]:
    """A column of texts, stored as cells or as rows of characters."""
    return [str(np.ravel(cell)[0]).strip() for cell in np.ravel(cells)]


def _refuse_misfits(facts: Facts, name: str) -> None:
    images, categories = len(facts.images), facts.strength.shape[-1]
    sound = (
        images > 0
        and facts.category.shape == facts.training.shape == (images,)
        and facts.strength.ndim == 2
        and len(facts.strength) == len(facts.attributes) > 0
        and bool(np.isfinite(facts.strength).all())
        and bool(np.isin(facts.category, np.arange(categories)).all())
    )
    if not sound:
        raise ValueError(
            f"{name} does not fit itself: {images} images, {facts.category.shape} categories of them, "
            f"{len(facts.attributes)} attributes, orders of shape {facts.strength.shape}."
        )


class _RelativeAttributes:
    """What both data sets share."""

    split: Literal["train", "test"]
    target: str
    folder: ClassVar[str]

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The images of this part, each with the strength of the attribute in its category.

        Raises:
            FileNotFoundError: the annotations, or every image, is missing.
            ValueError: the annotations are damaged, or know no such attribute.
        """
        name = type(self).__name__
        tree = Tree(root, (".jpg", ".mat"), name=name, shape=SHAPE)
        base = tree.base("data.mat", within=(f"{self.folder}/", ""))
        with tree.files.open(tree.place[f"{base}data.mat"]) as file:
            facts = read_facts(file, f"{base}data.mat")
        attribute = _attribute(self.target, facts.attributes, name)
        rows = np.flatnonzero(facts.training == (self.split == "train"))
        known = {path.rpartition("/")[2]: path for path in tree.place if path.startswith(base)}
        names = [known.get(facts.images[row], f"{base}{facts.images[row]}") for row in rows]
        return tree.dataset(names, base, items, Labels((), facts.strength[attribute][facts.category[rows]]))


def _attribute(asked: str, attributes: list[str], name: str) -> int:
    """The attribute of that name; capitals, spaces and hyphens do not matter."""
    plain = ["".join(filter(str.isalnum, attribute.lower())) for attribute in attributes]
    wanted = "".join(filter(str.isalnum, asked.lower()))
    if wanted not in plain:
        raise ValueError(f"{name} has no attribute {asked!r} (--target); it has {', '.join(attributes)}.")
    return plain.index(wanted)


@register
@dataclass(frozen=True)
class OSR(_RelativeAttributes):
    """Outdoor Scene Recognition: 2,688 scenes of 8 categories, ordered by 6 attributes.

    Layout: ``osr/data.mat`` of relative_attributes_v2.zip, and the images of
    spatial_envelope_256x256_static_8outdoorcategories.zip anywhere below ``osr/``.
    Size: 30 images of each category to train on, the others to test; 256 x 256 pixels.
    Licence: none is stated; for research. From: https://filebox.ece.vt.edu/~parikh/relative_attributes/

    Categories are ordered, images are not: all images of one tie.

    Source: Parikh & Grauman, "Relative Attributes", ICCV 2011; images of Oliva & Torralba, IJCV 2001.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""
    target: str = "natural"
    """The attribute to order by: natural, open, perspective, large-objects, diagonal-plane, close-depth."""

    noun: ClassVar[str] = "image"
    folder: ClassVar[str] = "osr"

    def __post_init__(self) -> None:
        _check.one_of("OSR", "split", self.split, ("train", "test"))

    def tested(self) -> OSR | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None


@register
@dataclass(frozen=True)
class PubFig(_RelativeAttributes):
    """Public Figures: 800 photographs of 8 people, ordered by 11 attributes.

    Layout: ``pubfig/data.mat`` and ``pubfig/images/*.jpg`` of relative_attributes_v2.zip.
    Size: some 30 images of each person to train on, the others to test.
    Licence: none is stated; for research. From: https://filebox.ece.vt.edu/~parikh/relative_attributes/

    People are ordered, photographs are not: all photographs of one person tie.

    Source: Parikh & Grauman, "Relative Attributes", ICCV 2011; images of Kumar et al., ICCV 2009.
    """

    split: Literal["train", "test"] = "train"
    """Which part."""
    target: str = "Smiling"
    """The attribute to order by, as data.mat names it: Smiling, Young, Chubby, …"""

    noun: ClassVar[str] = "image"
    folder: ClassVar[str] = "pubfig"

    def __post_init__(self) -> None:
        _check.one_of("PubFig", "split", self.split, ("train", "test"))

    def tested(self) -> PubFig | None:
        """``test``."""
        return replace(self, split="test") if self.split == "train" else None
