"""Low-data sweeps: how good each representation is with few labels and with many, drawn from result lines alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from unshuffle.report.canvas import blank, finished, palette, short, style
from unshuffle.report.tables import lower_is_better
from unshuffle.types import Result


def sweeps(results: Iterable[Result]) -> list[list[Result]]:
    """Finds what can be drawn: results of one task, metric, data and split with at least two numbers of labels.

    Args:
        results: any number of results, in any order.

    Returns:
        One list a figure, in the order in which they first appear, as the tables.

    Example:
        >>> line = Result("probe", "accuracy", 0.5, 10, 0, "digits", "test", "raw", "shuffle", "", "", "")
        >>> [len(lines) for lines in sweeps([line, line._replace(n=100), line._replace(task="other")])]
        [2]
    """
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.task, result.metric, result.data, result.split), []).append(result)
    return [lines for lines in groups.values() if len({line.n for line in lines}) > 1]


def draw_sweep(lines: list[Result]) -> bytes:
    """Draws one sweep: the metric against the number of labels, one line a layer.

    The number of labels has a logarithmic axis. A line joins the means over the repeats; a band of one standard
    deviation (with k - 1) either way shows how they spread, where there are two or more.

    Args:
        lines: results of one task and metric, as :func:`sweeps` groups them.

    Returns:
        A PNG.

    Raises:
        ValueError: there is nothing to draw, or a number of labels is not positive.
    """
    if not lines or min(line.n for line in lines) < 1:
        raise ValueError("a sweep must hold results, each with a positive number of labels.")
    layers = list(dict.fromkeys(line.layer for line in lines))
    with style():
        figure, axes = blank(4.5, 3.0)
        for layer, colour in zip(layers, palette(len(layers))):
            _line(axes, [line for line in lines if line.layer == layer], short(layer), colour)
        _label(axes, lines)
        if len(layers) > 1:
            below = len(layers) > 4
            place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2} if below else {}
            axes.legend(fontsize=7.5 if below else 8.5, **place)
        return finished(figure)


def _line(axes: Any, lines: list[Result], name: str, colour: Any) -> None:
    """The means of one layer, and the band around them."""
    counts = np.array(sorted({line.n for line in lines}))
    repeats = [np.array([line.value for line in lines if line.n == n]) for n in counts]
    means = np.array([values.mean() for values in repeats])
    spread = np.array([values.std(ddof=1) if len(values) > 1 else 0.0 for values in repeats])
    axes.plot(counts, means, color=colour, lw=1.8, marker="o", ms=4, label=f" {name}")  # "_name" would be hidden
    axes.fill_between(counts, means - spread, means + spread, color=colour, alpha=0.16, lw=0)


def _label(axes: Any, lines: list[Result]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    counts = sorted({line.n for line in lines})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.set_xlabel("labels")
    metric = lines[0].metric
    axes.set_ylabel(f"{short(metric)} {'↓' if lower_is_better(metric) else '↑'}")
    axes.margins(x=0.04)


def _apart(counts: list[int]) -> list[int]:
    """The numbers that can be written side by side: each a sixteenth of the axis from its neighbour, or more."""
    least = np.log(counts[-1] / counts[0]) / 10
    kept = counts[:1]
    for n in counts[1:]:
        if np.log(n / kept[-1]) >= least:
            kept.append(n)
    return kept
