"""What goes wrong stops the run with a clear message, and what was good before is kept."""

import errno
import math
import os
import pickle
from dataclasses import replace

import pytest
import tiny
import torch
from torch.utils.data import Dataset

import unshuffle
from unshuffle.data.loaders import TooManyUnreadable, Unreadable
from unshuffle.methods import ShuffleToLearn
from unshuffle.train import checkpoints
from unshuffle.train.checkpoints import BadCheckpoint
from unshuffle.train.engine import Diverged
from unshuffle.train.folder import RunError
from unshuffle.train.optim import AdamW
from unshuffle.train.refused import Before


class Holed(Dataset):
    """Pictures of which some cannot be read."""

    def __init__(self, holes: set[int], count: int = 40) -> None:
        self.whole, self.holes = tiny.arrays(count), holes

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int):
        return Unreadable(f"{index}.png", "it is torn") if index in self.holes else self.whole[index]


class Evil:
    """A stranger's object: unpickling it would make a file."""

    def __init__(self, trace) -> None:
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def spoil_loss(step: int, by: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiplies the loss of the ``step``-th training step."""
    whole, count = ShuffleToLearn.step, 0

    def spoilt(self, batch):
        nonlocal count
        count += self.training
        result = whole(self, batch)
        return result._replace(loss=result.loss * by) if count == step and self.training else result

    monkeypatch.setattr(ShuffleToLearn, "step", spoilt)


def fill_disk(monkeypatch: pytest.MonkeyPatch, module: str, name: str, *, after: int) -> None:
    """Lets the ``after``-th opening of a file that is named so be the last before no byte more fits."""
    count = 0

    def opened(path, mode="r", **how):
        nonlocal count
        file = open(path, mode, **how)  # noqa: SIM115
        count += name in str(path)
        if count > after and name in str(path):
            return Full(file)
        return file

    monkeypatch.setattr(f"{module}.open", opened, raising=False)


class Full:
    """A file on a full disk: takes a few bytes, then none."""

    def __init__(self, file) -> None:
        self.file = file

    def write(self, data):
        self.file.write(data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("by", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 7])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint_before(step, by, tmp_path, monkeypatch):
    run = tmp_path / "run"
    kept = rf"the last good checkpoint is {run}/checkpoints/last.pt" if step > 1 else "no checkpoint had been written"
    with monkeypatch.context() as patched:
        spoil_loss(step, by, patched)
        with pytest.raises(Diverged, match=rf"the loss of step {step} is .*{kept}.*lr"):
            tiny.job(run)
    assert not (run / "encoder.json").exists()
    if step > 1:
        assert checkpoints.load(run / "checkpoints/last.pt")["step"] == step - 1

    tiny.job(run, resume=True)

    assert tiny.last(run)["step"] == tiny.STEPS


def test_a_learning_rate_beyond_reason_is_found_out(tmp_path):
    """No patch: this run really diverges, and what it saved before does not."""
    recipe = replace(tiny.RECIPE, optim=AdamW(lr=1e6))
    with pytest.raises(Diverged, match=r"step \d+"):
        tiny.job(tmp_path / "run", recipe=recipe)
    state = tiny.last(tmp_path / "run")["method"]
    assert all(torch.isfinite(t).all() for t in state.values() if t.is_floating_point())


@pytest.mark.parametrize("name", ["score.2.weight", "aggregate.1.running_var"])
def test_a_weight_that_is_no_number_is_never_saved(name, tmp_path, monkeypatch):
    def spoil(method):
        tensor = method.scorer.state_dict()[name]
        spoil.steps += 1
        if spoil.steps == 6:
            tensor.fill_(math.nan)

    spoil.steps = 0
    monkeypatch.setattr(ShuffleToLearn, "after_step", spoil, raising=False)
    with pytest.raises(Diverged, match="a weight is no longer a number after step 6"):
        tiny.job(tmp_path / "run")
    assert tiny.last(tmp_path / "run")["step"] == 5


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        fill_disk(patched, "unshuffle._files", ".part", after=5)  # recipe.json, the list of samples, and three steps
        with pytest.raises(OSError, match="No space left") as caught:
            tiny.job(run)
    assert caught.value.errno == errno.ENOSPC
    assert tiny.last(run)["step"] == 3
    assert not list(run.rglob("*.part"))

    tiny.job(run, resume=True)

    tiny.job(tmp_path / "whole")
    assert tiny.equal(tiny.remains(run), tiny.remains(tmp_path / "whole"))


def test_a_row_that_the_disk_has_no_room_for_is_written_again(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        fill_disk(patched, "unshuffle.train.metrics", "metrics.csv", after=2)
        with pytest.raises(OSError, match="No space left"):
            tiny.job(run)

    tiny.job(run, resume=True)

    tiny.job(tmp_path / "whole")
    assert tiny.equal(tiny.remains(run), tiny.remains(tmp_path / "whole"))


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_strangers_checkpoint_is_refused_and_not_run(form, alone, tmp_path):
    run, trace = tmp_path / "run", tmp_path / "it ran"
    tiny.job(run)
    state, path = {**tiny.last(run), "best": Evil(trace)}, run / "checkpoints/last.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    if alone:
        (run / "checkpoints/previous.pt").unlink()

    if form == "zip" or alone:
        with pytest.raises(
            BadCheckpoint, match=r"last.pt .* (something else than tensors|no archive).* Nothing .* run"
        ):
            tiny.job(run, resume=True)
    else:  # what is no archive counts as damaged
        tiny.job(run, resume=True)

    assert not trace.exists()


@pytest.mark.parametrize("size", [0, 1, 2000, -1], ids=["empty", "one-byte", "half", "all-but-one-byte"])
def test_a_checkpoint_that_was_cut_off_is_refused(size, tmp_path):
    run = tmp_path / "run"
    tiny.job(run)
    path = run / "checkpoints/last.pt"
    path.write_bytes(path.read_bytes()[:size])
    (run / "checkpoints/previous.pt").unlink()
    with pytest.raises(BadCheckpoint, match=r"last.pt .* it is damaged.*delete it to begin again"):
        tiny.job(run, resume=True)

    path.unlink()
    tiny.job(run, resume=True)
    assert tiny.last(run)["step"] == tiny.STEPS


@pytest.mark.parametrize("change", [{"step": "x"}, {"method": 3}, {"optimizer": {}}, {"best": None}])
def test_a_checkpoint_that_does_not_fit_is_refused(change, tmp_path):
    run = tmp_path / "run"
    tiny.job(run)
    checkpoints.save(run / "checkpoints/last.pt", {**tiny.last(run), **change})
    with pytest.raises(BadCheckpoint, match=r"last.pt does not fit this recipe"):
        tiny.job(run, resume=True)


def test_another_recipe_cannot_go_on(tmp_path):
    tiny.job(tmp_path / "run")
    with pytest.raises(BadCheckpoint, match="size mismatch"):
        tiny.job(tmp_path / "run", recipe=replace(tiny.RECIPE, hidden=17), resume=True)


def test_other_data_cannot_go_on(tmp_path):
    tiny.job(tmp_path / "run", dataset=tiny.arrays(40))
    with pytest.raises(RunError, match="data have changed: 54 samples to train on, 36 when the run began"):
        tiny.job(tmp_path / "run", dataset=tiny.arrays(60), resume=True)


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(tmp_path):
    tiny.job(tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        tiny.job(tmp_path / "run")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_samples_that_cannot_be_read_are_counted_named_and_skipped(tmp_path, capsys):
    unshuffle.fit(tiny.RECIPE, Holed({3, 17}), out=tmp_path / "run", machine=unshuffle.Machine(device="cpu"))
    words = capsys.readouterr().err
    assert words.count("skipped 3.png: it is torn") == 1  # not once an epoch
    assert "2 unreadable: " in words
    assert "17.png (it is torn)" in words


def test_one_unreadable_sample_too_many_stops_the_run(tmp_path):
    machine = unshuffle.Machine(device="cpu", max_unreadable=2)
    with pytest.raises(TooManyUnreadable, match=r"3 unreadable: .* The limit is 2 \(--max-unreadable\)"):
        unshuffle.fit(tiny.RECIPE, Holed({1, 2, 3}), out=tmp_path / "run", machine=machine)


def test_a_step_without_readable_samples_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match=r"step \d+ is left with fewer than 2 readable samples. \d+ unreadable: "):
        tiny.job(tmp_path / "run", dataset=Holed(set(range(1, 40))))


def test_no_readable_sample_at_all_makes_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"not one sample could be read. 40 unreadable: 0.png \(it is torn\)"):
        tiny.job(tmp_path / "run", dataset=Holed(set(range(40))), recipe=replace(tiny.RECIPE, holdout=0.0))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "count", "message"),
    [
        ({}, 1, "needs at least two samples; the data set has 1"),
        ({"epochs": 0}, 40, "`epochs` must be from 1 to 10,000,000; got 0"),
        ({"batch_size": 1}, 40, "`batch_size` must be from 2 to 1,000,000; got 1"),
        ({"holdout": 1.0}, 40, "`holdout` must be from 0 to below 1; got 1.0"),
        ({"patches": unshuffle.recipes.ShuffleRecipe().patches}, 40, "images of 12 x 12 pixels are too small"),
    ],
    ids=["one sample", "no epoch", "one sample a step", "nothing to train on", "small pictures"],
)  # fmt: skip
def test_a_job_without_a_single_step_is_refused_before_its_folder_is_made(change, count, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tiny.job(tmp_path / "run", recipe=replace(tiny.RECIPE, **change), dataset=tiny.arrays(count))
    assert not (tmp_path / "run").exists()


def test_a_job_that_its_first_batch_refuses_leaves_the_folder_as_it_was(tmp_path):
    """The second sample of the batch is unreadable and the limit is none: known only when the folder is made."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("kept")
    for place in (tmp_path / "new/deep", tmp_path / "mine"):
        with pytest.raises(TooManyUnreadable):
            unshuffle.fit(
                tiny.RECIPE, Holed(set(range(1, 40))), out=place, machine=unshuffle.Machine("cpu", max_unreadable=0)
            )
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["mine", "mine/notes.txt"]


def test_a_run_that_has_a_checkpoint_keeps_its_folder_when_it_is_refused_later(tmp_path):
    tiny.job(tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    Before(tmp_path / "other").restore(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_more_processes_than_a_step_has_samples_for_are_refused_before_one_is_started(tmp_path):
    recipe, machine = replace(tiny.RECIPE, batch_size=4), unshuffle.Machine("cpu", devices=900)
    with pytest.raises(ValueError, match="900 processes cannot share 4 samples a step"):
        unshuffle.fit(recipe, tiny.arrays(), out=tmp_path / "run", machine=machine)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--device abacus .*cannot be had here"):
        unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", machine=unshuffle.Machine(device="abacus"))
