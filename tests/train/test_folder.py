import json
import re

import pytest

from unshuffle.recipes import shuffle
from unshuffle.train import folder
from unshuffle.train.folder import RunError
from unshuffle.train.machine import Machine


def create(out, recipe=None):
    return folder.create(out, shuffle() if recipe is None else recipe, Machine(workers=3), data="photos", title="a run")


def test_what_was_written_is_read(tmp_path):
    assert create(tmp_path / "deep/run") == tmp_path / "deep/run"
    assert folder.read(tmp_path / "deep/run") == (shuffle(), Machine(workers=3), "photos")
    assert folder.reopen(str(tmp_path / "deep/run")) == tmp_path / "deep/run"


def test_it_says_what_made_it(tmp_path):
    written = json.loads((create(tmp_path / "run") / "recipe.json").read_text())
    assert written["title"] == "a run"
    assert {"unshuffle", "torch", "python"} <= written["versions"].keys()
    assert written["revision"] is None or re.fullmatch(r"[\w.-]+", written["revision"])


def test_a_run_is_never_overwritten(tmp_path):
    create(tmp_path / "run")
    with pytest.raises(RunError, match=rf"already holds a run.*train --resume {tmp_path}/run"):
        create(tmp_path / "run")


@pytest.mark.parametrize("name", ["metrics.csv", "encoder.json", "checkpoints"])
def test_another_ones_files_are_never_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=f"holds {name} of something else; give another --out"):
        create(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="run is a file; give another --out"):
        create(tmp_path / "run")


def test_without_a_name_the_next_free_number_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(create(None)) for _ in range(2)] == ["runs/a-run-1", "runs/a-run-2"]


def test_there_must_be_a_run_to_go_on(tmp_path):
    for out, message in ((None, "name its folder"), (tmp_path, "no run in"), (tmp_path / "none", "no run in")):
        with pytest.raises(RunError, match=message):
            folder.reopen(out)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"recipe": {"type": "Evil"}, "machine": 1}', '{"recipe": {"type": "Grid", "x": 1}}'],
)  # fmt: skip
def test_a_damaged_recipe_is_named(text, tmp_path):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(RunError, match=rf"{tmp_path}/recipe.json cannot be read: "):
        folder.read(tmp_path)


def test_a_recipe_of_ones_own_is_written_as_text(tmp_path):
    create(tmp_path / "run", recipe=object())
    assert isinstance(folder.read(tmp_path / "run").recipe, str)


@pytest.mark.parametrize("change", ["devices=0", "log_every=0", "workers=-1", "max_unreadable=-1", "save_every=-1.0"])
def test_a_machine_that_cannot_work_is_refused(change):
    name, value = change.split("=")
    with pytest.raises(ValueError, match=f"Machine: `{name}` must be .*; got {value}"):
        Machine(**{name: type(getattr(Machine(), name))(value)})
