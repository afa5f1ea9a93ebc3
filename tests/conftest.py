"""What all tests share: reference vectors, a generator, both ways through a loop, and the machine kept calm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

import seeds
from unshuffle import _compiled
from unshuffle.data import _native as data_native
from unshuffle.ops import _native as ops_native

# The tests' tensors are tiny: a second thread only waits, and on busy cores it made the suite many times slower.
torch.set_num_threads(1)
# Shared runners are slow at times and at times slower: no deadline, and the same examples every time.
settings.register_profile("ci", deadline=None, derandomize=seeds.BASE == 0)
settings.load_profile("ci")
seeds.shift()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set UNSHUFFLE_LONG=1 under ``--long``, before any test module is imported and chooses its number of tries."""
    if config.getoption("--long"):
        os.environ["UNSHUFFLE_LONG"] = "1"
    if seeds.BASE and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = seeds.BASE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="a long form: give --long"))


@pytest.fixture(autouse=True)
def _seeds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seeds are shifted (see seeds.py), except where a test compares with a seed that the package sets itself."""
    seeds.keep(request.node.get_closest_marker("own_seeds") is not None)
    yield
    seeds.keep(False)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Loads vectors made by the papers' own code, which lie beside the checkout; skips where they do not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "golden"

    def load(name: str) -> dict[str, np.ndarray]:
        path = folder / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"the reference vectors {path.name} are not beside this checkout")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(params=["native", "pytorch"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs once on each path: the loops in C and plain PyTorch."""
    if request.param == "native" and not (ops_native.available() and data_native.available()):
        pytest.skip("the libraries in C were not built here")
    with nullcontext() if request.param == "native" else _compiled.disabled():
        yield request.param
