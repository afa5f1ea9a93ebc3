"""Folders of small pictures, a trained run, and a way to call commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from small import TINY, pictures

from unshuffle.cli import main


class Outcome(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys) -> Callable[..., Outcome]:
    """Calls a command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:  # tyro's way to end
            status = end.code
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve pictures of one's own, to spoil."""
    return pictures(tmp_path / "photos", 12)


@pytest.fixture(scope="session")
def classes(tmp_path_factory) -> Path:
    """Two classes of eight pictures each."""
    folder = tmp_path_factory.mktemp("classes")
    for seed, name in enumerate(("cat", "dog")):
        pictures(folder / name, 8, seed=seed)
    return folder


@pytest.fixture(scope="session")
def trained(classes, tmp_path_factory) -> Path:
    """A finished run on these; only to be read."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "shuffle", "--data", str(classes), "--out", str(out), *TINY]) == 0
    return out
