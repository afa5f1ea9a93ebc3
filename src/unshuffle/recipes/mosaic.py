"""Recipes of image mosaics: tiles put together by what is seen on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from unshuffle._ranges import Epochs, Few, Fraction, FractionBelowOne, MaybeFew, Minibatch, Positive, Seed, Size
from unshuffle.data.image import Images
from unshuffle.data.mosaic import Tiles, pixel_constants
from unshuffle.data.named import CIFAR10, MNIST, Labelled
from unshuffle.data.samples import Packaged
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.judge import spread_items
from unshuffle.methods.arrangers import MosaicModel, MosaicNet
from unshuffle.methods.arranging import LearnNeighbours, LearnToArrange
from unshuffle.ops.descent import Update
from unshuffle.recipes.sorting import refuse_own
from unshuffle.train.engine import Plan
from unshuffle.train.optim import Adam, AdamW
from unshuffle.values import register

LOOKED_AT = 200
"""Images whose pixels are averaged, where their constants are left open."""


@register
@dataclass(frozen=True)
class MosaicRecipe:
    """Everything that decides how mosaics are learnt."""

    source: Images | Packaged | Labelled = Images(size=64)
    """Where images come from."""
    grid: tuple[Few, Few] = (3, 3)
    """Rows and columns of tiles. Images that do not divide evenly are scaled up until they do."""
    mean: tuple[Fraction, ...] | None = None
    """Of the pixels in [0, 1], subtracted from them: one a channel, or one for all. By default that of the data."""
    deviation: tuple[Positive, ...] | None = None
    """Of the pixels, by which they are divided. By default that of the data."""
    model: MosaicModel = "po-la"
    """What places tiles: po-u and po-la optimise a permutation (from a uniform start, and a linear one), lin-assign
    maps each tile to its place, neighbours learns which tile continues which."""
    width: Few = 64
    """Channels of the convolutions that see a tile."""
    hidden: Size = 64
    """Units of the network that compares two tiles."""
    steps: MaybeFew = 4
    """Of the inner optimisation of po-u and po-la."""
    iterations: Few = 4
    """Rounds of each Sinkhorn normalisation, but of neighbours."""
    update: Update = "alternative"
    """Of the inner optimisation: alternative moves logits by the gradient of the permutation itself (the paper's);
    proper goes through Sinkhorn; projected moves the permutation and projects it back (its appendix D)."""
    clip: Positive | None = None
    """Keep the linear start's logits within plus and minus this; by default they are free."""
    optim: AdamW | Adam = AdamW(lr=1e-3)
    """How the weights move."""
    batch_size: Minibatch = 32
    """Images in a step, over all processes."""
    epochs: Epochs = 50
    """Passes over the data."""
    holdout: FractionBelowOne = 0.05
    """Share of the images kept out of training."""
    seed: Seed = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if self.model == "po-u" and not self.steps:
            raise ValueError(f"{type(self).__name__}: `steps` must be from 1 where `model` is po-u; got 0.")

    def settle(self, root: str | Path) -> tuple[MosaicRecipe, list[str]]:
        """Chooses the pixels' constants from at most 200 images below ``root``, where they are left open.

        Returns:
            The recipe with nothing left open, and lines that tell what was chosen.

        Raises:
            FileNotFoundError: there are no such data.
            ValueError: not one image can be read, or they are too small for the grid.
        """
        settled, told = self, []
        if not isinstance(self.source, Packaged):
            source, told = self.source.settle(root)
            settled = replace(self, source=source)
        if settled.mean is None or settled.deviation is None:
            settled, more = settled._measured(settled._open(root))
            told = [*told, *more]
        if not isinstance(settled.source, Packaged):
            told = [*told, settled._sizes(settled.source.item_shape)]
        return settled, told

    def tiles(self) -> Tiles:
        """How images are cut."""
        rows, columns = self.grid
        constants = {"mean": self.mean, "deviation": self.deviation}
        return Tiles(rows, columns, **{name: value for name, value in constants.items() if value is not None})

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """The method for images of this shape."""
        refuse_own(type(self).__name__, net)
        value = self.net_value(item_shape)
        arranger = value.build()
        method = LearnNeighbours(arranger) if self.model == "neighbours" else LearnToArrange(arranger)
        return Plan(method, Shuffle(self.tiles()), arranger, value, None)

    def net_value(self, item_shape: tuple[int, ...]) -> MosaicNet:
        """The network that places the tiles of images of this shape."""
        tile = self.tiles().patch_shape(item_shape)
        return MosaicNet(
            self.model, *self.grid, tile, self.width, self.hidden, self.steps, self.iterations, self.update, self.clip
        )  # fmt: skip

    def _open(self, root: str | Path) -> Dataset:
        return self.source.open() if isinstance(self.source, Packaged) else self.source.open(root)

    def _measured(self, data: Dataset) -> tuple[MosaicRecipe, list[str]]:
        """With the constants of images from all over a data set."""
        items = spread_items(data, LOOKED_AT)
        mean, deviation = pixel_constants(items)
        mean, deviation = self.mean or mean, self.deviation or deviation
        told = f"pixels: mean {_written(mean)}, deviation {_written(deviation)} ({len(items)} images looked at)"
        return replace(self, mean=mean, deviation=deviation), [told]

    def _sizes(self, item_shape: tuple[int, ...]) -> str:
        _, height, width = self.tiles().patch_shape(item_shape)
        whole = f"{height * self.grid[0]} x {width * self.grid[1]}"
        return f"tiles: {self.grid[0]} x {self.grid[1]} of {height} x {width} pixels, images of {whole}"


def _written(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def mosaic() -> MosaicRecipe:
    """Image mosaics on a folder of photographs: our settings. ``--grid 4 4`` for another number of tiles.

    By neighbours; ``--model po-la`` is the best of the paper's models.

    Run:   unshuffle train mosaic --data photos/ --out runs/mosaic
    """
    return MosaicRecipe(model="neighbours", optim=AdamW(lr=4e-3), epochs=20)


def mosaic_mnist_po_la() -> MosaicRecipe:
    """The paper's mosaics of MNIST, 3 × 3 tiles (``--grid 2 2`` to ``5 5``), optimised from a linear assignment.

    Paper: Table 1, PO-LA: squared error 0.00, 0.00, 0.07, 0.01 (2 × 2 to 5 × 5); Table 4: 99.9, 73.1, 1.8, 0.0 % of the
           images whole.
    Ours:  the tables of docs/reproduce.md.
    Run:   unshuffle train mosaic_mnist_po_la --data mnist/ --grid 3 3 --out runs/mnist
    """
    return MosaicRecipe(
        source=Labelled(Images(size=28, grey=True), MNIST()), mean=(0.1307,), deviation=(0.3081,), optim=Adam(lr=1e-3),
        epochs=20, holdout=0.0,
    )  # fmt: skip


def mosaic_mnist_po_u() -> MosaicRecipe:
    """As ``mosaic_mnist_po_la``, from a uniform start. Paper: 0.00, 0.02, 0.46, 0.45; 100.0, 65.9, 0.2, 0.0 %."""
    return replace(mosaic_mnist_po_la(), model="po-u")


def mosaic_mnist_lin() -> MosaicRecipe:
    """As ``mosaic_mnist_po_la``, LinAssign alone. Paper: 0.00, 0.00, 0.33, 0.08; 99.7, 66.9, 0.8, 0.0 %."""
    return replace(mosaic_mnist_po_la(), model="lin-assign")


def mosaic_cifar10_po_la() -> MosaicRecipe:
    """The paper's mosaics of CIFAR-10, 3 × 3 tiles (``--grid 2 2`` to ``5 5``), optimised from a linear assignment.

    Paper: Table 1, PO-LA: squared error 0.18, 0.16, 1.07, 0.70 (2 × 2 to 5 × 5); Table 4: 87.3, 66.0, 0.6, 0.3 % of the
           images whole. The constants of the pixels are those of the authors' code: its deviations are not the data
           set's, and the squared error is in their units.
    Ours:  the tables of docs/reproduce.md.
    Run:   unshuffle train mosaic_cifar10_po_la --data cifar10/ --grid 3 3 --out runs/cifar10
    """
    return replace(
        mosaic_mnist_po_la(), source=Labelled(Images(size=32), CIFAR10()), mean=(0.4914, 0.4822, 0.4465),
        deviation=(0.2023, 0.1994, 0.2010),
    )  # fmt: skip


def mosaic_cifar10_po_u() -> MosaicRecipe:
    """As ``mosaic_cifar10_po_la``, from a uniform start. Paper: 0.11, 0.44, 1.23, 1.26; 86.2, 34.4, 0.0, 0.0 %."""
    return replace(mosaic_cifar10_po_la(), model="po-u")


def mosaic_cifar10_lin() -> MosaicRecipe:
    """As ``mosaic_cifar10_po_la``, LinAssign alone. Paper: 0.37, 0.49, 1.34, 1.12; 68.8, 30.3, 0.0, 0.0 %."""
    return replace(mosaic_cifar10_po_la(), model="lin-assign")


def mosaic_mnist_neighbours() -> MosaicRecipe:
    """As ``mosaic_mnist_po_la``, by neighbours: ours, beyond the paper, in one pass instead of twenty."""
    return replace(mosaic_mnist_po_la(), model="neighbours", optim=AdamW(lr=4e-3), epochs=1)


def mosaic_cifar10_neighbours() -> MosaicRecipe:
    """As ``mosaic_cifar10_po_la``, by neighbours: ours, beyond the paper, in one pass instead of twenty."""
    return replace(mosaic_cifar10_po_la(), model="neighbours", optim=AdamW(lr=4e-3), epochs=1)


def mosaic_imagenet64_po_la() -> MosaicRecipe:
    """The paper's mosaics of ImageNet at 64 × 64, 3 × 3 tiles (``--grid 2 2`` to ``5 5``), from a linear assignment.

    Paper: Table 1, PO-LA: squared error 0.16, 0.62, 1.13, 1.32 (2 × 2 to 5 × 5); Table 4: 84.2, 28.6, 0.1, 0.0 % of the
           images whole. Any folder of photographs will do.
    Ours:  not yet run.
    Costs: one pass over 1.28 million images; decoding them is most of it.
    Run:   unshuffle train mosaic_imagenet64_po_la --data imagenet/train --grid 3 3 --workers 16 --out runs/imagenet64
    """
    return MosaicRecipe(
        source=Images(size=64), mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225),
        width=128, clip=10.0, optim=Adam(lr=1e-3), epochs=1, holdout=0.0,
    )  # fmt: skip


def mosaic_imagenet64_po_u() -> MosaicRecipe:
    """As ``mosaic_imagenet64_po_la``, from a uniform start. Paper: 0.14, 0.69, 1.20, 1.31; 85.9, 19.2, 0.1, 0.0 %."""
    return replace(mosaic_imagenet64_po_la(), model="po-u", clip=None)


def mosaic_imagenet64_neighbours() -> MosaicRecipe:
    """As ``mosaic_imagenet64_po_la``, by neighbours: ours, beyond the paper."""
    return replace(mosaic_imagenet64_po_la(), model="neighbours", width=64, clip=None, optim=AdamW(lr=4e-3))


def mosaic_imagenet64_lin() -> MosaicRecipe:
    """As ``mosaic_imagenet64_po_la``, LinAssign alone. Paper: 0.60, 1.10, 1.33, 1.44; 47.7, 4.0, 0.0, 0.0 %."""
    return replace(mosaic_imagenet64_po_la(), model="lin-assign")
