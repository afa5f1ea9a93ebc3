"""Jobs of a second, and what is left of a run to compare. As a script: one job in a process that waits to be killed."""

import argparse
import csv
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle.data.arrays import Arrays
from unshuffle.data.patching import Grid
from unshuffle.nets import SmallConv
from unshuffle.recipes import ShuffleRecipe, shuffle
from unshuffle.train.engine import Trained, train
from unshuffle.train.machine import Machine
from unshuffle.train.optim import AdamW
from unshuffle.train.progress import Reporter, Silent

PATIENCE = 600.0
"""Seconds after which a process is taken to hang: with a twentieth of a busy core it only needs minutes."""
STEPS = 12
"""Of :data:`RECIPE` on 40 samples: 4 are held out, and three epochs have four steps each."""
RECIPE = replace(
    shuffle(), patches=Grid(2, 2, gap=2), backbone=SmallConv(width=4), patch_features=8, hidden=16, dropout=0.5,
    batch_size=8, epochs=3, holdout=0.1, optim=AdamW(lr=1e-2, warmup=0.2),
)  # fmt: skip


def arrays(count: int = 40, *, channels: int = 1) -> Arrays:
    """Random pictures of 12 pixels a side."""
    generator = torch.Generator().manual_seed(7)
    return Arrays(torch.randint(0, 256, (count, channels, 12, 12), generator=generator, dtype=torch.uint8))


class Noisy(Dataset):
    """Pictures to which every reading adds what PyTorch, numpy and Python draw just then."""

    def __init__(self) -> None:
        self.items = arrays().items.float() / 255

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        drawn = np.random.rand() + random.random()  # noqa: NPY002  (as users' data sets do)
        return self.items[index] + 0.1 * torch.rand(1, 12, 12) + 0.1 * drawn


def job(
    out: Path,
    *,
    recipe: ShuffleRecipe = RECIPE,
    dataset: Dataset | None = None,
    workers: int = 0,
    save_every: float = 0.0,
    resume: bool = False,
    progress: Reporter | None = None,
) -> Trained:
    """Trains; by default with a checkpoint after every step and a row for every second one."""
    machine = Machine(device="cpu", workers=workers, save_every=save_every, log_every=2)
    data = Noisy() if dataset is None else dataset
    return train(recipe, data, out=out, machine=machine, resume=resume, progress=progress or Silent())


def last(out: Path) -> dict[str, Any]:
    """The run's last checkpoint."""
    return torch.load(out / "checkpoints" / "last.pt", weights_only=True)


def rows(out: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``, without the seconds that they took; none while there is no file."""
    if not (out / "metrics.csv").exists():
        return []
    with open(out / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


class Remains(NamedTuple):
    """All that a finished run leaves but its times."""

    state: dict[str, Any]
    encoder: dict[str, Tensor]
    rows: list[dict[str, str]]


def remains(out: Path) -> Remains:
    """What a finished run left."""
    state = last(out)
    del state["seconds"]
    return Remains(state, load_file(out / "encoder.safetensors"), rows(out))


def equal(a: Any, b: Any) -> bool:
    """Whether two nests of tensors and plain values are the same, bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    return a == b


def environment() -> dict[str, str]:
    """For processes that tests start."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


class Lingering(Silent):
    """Stays at the last step for as long as anyone waits, so that nobody comes too late to kill the process."""

    def start(self, what: str, total: int, done: int = 0) -> None:
        self.total = total

    def advance(self, done: int, logs: dict[str, float]) -> None:
        if done == self.total:
            time.sleep(PATIENCE)


def _die_while_saving(number: int) -> None:
    """Lets the ``number``-th checkpoint be written by half, and the process end there and then."""
    whole, count = torch.save, 0

    def half(state: Any, file: Any) -> None:
        nonlocal count
        count += 1
        if count < number:
            whole(state, file)
            return
        file.write(b"PK\x03\x04 half a checkpoint")
        file.flush()
        os._exit(9)

    torch.save = half


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save-every", type=float, default=0.0)
    parser.add_argument("--die-while-saving", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.die_while_saving is not None:
        _die_while_saving(given.die_while_saving)
    recipe = replace(RECIPE, epochs=given.epochs)
    job(given.out, recipe=recipe, workers=given.workers, save_every=given.save_every, progress=Lingering())
