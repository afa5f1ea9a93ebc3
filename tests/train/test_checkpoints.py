import os
import random
import warnings

import pytest
import torch

from unshuffle.train import checkpoints
from unshuffle.train.checkpoints import BadCheckpoint

STATE = {"method": {"w": torch.arange(6.0)}, "optimizer": {"state": {}, "param_groups": []}, "step": 3, "best": 0.5}


def test_what_was_saved_is_loaded(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    checkpoints.save(path, STATE)
    loaded = checkpoints.load(path)
    assert torch.equal(loaded["method"]["w"], STATE["method"]["w"])
    assert (loaded["step"], loaded["best"]) == (3, 0.5)
    assert os.listdir(path.parent) == ["last.pt"]


def test_a_failure_while_writing_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoints.save(path, STATE)

    def half(state, file):
        file.write(b"half")
        raise RuntimeError("killed")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(RuntimeError, match="killed"):
        checkpoints.save(path, {**STATE, "step": 4})
    assert checkpoints.load(path)["step"] == 3
    assert os.listdir(tmp_path) == ["last.pt"]


def test_no_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [[1], {"method": {}}, torch.zeros(3)])
def test_a_file_that_holds_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(BadCheckpoint, match="lacks method, optimizer or step"):
        checkpoints.load(tmp_path / "last.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_is_damaged_the_answer_is_one_clear_error(zipped, tmp_path):
    """Flipped bytes and cut ends: loads what still makes sense, or refuses; without a word of PyTorch's."""
    path, rng, refusals = tmp_path / "last.pt", random.Random(0), []
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                checkpoints.load(path)
            except BadCheckpoint as error:
                refusals.append(str(error))
    assert len(refusals) > 150
    assert all("Nothing in it was run" in text for text in refusals)
