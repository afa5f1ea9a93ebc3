"""Samples that one of two processes cannot read: both end in the same way, and nobody waits for ever."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import torch.multiprocessing as mp
from test_processes import CASES as ALL
from test_processes import GuessRecipe, Torn
from torch.distributed import TCPStore
from torch.utils.data import Dataset

from unshuffle.data.loaders import Unreadable
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Silent


class Torn1(Dataset):
    """Pictures of which the second process cannot read some, in one of three ways."""

    def __init__(self, places: set[int], how: str) -> None:
        self.whole, self.places, self.how = tiny.arrays(), places, how

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int):
        if index not in self.places or os.environ.get("LOCAL_RANK") != "1":
            return self.whole[index]
        if self.how == "raises":
            raise RuntimeError("the decoder broke")
        return Unreadable(str(index), "torn")


def held_out(recipe: GuessRecipe) -> set[int]:
    from unshuffle.train.parts import split

    return set(split(tiny.arrays(), recipe.holdout, seed=recipe.seed)[1].indices)


SMALL, SWEPT = GuessRecipe(), replace(ALL["labels"][0], batch_size=8)
CASES = {
    "held out": (SMALL, Torn1(held_out(SMALL), "unreadable"), "fine", "fine"),
    "half of a held-out batch": (SMALL, Torn1(set(list(held_out(SMALL))[:4]), "unreadable"), "fine", "fine"),
    "some of a batch": (replace(SMALL, batch_size=20), Torn1({3, 17, 29}, "unreadable"), "fine", "fine"),
    "uneven": (replace(SMALL, batch_size=20, holdout=0.0), Torn(), "fine", "fine"),
    "all": (SMALL, Torn1(set(range(1, 40)), "unreadable"), "Elsewhere", "ValueError: step"),
    "broken": (replace(SMALL, holdout=0.0), Torn1({7}, "raises"), "Elsewhere", "RuntimeError: the decoder broke"),
    "a whole batch of a sweep": (SWEPT, Torn1(set(range(21, 25)), "unreadable"), "fine", "fine"),
    "broken in a sweep": (SWEPT, Torn1({33}, "raises"), "Elsewhere", "RuntimeError: the decoder broke"),
}
"""Recipe, data, and how the first and the second process end."""


def one_of_two(rank: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.set_num_threads(1)
    machine = Machine(device="cpu", devices=2, precision="64-true", log_every=1)
    for name, (recipe, dataset, _, _) in CASES.items():
        told = "fine"
        try:
            train(recipe, dataset, out=Path(folder) / name, machine=machine, progress=Silent())
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        (Path(folder) / f"{name}-{rank}.txt").write_text(told)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mp.spawn(one_of_two, (str(folder), store.port), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_both_processes_end_in_the_same_way(name, two):
    *_, first, second = CASES[name]
    assert (two / f"{name}-0.txt").read_text().startswith(first)
    assert (two / f"{name}-1.txt").read_text().startswith(second)


def test_what_the_second_process_cannot_read_of_the_held_out_samples_changes_nothing(two, tmp_path):
    machine = Machine(device="cpu", precision="64-true", log_every=1)
    train(SMALL, tiny.arrays(), out=tmp_path / "one", machine=machine, progress=Silent())
    ours, theirs = ([r for r in tiny.rows(f) if r["split"] == "holdout"] for f in (tmp_path / "one", two / "held out"))
    assert [float(r["loss"]) for r in theirs] == pytest.approx([float(r["loss"]) for r in ours], rel=1e-5)
