"""Pictures of neighbourhoods: samples on the left, what lies nearest to each on its right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unshuffle.report.canvas import TEN, WRONG, Arrays, board, finished, need, short, style, tile
from unshuffle.report.fonts import caption

_MOST_QUERIES, _GAP = 12, 0.25


def draw_neighbours(
    queries: np.ndarray,
    found: np.ndarray,
    similarity: np.ndarray,
    *,
    same: np.ndarray | None = None,
    names: Sequence[str] = (),
    found_names: Sequence[Sequence[str]] = (),
) -> bytes:
    """Draws a row for each query: itself, and what was found, the nearest first, with its similarity.

    Args:
        queries: (q, H, W) or (q, H, W, 3) in [0, 1], one at least.
        found: (q, k, H, W) or (q, k, H, W, 3).
        similarity: (q, k); NaN where there is nothing.
        same: (q, k) bool, of one class with the query; the others are framed in red.
        names: of the queries.
        found_names: of what was found, query by query.

    Returns:
        A PNG.

    Raises:
        ValueError: the shapes do not fit.
    """
    fits = found.ndim in (4, 5) and found.shape[:2] == similarity.shape and found[:, 0].shape == queries.shape
    if not similarity.size or not fits or (same is not None and same.shape != similarity.shape):
        raise ValueError(
            "neighbours' pictures must be (q, k, H, W[, 3]) with queries (q, H, W[, 3]) and similarities (q, k), none "
            f"empty; got {found.shape}, {queries.shape} and {similarity.shape}."
        )
    pitch = 1.28 + (0.16 if found_names else 0)
    across = found.shape[1] + 1
    with style(), board(across * 1.08 + _GAP, len(queries) * pitch, inches=min(1.1, 10 / across)) as (figure, axes):
        for row in range(len(queries)):
            y = row * pitch
            tile(axes, queries[row], 0, y, 1.0, frame=TEN[0])
            if names:
                axes.text(0.5, y + 1.1, caption(names[row]), ha="center", va="center", fontsize=6)
            for k in range(found.shape[1]):
                if np.isnan(similarity[row, k]):
                    continue
                x = (k + 1) * 1.08 + _GAP
                wrong = same is not None and not same[row, k]
                tile(axes, found[row, k], x, y, 1.0, frame=WRONG if wrong else None)
                axes.text(x + 0.5, y + 1.1, f"{similarity[row, k]:.2f}", ha="center", va="center", fontsize=7)
                if found_names:
                    axes.text(x + 0.5, y + 1.25, caption(found_names[row][k]), ha="center", va="center", fontsize=6)
        return finished(figure)


def _neighbours(arrays: Arrays) -> bytes:
    """``queries`` (q, H, W[, 3]), ``found`` (q, k, H, W[, 3]), ``similarity`` and ``same`` (q, k), ``names`` (q,)."""
    queries, found, similarity, same, names = need(arrays, "queries", "found", "similarity", "same", "names")
    parts = (part[:_MOST_QUERIES] for part in (queries, found, similarity))
    shown = [short(str(name)) for name in names[:_MOST_QUERIES]]
    return draw_neighbours(*parts, same=same[:_MOST_QUERIES].astype(bool), names=shown)


KINDS: dict[str, Callable[[Arrays], bytes]] = {"neighbours": _neighbours}
