"""Pictures of what a network looks at.

Kinds and their arrays:
``saliency``: ``images`` (k, n, H, W[, 3]) and ``heat`` (k, n, H, W), both in [0, 1]: k sequences of n pictures.
``filters``: ``filters`` (k, h, w[, 3]) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unshuffle.report.canvas import Arrays, board, finished, need, tile

_MOST_SEQUENCES, _MOST_FILTERS = 10, 256
_GREY = np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601


def _saliency(arrays: Arrays) -> bytes:
    """Each sequence twice: as it is, and grey with the heat of each picture over it."""
    images, heat = need(arrays, "images", "heat")
    if images.ndim not in (4, 5) or heat.shape != images.shape[:4] or not heat.size:
        raise ValueError(
            "a saliency map's images must be (k, n, H, W) or (k, n, H, W, 3) and its heat (k, n, H, W), none empty; "
            f"got {images.shape} and {heat.shape}."
        )
    rows, n = min(len(images), _MOST_SEQUENCES), images.shape[1]
    with board(n * 1.04, rows * 2.2, inches=min(1.1, 9 / n)) as (figure, axes):
        for row in range(rows):
            for k in range(n):
                tile(axes, images[row, k], k * 1.04, row * 2.2, 1.0)
                tile(axes, overlay(images[row, k], heat[row, k]), k * 1.04, row * 2.2 + 1.04, 1.0)
        return finished(figure)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey picture, (H, W, 3), the more covered by the colour of its heat the hotter it is."""
    from matplotlib import colormaps

    grey = np.asarray(image, dtype=float) @ _GREY if image.ndim == 3 else np.asarray(image, dtype=float)
    heat = np.clip(np.nan_to_num(heat), 0, 1)
    cover = 0.85 * heat[..., None]
    return (1 - cover) * 0.7 * grey[..., None] + cover * colormaps["inferno"](heat)[..., :3]


def _filters(arrays: Arrays) -> bytes:
    (filters,) = need(arrays, "filters")
    if filters.ndim not in (3, 4) or not filters.size:
        raise ValueError(f"filters must be (k, h, w) or (k, h, w, 3), none empty; got {filters.shape}.")
    count = min(len(filters), _MOST_FILTERS)
    across = min(count, max(1, round(1.5 * count**0.5)))
    with board(across * 1.12, -(-count // across) * 1.12, inches=max(0.45, min(1.1, 5 / across))) as (figure, axes):
        for k in range(count):
            tile(axes, filters[k], (k % across) * 1.12, (k // across) * 1.12, 1.0)
        return finished(figure)


KINDS: dict[str, Callable[[Arrays], bytes]] = {"saliency": _saliency, "filters": _filters}
