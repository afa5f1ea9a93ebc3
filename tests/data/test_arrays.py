"""Samples in memory."""

import numpy as np
import pytest
import torch

from unshuffle.data import Arrays


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_items_and_labels_come_back_as_they_were(kind):
    items, labels = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2), np.array([4, 5, 6])

    data = Arrays(kind(items), kind(labels))

    assert len(data) == 3
    for i in range(3):
        item, label = data[i]
        assert item.dtype == torch.uint8
        assert item.tolist() == items[i].tolist()
        assert label is not None
        assert int(label) == labels[i]


def test_labels_may_be_missing():
    assert Arrays(np.zeros((2, 1, 2, 2)))[1][1] is None


def test_it_has_a_name_for_tables():
    assert Arrays(np.zeros((2, 1))).name == "arrays"
    assert Arrays(np.zeros((2, 1)), name="mine").name == "mine"


@pytest.mark.errors
def test_as_many_labels_as_items():
    with pytest.raises(ValueError, match="`labels` must have one entry an item, 3; got 2"):
        Arrays(np.zeros((3, 1)), np.zeros(2))
