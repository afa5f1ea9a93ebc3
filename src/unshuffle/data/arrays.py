"""Samples that lie in memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class Arrays(Dataset):
    """A data set over one array of items and, if there are any, one of labels.

    Args:
        items: (N, ...) array or tensor.
        labels: (N,) array or tensor.
        name: what tables call it.

    Raises:
        ValueError: the lengths differ.
    """

    def __init__(self, items: np.ndarray | Tensor, labels: np.ndarray | Tensor | None = None, *, name: str = "arrays"):
        if labels is not None and len(labels) != len(items):
            raise ValueError(f"Arrays: `labels` must have one entry an item, {len(items)}; got {len(labels)}.")
        self.items = torch.as_tensor(items)
        self.labels = None if labels is None else torch.as_tensor(labels)
        self.name = name

    @property
    def as_they_are(self) -> bool:
        """Whether a batch is nothing but its samples side by side: a class of one's own may draw, or change them."""
        return type(self) is Arrays and self.items.ndim >= 4

    def take(self, rows: list[int]) -> tuple[Tensor, Tensor | None]:
        """Some of the items and, where there are any, their labels."""
        return self.items[rows], None if self.labels is None else self.labels[rows]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        return self.items[index], None if self.labels is None else self.labels[index]
