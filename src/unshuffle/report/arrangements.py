"""Pictures of learnt arrangements: what is compared, how, and how a mosaic comes together.

Kinds and their arrays:
``heat``: ``values`` (k, H, W) and ``names`` (k,); optionally ``extents`` (k, 4), left, right, bottom and top of each
panel, and scalar ``positive`` where no value is below 0.
``costs``: ``costs`` (k, n, n), ``tiles`` (k, n, h, w[, 3]) in [0, 1] in the order of rows and columns, ``names`` (k,).
``gradients``: ``tiles`` and ``gradients`` (rows, k, 2, h, w[, 3]) and (rows, k, 2, h, w), ``names`` (k,).
``stages``: ``stages`` (steps, images, H, W[, 3]) in [0, 1] and ``names`` (steps,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unshuffle.report.canvas import INK, Arrays, blank, board, finished, need, tile

_MOST_IMAGES = 12


def _heat(arrays: Arrays) -> bytes:
    values, names = need(arrays, "values", "names")
    if values.ndim != 3 or names.shape != values.shape[:1] or not values.size:
        raise ValueError(f"heat maps must be values (k, H, W) with k names; got {values.shape} and {names.shape}.")
    positive, extents = bool(arrays.get("positive", False)), arrays.get("extents")
    figure, axes = blank(min(2.6 * len(values), 10), 2.7)
    axes.remove()
    panels = np.atleast_1d(figure.subplots(1, len(values)))
    for k, (panel, name) in enumerate(zip(panels, names)):
        place = None if extents is None else tuple(extents[k])
        shown = panel.imshow(
            values[k], cmap="viridis" if positive else "RdBu_r", vmin=0 if positive else -_largest(values[k]),
            vmax=_largest(values[k]), extent=place, aspect="equal", interpolation="nearest",
        )  # fmt: skip
        panel.set_title(str(name), fontsize=9)
        panel.grid(False)
        if place is None:
            panel.set_axis_off()
        figure.colorbar(shown, ax=panel, shrink=0.75).outline.set_visible(False)
    return finished(figure)


def _costs(arrays: Arrays) -> bytes:
    costs, tiles, names = need(arrays, "costs", "tiles", "names")
    if costs.ndim != 3 or tiles.shape[:2] != costs.shape[:2] or not costs.size:
        raise ValueError(
            f"costs must be (k, n, n) with tiles (k, n, h, w) beside them; got {costs.shape} and {tiles.shape}."
        )
    count, n = costs.shape[:2]
    side = n * 1.06 + 1.5
    with board(count * side, n * 1.06 + 1.9, inches=min(0.6, 9 / (count * side))) as (figure, axes):
        for k in range(count):
            left, scale = k * side, _largest(costs[k])
            axes.text(left + side / 2, 0.3, str(names[k]), ha="center", va="center")
            for i in range(n):
                at = 1.75 + i * 1.06
                tile(axes, tiles[k, i], left, at, 1.0)
                tile(axes, tiles[k, i], left + at - 0.55, 0.65, 1.0)
                for j in range(n):
                    _square(axes, costs[k, i, j] / scale, left + 1.2 + j * 1.06, at)
        return finished(figure)


def _gradients(arrays: Arrays) -> bytes:
    tiles, gradients, names = need(arrays, "tiles", "gradients", "names")
    if gradients.ndim != 5 or tiles.shape[:5] != gradients.shape or not gradients.size:
        raise ValueError(
            "gradients must be (rows, k, 2, h, w), as the tiles that they are of; got "
            f"{gradients.shape} and {tiles.shape}."
        )
    rows, count = gradients.shape[:2]
    width = gradients.shape[4] / gradients.shape[3]
    side = 4 * (width + 0.08) + 0.6
    with board(count * side, rows * 1.08 + 1.0, inches=min(0.75, 9 / (count * side))) as (figure, axes):
        for k in range(count):
            axes.text(k * side + side / 2 - 0.3, 0.2, str(names[k]), ha="center", va="center")
            for i, head in enumerate(("first", "second", "gradient", "gradient")):
                axes.text(k * side + (i + 0.5) * (width + 0.08), 0.7, head, ha="center", va="center", fontsize=7)
            for row in range(rows):
                scale, top = _largest(gradients[row, k]), 1.0 + row * 1.08
                for i in range(2):
                    tile(axes, tiles[row, k, i], k * side + i * (width + 0.08), top, width)
                    _map(axes, gradients[row, k, i] / scale, k * side + (i + 2) * (width + 0.08), top, width)
        return finished(figure)


def _stages(arrays: Arrays) -> bytes:
    stages, names = need(arrays, "stages", "names")
    if stages.ndim not in (4, 5) or len(names) != len(stages) or not stages.size:
        raise ValueError(
            f"stages must be (steps, images, H, W[, 3]) with a name each; got {stages.shape} and {names.shape}."
        )
    count = min(stages.shape[1], _MOST_IMAGES)
    width = stages.shape[3] / stages.shape[2]
    left = 1.7
    with board(left + count * (width + 0.06), len(stages) * 1.06, inches=min(0.95, 9 / count)) as (figure, axes):
        for row, (images, name) in enumerate(zip(stages, names)):
            axes.text(left - 0.12, row * 1.06 + 0.5, str(name), ha="right", va="center")
            for k in range(count):
                tile(axes, images[k], left + k * (width + 0.06), row * 1.06, width)
        return finished(figure)


KINDS: dict[str, Callable[[Arrays], bytes]] = {
    "heat": _heat, "costs": _costs, "gradients": _gradients, "stages": _stages,
}  # fmt: skip


def _largest(values: np.ndarray) -> float:
    """The largest magnitude, for a scale; 1 where there is nothing but 0."""
    return float(np.abs(np.nan_to_num(np.asarray(values, dtype=float))).max()) or 1.0


def _square(axes: Any, share: float, x: float, y: float) -> None:
    """One entry of a matrix, from -1 (blue) to 1 (red)."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colour = colormaps["RdBu_r"]((float(share) + 1) / 2)
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=INK, linewidth=0.3))


def _map(axes: Any, values: np.ndarray, x: float, y: float, width: float) -> None:
    """Signed values, from -1 (blue) to 1 (red)."""
    axes.imshow(values, extent=(x, x + width, y + 1, y), aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1)
