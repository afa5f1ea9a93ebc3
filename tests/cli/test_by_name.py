"""Commands that pair what a run stored with files do so by name, and say what has changed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from small import TINY, pictures

from unshuffle.data import Images
from unshuffle.data.views import MultiView, simclr_views
from unshuffle.evals import labellings
from unshuffle.methods import Balanced, Rounds
from unshuffle.nets import SmallConv
from unshuffle.recipes import SelfLabelRecipe
from unshuffle.train import manifest
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.milestones import StepSGD
from unshuffle.train.progress import Silent

RECIPE = SelfLabelRecipe(
    source=Images(size=16), views=MultiView(simclr_views(16, 1).recipes, 1), backbone=SmallConv(width=4), hidden=(9,),
    clusters=(3, 2), heads=2, labelling=Balanced(power=10.0), rounds=Rounds(2), optim=StepSGD(), batch_size=8, epochs=1,
)  # fmt: skip


@pytest.fixture
def labelled(tmp_path) -> tuple[Path, Path]:
    """Two folders of pictures, and a run that has labelled them."""
    data, run = tmp_path / "classes", tmp_path / "run"
    for seed, name in enumerate(("cat", "dog")):
        pictures(data / name, 8, seed=seed)
    train(
        RECIPE, Images(size=16).open(data), out=run, machine=Machine(device="cpu"), data=str(data), progress=Silent()
    )  # fmt: skip
    return data, run


def table(path: Path) -> dict[tuple[str, str], str]:
    with open(path, newline="") as file:
        return {(row["file"], row["head"]): row["label"] for row in csv.DictReader(file)}


def written(call, run: Path, *flags: object):
    out = run.parent / "labels.csv"
    done = call("labels", run, "--out", out, *flags)
    assert done.status == 0, done.err
    return table(out), " ".join(done.err.split())


def test_labels_keep_their_owners_when_a_file_is_renamed(labelled, call):
    data, run = labelled
    before, told = written(call, run)
    assert len(before) == 32
    assert not told
    (data / "cat/00.png").rename(data / "cat/zz.png")

    after, told = written(call, run)

    assert after == before
    assert "1 missing (cat/00.png), 1 new (cat/zz.png)" in told


def test_labels_need_the_data_no_longer(labelled, call):
    data, run = labelled
    before, _ = written(call, run)
    data.rename(data.with_name("moved"))

    without, told = written(call, run)
    assert without == before
    assert "the names that the run began with" in told
    assert written(call, run, "--data", data.with_name("moved")) == (before, "")


@pytest.mark.errors
def test_labels_of_other_data_are_refused(labelled, call, tmp_path):
    _, run = labelled
    other = pictures(tmp_path / "other", 16)
    done = call("labels", run, "--data", other, "--out", tmp_path / "x.csv")
    assert done.status == 1
    assert "holds none of the samples" in done.err
    assert "16 missing" in done.err
    assert not (tmp_path / "x.csv").exists()


def test_labels_of_an_old_run_say_that_they_go_by_number(labelled, call):
    _, run = labelled
    before, _ = written(call, run)
    (run / manifest.FILE).unlink()
    after, told = written(call, run)
    assert after == before
    assert "keeps no list of its samples" in told


@pytest.mark.errors
def test_a_list_of_another_run_is_refused(labelled, call):
    _, run = labelled
    (run / manifest.FILE).unlink()
    manifest.write(run, manifest.Manifest(3, None, ["a", "b", "c"], None, ""))
    done = call("labels", run)
    assert done.status == 1
    assert "lists 3 samples, and the run labelled 16" in done.err


def test_classes_are_those_of_the_files_that_were_labelled(labelled, call):
    """The labels are the classes: NMI 1. By number, the renamed file would give most samples a neighbour's class."""
    data, run = labelled
    last = labellings.last(run)
    labellings.write(run, last.step, np.stack([np.repeat([0, 1], 8)] * 2))
    (data / "cat/00.png").rename(data / "dog/zz.png")
    assert call("eval", run, "--data", data, "--suite", "clustering", "--galleries", "1").status == 0

    results = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    found = {r["metric"]: r for r in results if r.get("split") == "training" and r["task"] == "clusters and classes"}
    assert found["NMI"]["value"] == 1


def test_a_run_goes_on_from_the_command_line_with_moved_data_and_more_workers(tmp_path, call):
    data, run = pictures(tmp_path / "photos", 12), tmp_path / "run"
    assert call("train", "shuffle", "--data", data, "--out", run, *TINY).status == 0
    data.rename(tmp_path / "moved")
    assert call("train", "--resume", run).status == 1

    done = call("train", "--data", tmp_path / "moved", "--workers", "1", "--resume", run)

    assert done.status == 0, done.err


@pytest.mark.errors
def test_held_out_samples_stay_held_out(labelled, call):
    """Evaluation of the same data looks at what training did not: also when a file has another name now."""
    from unshuffle.cli.runs import matched

    data, run = labelled
    before = Images(size=16).open(data).names
    (data / "cat/03.png").rename(data / "dog/zz.png")
    now = Images(size=16).open(data)
    rows = matched(run, now, data).rows
    kept = [k for k in range(16) if rows[k] >= 0]
    assert [now.names[rows[k]] for k in kept] == [before[k] for k in kept]
    assert len(kept) == 15
