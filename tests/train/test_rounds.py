"""Rounds of labelling between the steps of a run: resumed bit for bit, logged, and exported as a table."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from torch.utils.data import Dataset, Subset

from unshuffle.cli import main
from unshuffle.data.loaders import Batches, Unreadable, sweep_loader
from unshuffle.data.relabelled import read_heads
from unshuffle.data.views import MultiView, simclr_views
from unshuffle.evals import labellings
from unshuffle.methods import Balanced, Clustered, Rounds, SelfLabel
from unshuffle.nets import Headed, SmallConv
from unshuffle.recipes import SelfLabelRecipe, sela, supervised
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.milestones import StepSGD
from unshuffle.train.progress import Silent

VIEWS = MultiView(simclr_views(12, 1).recipes, 1, mean=(0.5,), std=(0.25,))
RECIPE = SelfLabelRecipe(
    views=VIEWS, backbone=SmallConv(width=4), hidden=(9,), clusters=(5, 4), heads=2, labelling=Balanced(power=10.0),
    rounds=Rounds(6), optim=StepSGD(), batch_size=8, epochs=3,
)  # fmt: skip
RECIPES = {"balanced": RECIPE, "k-means": replace(RECIPE, labelling=Clustered(components=4))}
LAST = 15
"""Steps: 40 samples, eight a step, three epochs."""


class Crash(Exception):
    """Anything that the engine does not expect."""


def job(out: Path, recipe: SelfLabelRecipe, *, resume: bool = False, dataset: Dataset | None = None) -> None:
    machine = Machine(device="cpu", save_every=0.0, log_every=2)
    train(recipe, dataset or tiny.arrays(), out=out, machine=machine, resume=resume, progress=Silent())


@pytest.fixture(scope="module", params=RECIPES)
def whole(request, tmp_path_factory) -> tuple[SelfLabelRecipe, Path]:
    """A run that was never stopped."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp(request.param) / "run"
    job(out, RECIPES[request.param])
    return RECIPES[request.param], out


def history(out: Path) -> list[tuple[int, list]]:
    return [(made.step, made.labels.tolist()) for made in labellings.read(out)]


@pytest.mark.parametrize("place", ["step", "refresh"])
def test_a_run_that_crashed_goes_on_bit_for_bit(whole, place, tmp_path, monkeypatch):
    """In a step, or in the middle of a round: its labels, too."""
    recipe, out = whole
    original, calls = getattr(SelfLabel, place), 0

    def broken(self, *given):
        nonlocal calls
        calls += 1
        answer = original(self, *given)
        if calls == (9 if place == "step" else 4):
            raise Crash
        return answer

    monkeypatch.setattr(SelfLabel, place, broken)
    with pytest.raises(Crash):
        job(tmp_path / "run", recipe)
    monkeypatch.undo()
    assert 0 < tiny.last(tmp_path / "run")["step"] < LAST
    job(tmp_path / "run", recipe, resume=True)

    assert tiny.equal(tiny.remains(tmp_path / "run"), tiny.remains(out))
    assert history(tmp_path / "run") == history(out)


def test_every_round_leaves_a_row_and_its_labels(whole):
    _, out = whole
    rows = [row for row in tiny.rows(out) if row["split"] == "labels"]

    steps = [int(np.ceil((i / 5) ** 2 * LAST)) for i in range(6)]
    assert [int(row["step"]) for row in rows] == [min(step + 1, LAST) for step in steps]
    assert [made.step for made in labellings.read(out)] == steps
    assert all(float(row["objective_before"]) > 0 and 0 <= float(row["changed"]) <= 1 for row in rows)
    kept = tiny.last(out)["method"]
    assert kept["labels"].tolist() == history(out)[-1][1]
    assert ((kept["confidences"] > 0) & (kept["confidences"] <= 1)).all()
    assert {row["label_accuracy"] != "" for row in tiny.rows(out) if row["split"] == "train"} == {True}


def test_samples_that_are_held_out_have_no_label(tmp_path):
    job(tmp_path / "run", replace(RECIPE, holdout=0.2, epochs=1))

    labels = tiny.last(tmp_path / "run")["method"]["labels"]
    assert labels.shape == (2, 40)
    assert (labels == -1).sum(1).tolist() == [8, 8]
    assert any(row["split"] == "holdout" for row in tiny.rows(tmp_path / "run"))


