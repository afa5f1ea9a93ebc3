"""Galleries show the samples that they name, and leave out what cannot be read any more."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from unshuffle.data.loaders import Unreadable
from unshuffle.evals.galleries import gallery_figure, pseudo_classes


class Fading(Dataset):
    """Pictures of the brightness of their number, of which number 3 is gone."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        if index == 3:
            return Unreadable("3", "gone")
        return torch.full((1, 12, 12), 10 * index, dtype=torch.uint8)


def test_a_picture_that_is_gone_is_left_out_and_takes_no_others_place(tmp_path: Path):
    labels, index = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 3, 5, 6, 7])

    figure = gallery_figure(
        tmp_path, Fading(), labels, [0, 1], index=index, about=pseudo_classes(labels), name="gallery", title="All"
    )

    with np.load(tmp_path / "figures" / figure.file) as drawn:
        shown = [
            sorted((255 * images[there]).mean((1, 2)).round()) for images, there in zip(drawn["images"], drawn["there"])
        ]
    assert shown == [[10, 20], [50, 60, 70]]
