"""Small pictures, and flags that make their training a matter of seconds."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from PIL import Image

TINY = shlex.split(
    "--epochs 2 --batch-size 8 --source.size 16 --patches.rows 2 --patches.columns 2 --patches.gap 2 "
    "--backbone.width 4 --patch-features 8 --hidden 16 --log-every 1 --device cpu"
)


def pictures(folder: Path, count: int, *, side: int = 20, seed: int = 0) -> Path:
    """Makes a folder of random pictures, ``00.png`` and so on."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side + 4, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    return folder
