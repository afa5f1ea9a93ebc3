"""Draws a contact sheet of views (``docs/images/views.png``): each row a drawn scene, then its views.

Run: python scripts/draw_views.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from unshuffle.data import dino_multi_crop
from unshuffle.types import Raw

SIDE, ROWS = 96, 3


def scene(seed: int) -> Image.Image:
    """A sky, a ground and some things."""
    rng = np.random.default_rng(seed)
    sky, ground = rng.integers(90, 256, (2, 3))
    shade = np.linspace(1, 0.5, SIDE)[:, None, None]
    pixels = np.where(np.arange(SIDE)[:, None, None] < 60, sky, ground) * shade * np.ones((1, SIDE, 1))
    image = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for draw in (pen.ellipse, pen.rectangle, pen.ellipse, pen.rectangle):
        (x, y), size = rng.integers(5, 70, 2), int(rng.integers(12, 32))
        draw((int(x), int(y), int(x) + size, int(y) + size), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def sheet(scenes: list[Image.Image]) -> Image.Image:
    """Scenes on the left, their views beside them."""
    items = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in scenes])
    views = dino_multi_crop(SIDE, SIDE // 2)
    batch = views(Raw(items, torch.arange(len(items))), torch.Generator().manual_seed(5))
    board = Image.new("RGB", ((SIDE + 4) * 3 + (SIDE // 2 + 4) * 3, (SIDE + 4) * len(scenes)), "white")
    for row, image in enumerate(scenes):
        board.paste(image, (0, row * (SIDE + 4)))
        for number, view in enumerate(batch.views):
            local = number - views.positives
            x, y = (SIDE + 4) * (number + 1), 0
            if local >= 0:
                x, y = (SIDE + 4) * 3 + (SIDE // 2 + 4) * (local % 3), (SIDE // 2 + 2) * (local // 3)
            board.paste(picture(view[row], views.mean, views.std), (x, row * (SIDE + 4) + y))
    return board


def picture(view: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Image.Image:
    """A normalised view as it looks."""
    shown = 255 * (view * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None])
    return Image.fromarray(shown.clamp(0, 255).round().byte().permute(1, 2, 0).numpy())


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images/views.png")
    board = sheet([scene(seed) for seed in range(ROWS)])
    board.resize((2 * board.width, 2 * board.height), Image.Resampling.LANCZOS).save(target, optimize=True)
