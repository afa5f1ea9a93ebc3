"""What the report draws its pictures from: named arrays in ``figures/`` of a run's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from unshuffle._files import make_subfolder, write_atomically


def write_arrays(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> str:
    """Writes ``figures/NAME.npz``, whole or not at all; returns the file's name. It loads without pickle."""
    assert not any(array.dtype.hasobject for array in arrays.values()), name
    path = folder / "figures" / f"{name}.npz"
    make_subfolder(path.parent)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # pyright: ignore[reportArgumentType]
    return path.name


def as_pixels(images: Tensor) -> np.ndarray:
    """Images (..., C, H, W) in [0, 1] as they are drawn: (..., H, W, 3), or (..., H, W) of one channel."""
    pixels = images.movedim(-3, -1).clamp(0, 1).cpu().numpy()
    return pixels if pixels.shape[-1] == 3 else pixels[..., 0]
