"""A contact sheet: pictures in an order, weak to strong, and what a network looks at in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unshuffle.report.canvas import board, finished, style, tile
from unshuffle.report.fonts import caption
from unshuffle.report.saliency import overlay

_ACROSS, _INCHES = 8, 1.1


def draw_sheet(
    images: np.ndarray, names: Sequence[str], scores: np.ndarray, *, heat: np.ndarray | None = None, title: str = ""
) -> bytes:
    """Draws pictures row after row, each with its name and score, and its map below where there are maps.

    Args:
        images: (k, H, W) or (k, H, W, 3) in [0, 1], in their order.
        names: one a picture; long ones lose their beginning.
        scores: (k,).
        heat: (k, H, W) in [0, 1].
        title: a line above.

    Returns:
        A PNG.

    Raises:
        ValueError: the numbers of pictures, names, scores and maps differ, or are 0.
    """
    count = len(images)
    if not count or not count == len(names) == len(scores) or (heat is not None and heat.shape != images.shape[:3]):
        maps = "none" if heat is None else heat.shape
        raise ValueError(
            f"a contact sheet needs as many names, scores and maps as pictures, one at least; got {images.shape} of "
            f"pictures, {len(names)} names, {len(scores)} scores and {maps} of maps."
        )
    across = min(count, _ACROSS)
    high = (1.0 if heat is None else 2.04) + 0.48
    with style(), board(across * 1.08, -(-count // across) * high + 0.35, inches=_INCHES) as (figure, axes):
        axes.text(0, 0.12, title or "weak to strong", ha="left", va="center", fontsize=9)
        for k in range(count):
            x, y = (k % across) * 1.08, 0.35 + (k // across) * high
            shown = [images[k]] if heat is None else [images[k], overlay(images[k], heat[k])]
            for row, picture in enumerate(shown):
                tile(axes, picture, x, y + 1.04 * row, 1.0)
            below = y + 1.04 * len(shown)
            axes.text(x + 0.5, below + 0.08, caption(names[k]), ha="center", va="center", fontsize=6)
            axes.text(x + 0.5, below + 0.24, f"{scores[k]:.3g}", ha="center", va="center", fontsize=7)
        return finished(figure)
