"""Small images that lie in memory, read as a source of image files would read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle.data.image import Images


class Pixels(Dataset):
    """Images of one size with their classes.

    Where they have the size and the channels that ``source`` asks for, they are handed out as they are; else each is
    scaled and converted when it is read.

    Args:
        pixels: (N, C, H, W) uint8, of 1 or 3 channels.
        labels: (N,) numbers of classes, or (N, heads): one for each of several questions.
        classes: their names.
        source: what the samples are to be.
        name: what tables call the data set.
    """

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str], source: Images, *, name: str
    ) -> None:
        assert pixels.dtype == np.uint8, pixels.dtype
        self.items, self.labels = torch.from_numpy(pixels), labels.astype(np.int64)
        self.classes, self.source, self.name = tuple(classes), source, name
        self.as_they_are = tuple(pixels.shape[1:]) == source.item_shape

    def take(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Some of the images as they are, and their labels."""
        return self.items[rows], torch.from_numpy(self.labels[rows])

    @property
    def names(self) -> list[str]:
        """Their numbers: they have no names."""
        return [str(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        item = self.items[index]
        if not self.as_they_are:
            picture = item.squeeze(0) if len(item) == 1 else item.permute(1, 2, 0)
            item = self.source.prepare(Image.fromarray(picture.numpy()))
        label = self.labels[index]
        return item, int(label) if label.ndim == 0 else torch.from_numpy(label)
