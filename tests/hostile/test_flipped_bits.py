"""A flipped bit or a cut end is refused by name, or changes nothing: it never loads as something else."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_runs import LONG, tiny

import unshuffle
from unshuffle import values
from unshuffle.evals import labellings
from unshuffle.train import checkpoints, folder

TRIES = 4000 if LONG else 150
STATE = {
    "method": {"w": torch.randn(20, 15, generator=torch.Generator().manual_seed(0)), "n": torch.tensor(5)},
    "optimizer": {"state": {0: {"m": torch.ones(20, 15)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    "step": 7, "best": 0.5, "samples": 30, "seconds": 1.25,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny.job(out)
    return out


def damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """The same content with one bit flipped, or with its end cut off."""
    rng = random.Random(len(whole))
    for _ in range(TRIES):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        yield f"bit {bit} of byte {place}", whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    for end in {0, 1, 4096, 5000, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(TRIES // 10))}:
        if end < len(whole):
            yield f"cut at {end}", whole[:end]


def check(path: Path, load: Callable[[], Any], refusal: type[Exception]) -> tuple[int, int]:
    """How many damaged files were refused by name, and how many loaded as what they were; all others are faults."""
    whole, expected = path.read_bytes(), load()
    refused = same = tried = 0
    for what, content in damaged(whole):
        path.write_bytes(content)
        try:
            loaded = load()
        except refusal as error:
            refused += path.name in str(error) or path.parent.name in str(error)
        else:
            assert tiny.equal(loaded, expected), f"{what} of {path.name} loads as something else"
            same += 1
        tried += 1
    path.write_bytes(whole)
    assert refused + same == tried  # each refusal names the file
    return refused, same


def test_a_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    checkpoints.save(path, STATE)
    refused, same = check(path, lambda: checkpoints.load(path), checkpoints.BadCheckpoint)
    assert refused > 3 * same


def test_a_checkpoint_of_an_earlier_version(tmp_path):
    """Plain ``torch.save``: what is checked has always been in the file."""
    path = tmp_path / "last.pt"
    torch.save(STATE, path)
    refused, same = check(path, lambda: checkpoints.load(path), checkpoints.BadCheckpoint)
    assert refused > 3 * same


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.json"])
def test_an_encoder(name, run):
    def load():
        encoder = unshuffle.load(run)
        told = [values.to_json(part) for part in (encoder.transform, encoder.objective, encoder.net_value)]
        return [told, encoder.item_shape, dict(encoder.state_dict())]

    refused, same = check(run / name, load, ValueError)
    assert refused > 3 * same  # most of what spaces a description out says nothing


def test_the_labels_of_a_round(tmp_path):
    labels = np.random.default_rng(0).integers(0, 10, (2, 500))
    path = labellings.write(tmp_path, 3, labels)
    check(path, lambda: torch.from_numpy(labellings.last(tmp_path).labels), labellings.BadLabelling)


def test_a_recipe(run):
    """Machine and data may be edited, so that a flipped bit may change them; what decides the numbers may not."""
    check(run / "recipe.json", lambda: values.to_json(folder.read(run).recipe), folder.RunError)


def test_an_encoder_and_a_recipe_of_an_earlier_version_load(run, tmp_path):
    expected = dict(unshuffle.load(run).state_dict())
    for name, gone in (("encoder.json", ("checksum", "weights")), ("recipe.json", ("checksum",))):
        told = json.loads((run / name).read_text())
        (tmp_path / name).write_text(json.dumps({k: v for k, v in told.items() if k not in gone}))
    (tmp_path / "encoder.safetensors").write_bytes((run / "encoder.safetensors").read_bytes())

    assert tiny.equal(dict(unshuffle.load(tmp_path).state_dict()), expected)
    assert folder.read(tmp_path) == folder.read(run)


def test_weights_of_another_save_are_refused(run, tmp_path):
    tiny.job(tmp_path / "other", dataset=tiny.arrays())
    (tmp_path / "other/encoder.json").write_bytes((run / "encoder.json").read_bytes())
    with pytest.raises(ValueError, match=r"encoder.safetensors is damaged, or not of the same save as encoder.json"):
        unshuffle.load(tmp_path / "other")


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "empty"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(damage, run, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("unshuffle.train.progress.Silent.say", lambda self, text: said.append(text))
    out = tmp_path / "run"
    tiny.job(out)
    last = out / "checkpoints/last.pt"
    whole = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        flipped = whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:]
        last.write_bytes({"bit": flipped, "cut": whole[:5000], "empty": b""}[damage])

    tiny.job(out, resume=True)

    assert tiny.equal(tiny.remains(out), tiny.remains(run))
    assert any("last.pt is" in text and "going on from" in text and "previous.pt" in text for text in said)
    assert (out / "checkpoints/last.damaged.pt").exists() == (damage != "gone")
    assert checkpoints.load(out / "checkpoints/previous.pt")["step"] == tiny.STEPS - 1


def test_two_damaged_checkpoints_are_an_error_that_names_the_newest(tmp_path):
    tiny.job(tmp_path / "run")
    for name in ("last.pt", "previous.pt"):
        (tmp_path / "run/checkpoints" / name).write_bytes(b"PK")
    with pytest.raises(checkpoints.BadCheckpoint, match=r"last.pt is no checkpoint .* is damaged"):
        tiny.job(tmp_path / "run", resume=True)
    assert (tmp_path / "run/checkpoints/last.pt").read_bytes() == b"PK"
