"""A source that reads known data sets, or a folder with a table of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unshuffle.data.audio import Sounds
from unshuffle.data.files import FileDataset
from unshuffle.data.image import Images
from unshuffle.data.named.caltech101 import Caltech101
from unshuffle.data.named.cifar10 import CIFAR10
from unshuffle.data.named.cifar100 import CIFAR100
from unshuffle.data.named.folders import ClassFolders
from unshuffle.data.named.fsdd import SpokenDigits
from unshuffle.data.named.imagenet import ImageNet
from unshuffle.data.named.matlab import Cars, Flowers102
from unshuffle.data.named.mnist import MNIST
from unshuffle.data.named.nsynth import NSynth
from unshuffle.data.named.places205 import Places205
from unshuffle.data.named.ranked import RankedFolders, RankTable
from unshuffle.data.named.relative import OSR, PubFig
from unshuffle.data.named.ssv2 import SomethingSomething
from unshuffle.data.named.svhn import SVHN
from unshuffle.data.named.table import LabelTable
from unshuffle.data.named.transfer import DTD, SUN397, Aircraft, Food101, Pets
from unshuffle.data.named.voc import VOC
from unshuffle.data.pixels import Pixels
from unshuffle.data.series import Series
from unshuffle.data.video import Clips
from unshuffle.values import register

Items = Images | Sounds | Clips | Series
Layouts = (
    NSynth
    | SpokenDigits
    | ImageNet
    | VOC
    | SomethingSomething
    | MNIST
    | CIFAR10
    | OSR
    | PubFig
    | Aircraft
    | Caltech101
    | Cars
    | CIFAR100
    | DTD
    | Flowers102
    | Food101
    | Pets
    | Places205
    | SUN397
    | SVHN
    | LabelTable
    | ClassFolders
    | RankedFolders
    | RankTable
)


@register
@dataclass(frozen=True)
class Labelled:
    """Samples that another source makes of files, with files and labels as a layout says.

    Example:
        >>> Labelled(Images(size=128), VOC(split="val")).noun
        'image'
    """

    items: Items
    """How a file becomes a sample."""
    layout: Layouts
    """Which files are samples, and what their labels are."""

    def __post_init__(self) -> None:
        if self.layout.noun not in ("sample", self.items.noun):
            raise ValueError(
                f"{type(self.layout).__name__} holds {self.layout.noun}s, and {type(self.items).__name__} reads "
                f"{self.items.noun}s: use a recipe for {self.layout.noun}s."
            )

    @property
    def noun(self) -> str:
        """One sample in a word."""
        return self.items.noun

    @property
    def any_size(self) -> str:
        """What to give an encoder for samples of any size."""
        return self.items.any_size

    @property
    def rate(self) -> int | None:
        """Samples a second of sounds; None for all else."""
        return self.items.rate if isinstance(self.items, Sounds) else None

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of a sample."""
        return self.items.item_shape

    def settle(self, root: str | Path) -> tuple[Labelled, list[str]]:
        """Chooses what ``items`` leaves open."""
        items, told = self.items.settle(root)
        return replace(self, items=items), told

    def open(self, root: str | Path) -> FileDataset | Pixels:
        """The samples as a data set; what ``items`` leaves open is chosen from them, and an encoder keeps it alone."""
        settled, _ = self.settle(root)
        return self.layout.open(root, settled.items)

    def as_item(self, sample: Any) -> Tensor:
        """A sample that lies in memory as an item."""
        return self.items.as_item(sample)


def labelled(source: Any, layout: Any) -> Labelled:
    """The same source with files and labels as ``layout`` says.

    Raises:
        ValueError: the source reads no files, or files of another kind.
    """
    items = source.items if isinstance(source, Labelled) else source
    if not isinstance(items, Items):
        raise ValueError(f"{type(layout).__name__}: samples of {type(items).__name__} are no files that it could name.")
    assert isinstance(layout, Layouts), layout
    return Labelled(items, layout)