class Torn(Dataset):
    """Every fifth of the pictures cannot be read."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int):
        return Unreadable(str(index), "torn") if index % 5 == 0 else tiny.arrays()[index]


def test_samples_that_cannot_be_read_have_no_label(tmp_path):
    job(tmp_path / "run", replace(RECIPE, epochs=1), dataset=Torn())

    kept = tiny.last(tmp_path / "run")["method"]
    torn = torch.arange(40) % 5 == 0
    assert ((kept["labels"] == -1) == torn).all()
    assert ((kept["confidences"] == 0) == torn).all()


class Flaky(Torn):
    """The pictures that cannot be read are there again after the first round."""

    reads = 0

    def __getitem__(self, index: int):
        self.reads += 1
        return super().__getitem__(index) if self.reads <= 41 else tiny.arrays()[index]  # one is read for its shape


def test_samples_that_can_be_read_again_are_labelled_again(tmp_path):
    job(tmp_path / "run", replace(RECIPE, epochs=1), dataset=Flaky())

    first, *_, last = labellings.read(tmp_path / "run")
    assert ((first.labels == -1) == (np.arange(40) % 5 == 0)).all()
    assert (last.labels >= 0).all()


def test_who_waits_sees_how_far_a_round_has_looked(tmp_path):
    told = []

    class Listening(Silent):
        def advance(self, done: int, logs: dict[str, float]) -> None:
            told.append((done, logs))

    machine = Machine(device="cpu")
    train(replace(RECIPE, epochs=1), tiny.arrays(), out=tmp_path / "run", machine=machine, progress=Listening())

    assert told[:5] == [(0, {"labelling, view 1": share}) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]


# ------------------------------------------------------------------------------------------------------------ the table


def test_labels_are_written_down_and_read_again(whole, tmp_path, capsys):
    _, out = whole

    assert main(["labels", str(out), "--out", str(tmp_path / "labels.parquet")]) == 0

    kept = tiny.last(out)["method"]
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert list(rows[0]) == ["file", "head", "label", "confidence"]
    for row in rows:
        assert row["label"] == kept["labels"][row["head"], int(row["file"])]
        assert row["confidence"] == pytest.approx(float(kept["confidences"][row["head"], int(row["file"])]))
    assert len(rows) == kept["labels"].numel() == 80
    assert "Labels of 40 of 40 samples, 2 a sample" in capsys.readouterr().out
    heads = read_heads(tmp_path / "labels.parquet", [str(i) for i in range(40)])
    assert heads.labels.T.tolist() == kept["labels"].tolist()


def test_the_command_needs_nothing_but_itself(whole, tmp_path):
    """A process of its own knows the recipes that the command imports, and no others."""
    call = [sys.executable, "-m", "unshuffle", "labels", str(whole[1]), "--out", str(tmp_path / "labels.csv")]

    done = subprocess.run(call, env=tiny.environment(), capture_output=True, text=True, timeout=tiny.PATIENCE)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "labels.csv").read_text().splitlines()[0] == '"file","head","label","confidence"'


@pytest.mark.errors
@pytest.mark.parametrize(
    ("out", "words"),
    [("labels.txt", "must be a .parquet or a .csv file; got"), ("folder.csv", "is a folder; give a file")],
)
def test_what_is_no_table_is_refused_before_the_run_is_read(out, words, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()

    assert main(["labels", "nowhere", "--out", str(tmp_path / out)]) == 1

    assert words in capsys.readouterr().err


@pytest.mark.errors
def test_a_run_without_labels_says_so(tmp_path, capsys):
    recipe = replace(
        supervised(), classes=(2,), views=VIEWS, backbone=SmallConv(width=4), batch_size=20, epochs=1
    )  # fmt: skip
    data = tiny.arrays()
    data.labels = torch.arange(40) % 2
    machine = Machine(device="cpu")
    run = train(recipe, data, out=tmp_path / "run", machine=machine, progress=Silent())
    assert isinstance(cast(Headed, run.encoder.net).heads[0], torch.nn.Linear)

    assert main(["labels", str(tmp_path / "run"), "--out", str(tmp_path / "labels.parquet")]) == 1

    assert "found no labels: train sela, kmeans" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------- the sweep


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 12), (3, 12), (2, 40)])
def test_a_sweep_sees_every_sample_once_in_batches_alike(processes, batch_size):
    seen, counts = [], set()
    for rank in range(processes):
        loader = sweep_loader(tiny.arrays(41), batch_size=batch_size, rank=rank, processes=processes)
        batches = [loaded.raw.index.tolist() for loaded in loader]
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        assert max(map(len, batches)) <= batch_size // processes
        counts.add(len(batches))
        seen += [index for batch in batches for index in batch]

    assert seen == list(range(41))
    assert len(counts) == 1  # synchronised norms wait for each other in every batch


def test_a_sweep_of_a_part_tells_the_place_in_the_whole():
    loader = sweep_loader(Subset(tiny.arrays(), [3, 5, 8]), batch_size=2)

    assert [i for loaded in loader for i in loaded.raw.index.tolist()] == [3, 5, 8]


def test_weights_say_how_often_a_sample_is_drawn_and_a_run_that_goes_on_draws_the_same():
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0])
    options = {"batch_size": 2, "seed": 0, "weights": weights}
    drawn = list(Batches(4, first=0, last=2000, **options))

    counts = np.bincount([index for batch in drawn for _, index in batch], minlength=4)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert counts[2] / counts.sum() == pytest.approx(0.75, abs=0.03)
    assert list(Batches(4, first=777, last=2000, **options)) == drawn[777:]


def test_the_users_recipes_are_what_their_flags_say():
    assert sela().classes == (128,) * 10
    assert replace(sela(), clusters=(3, 4), heads=2).classes == (3, 4)


@pytest.mark.errors
def test_clusters_must_fit_the_heads():
    with pytest.raises(ValueError, match="`clusters` must be one number, or one for each of 10 heads; got 3"):
        SelfLabelRecipe(clusters=(1, 2, 3))
