"""Figures 3 and 4 of Shuffle to Learn from the results, and the number of frames, as pictures of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from clips import FRAME_NUMBERS
from clips import LABELS as CLIP_LABELS
from matplotlib import rc_context
from matplotlib.figure import Figure
from recordings import BAND_NUMBERS, LABELS, SUPERVISED
from tables import PARTIAL

from cells import Line, read
from training import EXACT, FIXED, MSE, RANDOM, RAW, SAMPLED, SOFT
from unshuffle.report.figures import palette, style

TASKS = {"family": "family: accuracy ↑", "instrument": "instrument: accuracy ↑", "pitch": "pitch: squared error ↓"}


class Curve(NamedTuple):
    """A line of a figure: for each place on the axis, in which cells, which task and layer."""

    name: str
    places: Sequence[int]
    values: Sequence[list[float]]


def draw(results: Path, folder: Path) -> None:
    """Writes the three pictures as SVG, those that have anything to show."""
    lines = read(results)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "shuffle_labels.svg", _labels(lines), "labels", logarithmic=True)
    _write(folder / "shuffle_bands.svg", _bands(lines), "frequency bands", logarithmic=True)
    _write(folder / "shuffle_frames.svg", _frames(lines), "frames", logarithmic=False)


def _labels(lines: list[Line]) -> dict[str, list[Curve]]:
    layers = [RAW, RANDOM, FIXED, MSE, SOFT, SAMPLED, EXACT]
    made = {}
    for task, title in TASKS.items():
        made[title] = [
            Curve(layer, LABELS, [_values(lines, "notes/", task, layer, n) for n in LABELS]) for layer in layers
        ]
        ends = [_values(lines, "supervised/", task, SUPERVISED, n) for n in LABELS]
        made[title].append(Curve(SUPERVISED, LABELS, ends))
    return made


def _bands(lines: list[Line]) -> dict[str, list[Curve]]:
    numbers = BAND_NUMBERS
    made = {
        title: [
            Curve("trained", numbers, [_values(lines, "bands/", task, f"{n} bands") for n in numbers]),
            Curve("untrained", numbers, [_values(lines, "bands/", task, f"{RANDOM}, {n} bands") for n in numbers]),
        ]
        for task, title in TASKS.items()
    }
    placed = [_values(lines, "bands/", PARTIAL, f"{n} bands") for n in numbers]
    guessed = [[1 / n] for n in numbers]
    return made | {"partial ranks ↑": [Curve("trained", numbers, placed), Curve("by chance", numbers, guessed)]}


def _frames(lines: list[Line]) -> dict[str, list[Curve]]:
    numbers, few = FRAME_NUMBERS, CLIP_LABELS[0]
    trained = [_values(lines, "frames/", "motion", f"{n} frames", few) for n in numbers]
    untrained = [_values(lines, "frames/", "motion", f"{RANDOM}, {n} frames", few) for n in numbers]
    placed = [_values(lines, "frames/", PARTIAL, f"{n} frames") for n in numbers]
    return {
        f"motion, of 8: accuracy with {few} labels ↑": [
            Curve("trained", numbers, trained), Curve("untrained", numbers, untrained),
        ],
        "partial ranks ↑": [
            Curve("trained", numbers, placed), Curve("by chance", numbers, [[1 / n] for n in numbers]),
        ],
    }  # fmt: skip


def _values(lines: list[Line], where: str, task: str, layer: str, n: int | None = None) -> list[float]:
    return [
        line["value"] for line in lines
        if line["record"] == "result" and line["cell"].startswith(where)
        and (line["task"], line["layer"]) == (task, layer) and n in (None, line["n"])
    ]  # fmt: skip


def _write(path: Path, panels: dict[str, list[Curve]], axis: str, *, logarithmic: bool) -> None:
    if not any(values for curves in panels.values() for values in curves[0].values):
        return
    with style(), rc_context({"svg.hashsalt": "unshuffle"}):  # the same file from the same lines
        figure = Figure(figsize=(3.1 * len(panels), 3.4), layout="constrained")
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, curves) in zip(every, panels.items()):
            _panel(axes, title, curves, axis, logarithmic=logarithmic)
        named = {name: handle for axes in every for handle, name in zip(*axes.get_legend_handles_labels())}
        figure.legend(named.values(), named, loc="outside lower center", ncols=4, fontsize=8.5)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Any, title: str, curves: list[Curve], axis: str, *, logarithmic: bool) -> None:
    colours = palette(max(4, len(curves)))
    for curve, colour in zip(curves, colours):
        known = [k for k, values in enumerate(curve.values) if values]
        places = np.array([curve.places[k] for k in known])
        means = np.array([fmean(curve.values[k]) for k in known])
        spread = np.array([np.std(curve.values[k], ddof=1) if len(curve.values[k]) > 1 else 0.0 for k in known])
        axes.plot(places, means, color=colour, marker="o", ms=3.5, lw=1.6, label=curve.name)
        axes.fill_between(places, means - spread, means + spread, color=colour, alpha=0.14, lw=0)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(curves[0].places, [f"{place:,}" for place in curves[0].places])
    axes.minorticks_off()
    axes.set_title(title, fontsize=9.5)
    axes.set_xlabel(axis)
