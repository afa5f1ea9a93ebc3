"""Pictures: arrays in, PNG bytes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from unshuffle.report import arrangements, gallery, neighbours, saliency
from unshuffle.report.canvas import INK, TEN, WRONG, Arrays, blank, board, finished, need, palette, short, style, tile
from unshuffle.report.read import Metrics

_MOST_SAMPLES, _MOST_SETS, _MOST_IN_LEGEND, _MOST_CHANNELS = 16, 10, 20, 3


def draw(kind: str, arrays: Arrays) -> bytes:
    """Draws one picture.

    Args:
        kind: ``puzzle``: ``before``, ``solved``, ``truth`` (k, H, W[, 3]) in [0, 1], ``partial_ranks`` (k,), scalar
            ``spectrogram``, and of clips scalar ``frames``, side by side. ``series``: the same three (k, channels, T)
            and ``partial_ranks``, scalar ``slices``. ``map``: ``xy`` (N, 2), ``label`` (N,), and optionally ``names``,
            ``value`` (N,), scalar ``continuous``. ``sets``: ``images`` (k, n, H, W[, 3]), ``scores`` and ``truth``
            (k, n). Those of arrangements are told in :mod:`unshuffle.report.arrangements`, those of what a network
            looks at in :mod:`unshuffle.report.saliency`, those of what lies near in :mod:`unshuffle.report.neighbours`,
            those of clusters in :mod:`unshuffle.report.gallery`.
        arrays: the arrays by name.

    Returns:
        A PNG.

    Raises:
        ValueError: the kind is unknown, or an array is missing or of the wrong shape.
    """
    if kind not in KINDS:
        raise ValueError(f"a picture of kind {kind!r} is not known here; known are {', '.join(sorted(KINDS))}.")
    with style():
        return KINDS[kind](arrays)


def draw_curve(metrics: list[Metrics], column: str) -> bytes:
    """Draws one logged column against the step: thin for training, strong for other splits.

    Runs that differ in a trailing number only (``notes-mse-0``, ``notes-mse-1``: seeds) share a colour and a name.
    """
    with style():
        figure, axes = blank(4.5, 2.7)
        groups = list(dict.fromkeys(_group(run.name) for run in metrics))
        colours = dict(zip(groups, palette(len(groups))))
        for run in metrics:
            for (name, split), (steps, values) in run.series.items():
                if name == column:
                    look: dict[str, Any] = {"lw": 1.0, "alpha": 0.75} if split == "train" else {"lw": 2.0}
                    look["marker"] = "o" if len(steps) <= 25 else None
                    group = _group(run.name)
                    label = f"{short(group) or 'this run'}, {short(split)}" if len(groups) > 1 else short(split)
                    axes.plot(steps, values, color=colours[group], ms=3, label=label, **look)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        _curve_legend(axes)
        return finished(figure)


def _group(name: str) -> str:
    """A run's name without the number of its seed."""
    return re.sub(r"-\d+$", "", name)


