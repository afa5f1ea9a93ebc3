"""What all tests share: reference vectors, a generator, and the machine kept calm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# The tests' tensors are tiny: a second thread only waits, and on busy cores it made the suite many times slower.
torch.set_num_threads(1)
# Shared runners are slow at times and at times slower: no deadline, and the same examples every time.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")


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
