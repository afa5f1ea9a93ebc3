"""Which part of a data set is trained on, the shape of its items, and what reads them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from unshuffle.data.loaders import SkipLog, Unreadable, as_item, mix

R = TypeVar("R")


def split(dataset: Dataset, share: float, *, seed: int) -> tuple[Dataset, Dataset | None]:
    """Keeps a share of the samples out of training, the same ones for the same seed; none of a tiny data set.

    Raises:
        TypeError: the data set has no length, or its samples cannot be had by number.
        ValueError: there are fewer than two samples.
    """
    if (
        not hasattr(dataset, "__len__")
        or not hasattr(type(dataset), "__getitem__")
        or isinstance(dataset, IterableDataset)
    ):
        raise TypeError(
            "fit: `dataset` must have `__len__` and `__getitem__`, as batches are drawn by the numbers of samples; got "
            f"{type(dataset).__name__}. Of an IterableDataset, read the samples into a list, or write them to files."
        )
    size = len(cast(list, dataset))
    held = int(share * size)
    if size < 2:
        raise ValueError(f"training needs at least two samples; the data set has {size}.")
    if held < 2 or size - held < 2:
        return dataset, None
    order = torch.randperm(size, generator=torch.Generator().manual_seed(mix(seed, 1))).tolist()
    return Subset(dataset, sorted(order[held:])), Subset(dataset, sorted(order[:held]))


def places(dataset: Dataset) -> tuple[torch.Tensor, int]:
    """The index that each sample of a part travels with, (n,), and how many samples the whole has."""
    size = len(cast(list, dataset))
    if isinstance(dataset, Subset):
        return torch.as_tensor(list(dataset.indices)), len(cast(list, dataset.dataset))
    return torch.arange(size), size


def item_shape(dataset: Dataset) -> tuple[int, ...]:
    """Shape of the first sample that can be read.

    Raises:
        ValueError: not one of the first thousand can.
    """
    bad: list[Unreadable] = []
    for index in range(min(len(cast(list, dataset)), 1000)):
        sample = dataset[index]
        if not isinstance(sample, Unreadable):
            return tuple(as_item(sample[0] if isinstance(sample, (tuple, list)) else sample).shape)
        bad.append(sample)
    log = SkipLog(limit=len(bad))
    log.add(bad)
    raise ValueError(f"not one sample could be read. {log.summary()}")


def source_of(dataset: Dataset) -> Any:
    """The value that reads the samples of a data set, or of the whole of which it is a part; None where none does."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return getattr(dataset, "source", None)


def as_read(recipe: R, source: Any) -> R:
    """The recipe with the source that really reads the data: a folder opened from Python has its own settings."""
    own = getattr(recipe, "source", None)
    if source is None or own is None or not dataclasses.is_dataclass(recipe):
        return recipe
    if type(own) is type(source):
        return cast(R, dataclasses.replace(cast(Any, recipe), source=source))
    if type(getattr(own, "items", None)) is type(source):  # a layout around it, which is not the encoder's concern
        return cast(R, dataclasses.replace(cast(Any, recipe), source=dataclasses.replace(own, items=source)))
    return recipe