def _curve_legend(axes: Any) -> None:
    """Names each curve once; below the axes where there are many."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels())))
    if len(named) > 4:
        axes.legend(named.values(), named.keys(), fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.27))
    elif len(axes.lines) > 1:
        axes.legend(named.values(), named.keys(), fontsize=8.5)


def _puzzle(arrays: Arrays) -> bytes:
    before, solved, truth, ranks = need(arrays, "before", "solved", "truth", "partial_ranks")
    count = min(len(before), _MOST_SAMPLES)
    if not before.shape == solved.shape == truth.shape or before.ndim not in (3, 4) or not count:
        raise ValueError(
            "a puzzle's before, solved and truth must be equal in shape, (k, H, W) or (k, H, W, 3) with k > 0; "
            f"got {before.shape}, {solved.shape} and {truth.shape}."
        )
    widest = 24 if "frames" in arrays else 4
    width = float(np.clip(before.shape[2] / before.shape[1], 0.4, widest))
    inches = min(0.95, 9 / width)
    left = max(1.15, 1.09 / inches)
    across = min(count, max(1, int(9 / (width + 0.08))))
    bands, pitch = -(-count // across), 3 * 1.06 + 0.8
    across = -(-count // bands)  # bands of equal length
    spectrogram = bool(arrays.get("spectrogram", False))
    with board(left + across * (width + 0.08), bands * pitch - 0.45, inches=inches) as (figure, axes):
        for i in range(count):
            x, top = left + (i % across) * (width + 0.08), (i // across) * pitch
            for row, picture in enumerate((before[i], solved[i], truth[i])):
                tile(axes, picture, x, top + row * 1.06, width, spectrogram=spectrogram)
            axes.text(x + width / 2, top + 3.32, f"{float(ranks[i]):.2f}", ha="center", va="center")
        for top in np.arange(bands) * pitch:
            for y, name in zip((0.5, 1.56, 2.62, 3.32), ("before", "as solved", "truth", "partial ranks")):
                axes.text(left - 0.12, top + y, name, ha="right", va="center")
        return finished(figure)


def _series(arrays: Arrays) -> bytes:
    before, solved, truth, ranks = need(arrays, "before", "solved", "truth", "partial_ranks")
    if not before.shape == solved.shape == truth.shape or before.ndim != 3 or not before.size:
        raise ValueError(
            "a series' before, solved and truth must be equal in shape, (k, channels, T) with k > 0; "
            f"got {before.shape}, {solved.shape} and {truth.shape}."
        )
    count, across, left, width = min(len(before), 6), min(len(before), 3), 1.15, 2.8
    bands, pitch = -(-count // across), 3 * 1.06 + 0.8
    with board(left + across * (width + 0.12), bands * pitch - 0.45, inches=0.95) as (figure, axes):
        for i in range(count):
            x, top = left + (i % across) * (width + 0.12), (i // across) * pitch
            for row, values in enumerate((before[i], solved[i], truth[i])):
                _curves(axes, values, truth[i], x, top + row * 1.06, width, int(arrays.get("slices", 1)))
            axes.text(x + width / 2, top + 3.32, f"{float(ranks[i]):.2f}", ha="center", va="center")
        for top in np.arange(bands) * pitch:
            for y, name in zip((0.5, 1.56, 2.62, 3.32), ("before", "as solved", "truth", "partial ranks")):
                axes.text(left - 0.12, top + y, name, ha="right", va="center")
        return finished(figure)


def _curves(axes: Any, values: np.ndarray, truth: np.ndarray, x: float, y: float, width: float, slices: int) -> None:
    """The first channels of one series as curves, each in its own range, interrupted between slices."""
    times = x + width * (np.arange(values.shape[1]) + 0.5) / values.shape[1]
    for channel, colour in zip(range(min(len(values), _MOST_CHANNELS)), TEN):
        low, high = np.nanmin(truth[channel]), np.nanmax(truth[channel])
        heights = y + 0.95 - 0.9 * (values[channel] - low) / max(high - low, np.finfo(np.float32).tiny)
        for stretch in np.array_split(np.arange(len(times)), slices):
            axes.plot(times[stretch], heights[stretch], color=colour, lw=0.9, marker="." if len(stretch) < 2 else None)
    for border in x + width * np.arange(slices + 1) / slices:
        axes.plot([border, border], [y, y + 1], color=INK, lw=0.4, alpha=0.5)


def _map(arrays: Arrays) -> bytes:
    xy, label = need(arrays, "xy", "label")
    if xy.ndim != 2 or xy.shape[1] != 2 or label.shape != xy.shape[:1] or not len(xy):
        raise ValueError(f"a map's xy must be (N, 2) and its label (N,) with N > 0; got {xy.shape} and {label.shape}.")
    figure, axes = blank(4.5, 3.6)
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.02)
    # Drawn in random order: the class drawn last would hide the others.
    order = np.random.default_rng(0).permutation(len(xy))
    look: dict[str, Any] = {"s": float(np.clip(6000 / len(xy), 1.5, 20)), "linewidths": 0, "alpha": 0.85}
    if arrays.get("continuous", False):
        value = np.asarray(arrays.get("value", label), dtype=float)
        points = axes.scatter(*xy[order].T, c=value[order], cmap="viridis", **look)
        figure.colorbar(points, ax=axes, shrink=0.8).outline.set_visible(False)
    else:
        classes, place = np.unique(label, return_inverse=True)
        colours = np.array(palette(len(classes)))
        axes.scatter(*xy[order].T, c=colours[place.ravel()[order]], **look)
        if len(classes) <= _MOST_IN_LEGEND:
            _legend(axes, colours, [_class_name(arrays.get("names"), one) for one in classes])
    return finished(figure)


def _sets(arrays: Arrays) -> bytes:
    images, scores, truth = need(arrays, "images", "scores", "truth")
    if images.ndim not in (4, 5) or not images.shape[:2] == scores.shape == truth.shape or not scores.size:
        raise ValueError(
            "a set's images must be (k, n, H, W) and its scores and truth (k, n), none empty; "
            f"got {images.shape}, {scores.shape} and {truth.shape}."
        )
    rows, n = min(len(images), _MOST_SETS), images.shape[1]
    with board(n * 1.08, rows * 1.55 + 0.45, inches=min(0.72, 9 / n)) as (figure, axes):
        axes.text(0, 0.15, "lowest predicted score first", ha="left", va="center", fontsize=8.5)
        for row in range(rows):
            order = np.argsort(scores[row], kind="stable")
            # Values are compared, not items: two equal ones are right in either order.
            wrong = truth[row][order] != np.sort(truth[row])
            for k, item in enumerate(order):
                x, y = k * 1.08, 0.45 + row * 1.55
                tile(axes, images[row, item], x, y, 1.0, frame=WRONG if wrong[k] else None)
                look = {"color": WRONG, "weight": "bold"} if wrong[k] else {}
                axes.text(x + 0.5, y + 1.2, f"{truth[row][item]:g}", ha="center", va="center", fontsize=8.5, **look)
        return finished(figure)


KINDS: dict[str, Callable[[Arrays], bytes]] = {
    "puzzle": _puzzle, "series": _series, "map": _map, "sets": _sets,
    **arrangements.KINDS, **saliency.KINDS, **neighbours.KINDS, **gallery.KINDS,
}  # fmt: skip


def _class_name(names: np.ndarray | None, label: Any) -> str:
    known = names is not None and np.issubdtype(type(label), np.integer) and 0 <= label < len(names)
    return str(names[label]) if names is not None and known else f"{label}"


def _legend(axes: Any, colours: np.ndarray, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], ls="", marker="o", ms=5, color=colour) for colour in colours]
    legend = axes.legend(dots, ["?"] * len(dots), loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1)
    # Set afterwards: matplotlib takes a label with a leading underscore as hidden.
    for text, name in zip(legend.get_texts(), names):
        text.set_text(short(name))
