"""Two processes learn what one learns from the same batches, and fail together."""

import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.multiprocessing as mp
from PIL import Image
from torch import Tensor, nn
from torch.distributed import TCPStore
from torch.utils.data import Dataset

from unshuffle import _dist
from unshuffle.data.loaders import Unreadable
from unshuffle.losses import GroupOrder, InfoNCE
from unshuffle.methods import Balanced, Clustered, LearnFromViews, Rounds, SelfLabel
from unshuffle.nets import HeadsNet, SmallConv
from unshuffle.train.cosine import CosineSGD
from unshuffle.train.engine import Plan, train
from unshuffle.train.machine import Machine
from unshuffle.train.optim import AdamW
from unshuffle.train.progress import Silent
from unshuffle.types import Raw, Step, Views
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Flat:
    """A transform that draws nothing."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Raw:
        return raw._replace(items=self.prepare(raw.items))

    def prepare(self, items: Tensor) -> Tensor:
        return items.flatten(1).double() / 255


class Guess(nn.Module):
    """Learns a number that every sample has: no batch norm, no dropout. ``bad`` is a sample of infinite loss."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(144, 16), nn.Tanh(), nn.Linear(16, 1))
        self.bad = bad

    def step(self, batch: Raw) -> Step:
        losses = (self.net(batch.items).squeeze(1) - torch.sin(batch.index.double())).square()
        loss = _dist.global_mean(losses * torch.where(batch.index == self.bad, math.inf, 1.0))
        return Step(loss, {"loss": loss.detach()})

    def embed(self, items: Tensor) -> Tensor:
        return self.net[1](self.net[0](items))


@dataclass(frozen=True)
class GuessRecipe:
    """Uneven samples a step, so that two processes have unequal shares."""

    optim: AdamW = AdamW(lr=1e-2)
    batch_size: int = 7
    epochs: int = 4
    holdout: float = 0.2
    seed: int = 0
    bad: int = -1

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        method = Guess(self.bad)
        return Plan(method, Flat(), method, None, None)


@register
@dataclass(frozen=True)
class Turned:
    """Two views that draw nothing: an image, and the same turned round."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Views:
        upright = self.prepare(raw.items)
        return Views((upright, upright.flip(1).contiguous()), raw.index)

    def prepare(self, items: Tensor) -> Tensor:
        return items.flatten(1).double() / 255


class Plain(nn.Module):
    """A network for views, without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Sequential(nn.Linear(144, 16), nn.Tanh()), nn.Linear(16, 6)

    def embed(self, items: Tensor) -> Tensor:
        return self.below(items)

    def project(self, items: Tensor) -> Tensor:
        return self.above(self.below(items))


@dataclass(frozen=True)
class TurnedRecipe:
    """Groups are ordered among the images of all processes; shares are unequal, and go through the network in parts."""

    optim: CosineSGD = CosineSGD(lr=4.0, scaling="none", reference_epochs=None)
    batch_size: int = 13
    epochs: int = 6
    holdout: float = 0.2
    seed: int = 0
    loss: GroupOrder | InfoNCE = GroupOrder(4.0)

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        plain = Plain()
        return Plan(LearnFromViews(plain, self.loss, parts=2), Turned(), plain, None, None)


class Torn(Dataset):
    """Pictures of which every fifth cannot be read, so that the shares of a step differ in size."""

    def __init__(self) -> None:
        self.whole = tiny.arrays()

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int):
        return Unreadable(str(index), "torn") if index % 5 == 0 else self.whole[index]


@register
@dataclass(frozen=True)
class Still(Flat):
    """Views that are the pictures themselves, so that all processes see what one sees."""

    def __call__(self, raw: Raw, generator: torch.Generator) -> Views:
        return self.plain(raw)

    def plain(self, raw: Raw) -> Views:
        return Views((raw.items.double() / 255,), raw.index)

    def prepare(self, items: Tensor) -> Tensor:
        return items.double() / 255


@register
@dataclass(frozen=True)
class LabelRecipe(GuessRecipe):
    """Labels itself by k-means or by transport, without batch norm and dropout."""

    labelling: Balanced | Clustered = Balanced(power=10.0)

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Tanh())
        headed = HeadsNet(SmallConv(), item_shape, (5, 4)).build(backbone)
        method = SelfLabel(headed, self.labelling, Rounds(5, as_trained=False))
        return Plan(method, Still(), headed, None, None)


