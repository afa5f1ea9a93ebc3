"""Neighbours that are asked while a representation is being learnt."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from unshuffle.data import ImageFolder, Images
from unshuffle.data.arrays import Arrays
from unshuffle.data.loaders import Unreadable
from unshuffle.data.samples import digits
from unshuffle.data.views import simclr_views
from unshuffle.evals import knn_predict
from unshuffle.evals.encoder import Encoder
from unshuffle.nets import Projector, SmallConv
from unshuffle.recipes import ViewsRecipe, groco
from unshuffle.train import online
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Silent


class Pixels(nn.Module):
    """Embeds by the pixels themselves; as its own transform it leaves them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def embed(self, items: Tensor) -> Tensor:
        return self.scale * items.flatten(1)

    def prepare(self, items: Tensor) -> Tensor:
        return items.float()


def pixels() -> Encoder:
    net = Pixels()
    return Encoder(net, net, (1, 8, 8))


def test_the_share_is_that_of_the_evaluation():
    """Of digits whose classes are numbered from 40, in steps of two."""
    data = digits()
    known, asked = (Arrays(part.items, 40 + 2 * part.labels) for part in (data.train, data.test))

    share = online.neighbours(pixels(), known, asked)

    (labels, truth), (bank, queries) = (
        data.targets["digit"],
        (p.items.flatten(1).numpy() for p in (data.train, data.test)),
    )
    assert share == (knn_predict(bank, labels, queries) == truth).mean()
    assert share > 0.9


def test_files_in_no_class_folder_neither_vote_nor_are_asked(tmp_path):
    for name in ("left/0", "left/1", "left/2", "right/0", "right/1", "stray"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lit = np.zeros((8, 8), np.uint8)
        lit[:, slice(0, 4) if "left" in name else slice(4, 8)] = 200
        Image.fromarray(lit).save(tmp_path / f"{name}.png")
    data = ImageFolder(tmp_path, Images(size=8, smallest=8, grey=True))
    assert data.labels == [0, 0, 0, 1, 1, -1]

    assert online.neighbours(pixels(), data, Subset(data, [2, 4, 5])) == 1.0
    assert online.neighbours(pixels(), data, Subset(data, [5])) is None


def test_of_many_samples_some_from_all_over_are_asked(monkeypatch):
    monkeypatch.setattr(online, "MOST_KNOWN", 100)
    monkeypatch.setattr(online, "MOST_ASKED", 7)
    data = digits()
    order = data.train.labels.argsort()
    known = Arrays(data.train.items[order], data.train.labels[order])  # class after class

    share = online.neighbours(pixels(), known, data.test)

    assert share * 7 == pytest.approx(round(share * 7))
    assert share > 0.5


class Read(Dataset):
    """Samples as they are given."""

    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


ITEM = torch.zeros(1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    "sample", [ITEM, (ITEM, None), (ITEM, 0.5), (ITEM, np.array([0, 1])), Unreadable("a", "torn")], ids=repr
)
def test_without_classes_nobody_is_asked(sample):
    assert online.neighbours(pixels(), Read([sample] * 4), Read([sample] * 2)) is None


SMALL = replace(
    groco(), views=replace(simclr_views(12), mean=(0.5,), std=(0.25,)), backbone=SmallConv(4),
    projector=Projector(8, 8), batch_size=10, epochs=3, holdout=0.2, knn_every=2,
)  # fmt: skip


def rows(recipe: ViewsRecipe, data: Dataset, tmp_path) -> list[dict[str, str]]:
    machine = Machine(device="cpu", log_every=1)
    train(recipe, data, out=tmp_path, machine=machine, progress=Silent())
    return tiny.rows(tmp_path)


def test_every_other_epoch_has_its_share_in_the_metrics(tmp_path):
    data = Arrays(tiny.arrays().items, torch.arange(40) % 4)

    found = rows(SMALL, data, tmp_path)

    told = {int(row["epoch"]): row["knn"] for row in found if row["split"] == "holdout"}
    assert [epoch for epoch, share in told.items() if share] == [1]
    assert 0 <= float(told[1]) <= 1
    assert all(row["knn"] == "" for row in found if row["split"] == "train")


def test_asking_changes_nothing_that_is_learnt(tmp_path):
    data = Arrays(tiny.arrays().items, torch.arange(40) % 4)

    for every in (0, 1):
        rows(replace(SMALL, knn_every=every), data, tmp_path / str(every))

    silent, asked = (tiny.last(tmp_path / name)["method"] for name in "01")
    assert tiny.equal(silent, asked)
    assert "knn" not in tiny.rows(tmp_path / "0")[0]
