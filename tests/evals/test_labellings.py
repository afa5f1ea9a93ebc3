"""Labels over time: what was written is read, in order, and a damaged file is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unshuffle.evals import labellings


def test_what_was_written_is_read_in_order_and_small(tmp_path):
    wide = torch.tensor([[0, 300, -1], [2, 1, 0]])
    labellings.write(tmp_path, 1000, wide)
    path = labellings.write(tmp_path, 20, np.array([[0, 1, -1], [1, 1, 0]]))

    first, second = labellings.read(tmp_path)

    assert (first.step, second.step) == (20, 1000)
    assert first.labels.dtype == np.int8
    assert second.labels.dtype == np.int16
    assert second.labels.tolist() == wide.tolist()
    assert path == tmp_path / "labels" / "000000020.npz"
    assert labellings.last(tmp_path).step == 1000
    assert list(labellings.read(tmp_path / "nowhere")) == []
    assert labellings.last(tmp_path / "nowhere") is None


def test_a_run_that_goes_on_forgets_what_came_later(tmp_path):
    for step in (0, 5, 9):
        labellings.write(tmp_path, step, np.full((1, 2), step))
    labellings.cut(tmp_path, upto=5)
    assert [labelling.step for labelling in labellings.read(tmp_path)] == [0, 5]


@pytest.mark.errors
@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros((1, 0), int), np.zeros((1, 2)), np.array([[-2]])])
def test_what_are_no_labels_is_not_written(tmp_path, labels):
    with pytest.raises(ValueError, match=r"must be \(heads, N\) whole numbers"):
        labellings.write(tmp_path, 0, labels)
    assert not (tmp_path / "labels").exists()


def test_a_damaged_file_is_told_and_runs_nothing(tmp_path):
    path = labellings.write(tmp_path, 0, np.zeros((1, 2), int))
    np.savez(path, labels=np.array([[{"a": 1}]], dtype=object))  # a pickle
    with pytest.raises(labellings.BadLabelling, match=r"000000000\.npz cannot be read"):
        list(labellings.read(tmp_path))
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(labellings.BadLabelling, match="cannot be read"):
        list(labellings.read(tmp_path))


def test_labels_of_another_run_are_told(tmp_path):
    labellings.write(tmp_path, 0, np.zeros((1, 2), int))
    labellings.write(tmp_path, 1, np.zeros((1, 3), int))
    with pytest.raises(labellings.BadLabelling, match=r"holds labels \(1, 3\)"):
        list(labellings.read(tmp_path))
