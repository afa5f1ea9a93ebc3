"""Frames of animated images, GIF, WebP and APNG, by their number. Decoded by Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".gif", ".webp", ".apng")


def is_animation(file: BinaryIO) -> bool:
    """Whether a file begins as GIF, WebP or PNG."""
    start = file.read(12)
    file.seek(0)
    return start.startswith((b"GIF8", b"\x89PNG\r\n\x1a\n")) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def animation_header(file: BinaryIO) -> tuple[int, int, int]:
    """Width, height and number of frames.

    Raises:
        ValueError: it cannot be read.
    """
    from unshuffle.data.image_files import read_image

    return read_image(file, lambda image: (*image.size, _count(image)))


def animation_frames(file: BinaryIO, pick: Callable[[int], list[int]], background: int) -> Tensor:
    """Some frames as they are shown, each over those before it, as uint8 (frames, 3, height, width).

    Raises:
        ValueError: it cannot be read, or what ``pick`` raises.
    """
    from unshuffle.data.image_files import read_image
    from unshuffle.data.image_modes import upright_rgb

    def read(image) -> list[np.ndarray]:
        frames = []
        for number in pick(_count(image)):
            image.seek(number)
            frames.append(np.array(upright_rgb(image, background=background)))
        return frames

    return stacked(read_image(file, read))


def stacked(frames: Sequence[np.ndarray]) -> Tensor:
    """Frames (height, width, 3) as one clip.

    Raises:
        ValueError: they are of several sizes.
    """
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        told = " and ".join(f"{width} x {height}" for height, width in sorted(sizes)[:2])
        raise ValueError(f"its frames have several sizes: {told} pixels")
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def _count(image) -> int:
    return getattr(image, "n_frames", 1)