CASES = {
    "labels": (LabelRecipe(holdout=0.0), tiny.arrays(41)),
    "clusters": (LabelRecipe(batch_size=13, epochs=6, holdout=0.0, labelling=Clustered(components=6)), Torn()),
    "whole": (GuessRecipe(), tiny.arrays()),
    "torn": (GuessRecipe(batch_size=13, epochs=6, holdout=0.0), Torn()),
    "groups": (TurnedRecipe(), tiny.arrays()),
    "softmax": (TurnedRecipe(loss=InfoNCE(), holdout=0.0), Torn()),
}
"""What one process and two must learn alike."""
FAILURES = {
    "refused": (GuessRecipe(), Path("whole")),  # a folder that holds a run already
    "diverged": (GuessRecipe(bad=11, holdout=0.0), Path("diverged")),  # one process sees the bad sample first
    "too few": (GuessRecipe(batch_size=3), Path("few")),
}


def learn(name: str, out: Path) -> None:
    recipe, dataset = CASES[name]
    machine = Machine(device="cpu", precision="64-true", devices=_world(), log_every=1, save_every=1e9)
    train(recipe, dataset, out=out, machine=machine, progress=Silent())


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def one_of_two(rank: int, folder: str, port: int) -> None:
    """What torchrun sets, then all cases one after the other."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.set_num_threads(1)
    for name in CASES:
        learn(name, Path(folder) / name)
    own = torch.tensor([10.0 + rank])
    _dist.send_first(own)
    (Path(folder) / f"sent-{rank}.txt").write_text(str(own.tolist()))
    for name, (recipe, out) in FAILURES.items():
        machine = Machine(device="cpu", devices=2, precision="64-true")
        try:
            train(recipe, tiny.arrays(), out=Path(folder) / out, machine=machine, progress=Silent())
        except Exception as error:
            (Path(folder) / f"{name}-{rank}.txt").write_text(f"{type(error).__name__}: {error}")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes did everything."""
    folder = tmp_path_factory.mktemp("two")
    # As torchrun does, the parent keeps the store where the two meet: a free port that is only named can be lost.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mp.spawn(one_of_two, (str(folder), store.port), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns(name, two, tmp_path):
    learn(name, tmp_path)

    ours, theirs = tiny.last(tmp_path), tiny.last(two / name)
    assert ours["step"] == theirs["step"] > 10
    for key, weight in ours["method"].items():
        torch.testing.assert_close(theirs["method"][key], weight, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_rows_of_two_processes_are_those_of_one(name, two, tmp_path):
    """The loss of all samples, not of the first process's share; of a round what it did to all labels; written once."""
    learn(name, tmp_path)

    ours, theirs = tiny.rows(tmp_path), tiny.rows(two / name)
    assert [(r["step"], r["split"]) for r in ours] == [(r["step"], r["split"]) for r in theirs]
    for column in {"loss", "objective_before", "objective_after", "changed"} & set(ours[0]):
        expected, found = ([float(r[column] or "nan") for r in rows] for rows in (ours, theirs))
        assert not np.isnan(expected).all()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refused", "RunError: .*whole already holds a run"),
        ("diverged", r"Diverged: the loss of step \d+ is inf"),
    ],
)
def test_what_stops_one_process_stops_both_and_is_told_once(name, message, two):
    words = [(two / f"{name}-{rank}.txt").read_text() for rank in (0, 1)]
    told, elsewhere = sorted(words, key=lambda text: text.startswith("Elsewhere"))
    assert re.match(message, told)
    assert re.match(r"Elsewhere: process \d failed, and says why", elsewhere)


def test_too_few_samples_a_step_are_refused_before_there_is_a_folder(two):
    words = [(two / f"too few-{rank}.txt").read_text() for rank in (0, 1)]
    assert all(text.startswith("ValueError: 2 processes cannot share 3 samples a step") for text in words)
    assert not (two / "few").exists()


def test_what_the_first_process_sends_all_have(two):
    assert [(two / f"sent-{rank}.txt").read_text() for rank in (0, 1)] == ["[10.0]", "[10.0]"]


def test_the_command_starts_its_processes_itself(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"photos/{i}.png")
    call = shlex.split(
        "-m unshuffle train shuffle --data photos --out run --devices 2 --device cpu --epochs 2 --batch-size 8 "
        "--source.size 16 --patches.rows 2 --patches.columns 2 --patches.gap 2 --backbone.width 4 --hidden 16"
    )

    done = subprocess.run(
        [sys.executable, *call],
        cwd=tmp_path,
        env=tiny.environment(),
        capture_output=True,
        text=True,
        timeout=tiny.PATIENCE,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Encoder and metrics in run") == 1
    assert done.stderr.count("training: 0 of 4") == 1
    assert (tmp_path / "run/encoder.json").is_file()
    assert tiny.last(tmp_path / "run")["step"] == 4
