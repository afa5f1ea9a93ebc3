"""Pictures of clusters: what pseudo-classes hold, and what became of a run's labels.

Kinds and their arrays:
``gallery``: ``images`` (k, m, H, W[, 3]) in [0, 1], ``there`` (k, m) bool, ``label`` (k, m) whole numbers, -1 where the
class is not known, ``titles`` (k,) and ``names`` of the classes.
``labellings``: ``step``, ``consecutive`` and ``classes`` (T,), ``entropies`` (T, 5) quartiles; NaN where not known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unshuffle.report.canvas import INK, TEN, Arrays, board, finished, need, palette, panels, short, tile

_MOST_CLUSTERS, _ACROSS, _MOST_NAMED = 24, 4, 20


def _gallery(arrays: Arrays) -> bytes:
    """A block of samples for each pseudo-class, framed in the colours of their classes."""
    images, there, label, titles, names = need(arrays, "images", "there", "label", "titles", "names")
    fits = images.ndim in (4, 5) and images.shape[:2] == there.shape == label.shape and len(titles) == len(images)
    if not fits or not there.size:
        raise ValueError(
            "a gallery's images must be (k, m, H, W) or (k, m, H, W, 3), there and label (k, m), titles (k,), none "
            f"empty; got {images.shape}, {there.shape}, {label.shape} and {titles.shape}."
        )
    count, side = min(len(images), _MOST_CLUSTERS), int(np.ceil(np.sqrt(images.shape[1])))
    across = min(_ACROSS, count)
    rows = -(-images.shape[1] // side)
    wide, high = side * 1.08 + 0.35, rows * 1.08 + 0.9
    colour = _colours(label[:count][there[:count].astype(bool)])
    legend = 0.35 if colour else 0.0
    with board(across * wide, -(-count // across) * high + legend, inches=9 / (across * wide)) as (fig, axes):
        for k in range(count):
            x, y = (k % across) * wide, (k // across) * high
            title = "\n".join(short(line, 40) for line in str(titles[k]).split("\n"))
            axes.text(x, y + 0.55, title, ha="left", va="bottom", fontsize=7)
            for m in np.flatnonzero(there[k]):
                place = x + (m % side) * 1.08 + 0.03, y + 0.65 + (m // side) * 1.08
                tile(axes, images[k, m], *place, 1.0, frame=colour.get(int(label[k, m])))
        _name(axes, colour, names, -(-count // across) * high + 0.1)
        return finished(fig)


def _colours(labels: np.ndarray) -> dict[int, str]:
    """A colour for each class that is known."""
    from matplotlib.colors import to_hex

    known = np.unique(labels[labels >= 0]).tolist()
    return dict(zip(known, map(to_hex, palette(len(known))))) if known else {}


def _name(axes: Any, colours: dict[int, str], names: np.ndarray, y: float) -> None:
    """The classes' names in their colours, in one line below; too many are left to the titles."""
    if not colours or len(colours) > _MOST_NAMED:
        return
    width = axes.get_xlim()[1]
    for place, (label, colour) in enumerate(colours.items()):
        name = str(names[label]) if label < len(names) else str(label)
        axes.text((place + 0.5) * width / len(colours), y, short(name, 14), color=colour, ha="center", fontsize=7)


def _labellings(arrays: Arrays) -> bytes:
    """What consecutive labellings share, what they share with the classes, and the entropies of their clusters."""
    step, consecutive, classes, entropies = need(arrays, "step", "consecutive", "classes", "entropies")
    if not step.size or not len(step) == len(consecutive) == len(classes) or entropies.shape != (len(step), 5):
        raise ValueError(
            "labellings' step, consecutive and classes must be (T,) with T > 0, and entropies (T, 5); got "
            f"{step.shape}, {consecutive.shape}, {classes.shape} and {entropies.shape}."
        )
    known = bool(np.isfinite(classes).any())
    figure, (left, *right) = panels(9 if known else 4.5, 2.8, 2 if known else 1)
    look: dict[str, Any] = {"marker": "o" if len(step) <= 25 else None, "ms": 3, "lw": 1.6}
    left.plot(step, consecutive, color=TEN[0], label="with the labelling before", **look)
    if known:
        left.plot(step, classes, color=TEN[1], label="with the true classes", **look)
        _bands(right[0], step, entropies)
    left.set(ylim=(0, 1.02), ylabel="NMI", xlabel="step")
    left.legend(fontsize=8)
    return finished(figure)


def _bands(axes: Any, step: np.ndarray, entropies: np.ndarray) -> None:
    """Median, quartiles and extremes of the entropies."""
    low, lower, median, upper, high = entropies.T
    axes.fill_between(step, low, high, color=TEN[0], alpha=0.15, lw=0, label="all pseudo-classes")
    axes.fill_between(step, lower, upper, color=TEN[0], alpha=0.35, lw=0, label="middle half")
    axes.plot(step, median, color=INK, lw=1.6, label="median")
    axes.set(xlabel="step", ylabel="entropy of true classes (nats)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


KINDS: dict[str, Callable[[Arrays], bytes]] = {"gallery": _gallery, "labellings": _labellings}
