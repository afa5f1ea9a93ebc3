"""Clips of which every frame tells its number, encoded as any camera would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

CODECS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "webm": "libvpx-vp9",
    "avi": "mpeg4",
    "mpg": "mpeg2video",
}


def write_clip(path: Path, frames: np.ndarray, *, key_every: int = 12) -> Path:
    """Encodes uint8 frames (T, H, W, 3) with the usual codec of the file's suffix."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = "yuv420p", key_every
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def brightening(count: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame k is grey of level 4 k: at most 60 frames."""
    return np.broadcast_to(
        (4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, height, width, 3)
    ).copy()


def moving_square(count: int, *, side: int = 32, rightwards: bool = True, row: int = 8, seed: int = 0) -> np.ndarray:
    """A bright square of 10 pixels that crosses a noisy field from one side to the other."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(40, 90, (1, side, side, 3), dtype=np.uint8), count, axis=0)
    for k, x in enumerate(np.linspace(0, side - 10, count).round().astype(int)):
        frames[k if rightwards else count - 1 - k, row : row + 10, x : x + 10] = 230
    return frames
