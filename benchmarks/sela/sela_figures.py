"""Figures A.1, A.2 and A.4 from the results, as one picture of the documentation."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from sela_tables import CURVES, OWN, TEN, curve_points

from cells import Line, read
from unshuffle.report.figures import palette, style

SHOWN = {
    "SeLa [128 × 1]": OWN, "SeLa [128 × 10], first head": TEN, "k-means [128 × 1]": "full/k-means 128x1/",
    "SeLa [128 × 1], ResNet-18": "table4/resnet 128x1/",
}  # fmt: skip


def draw(results: Path, folder: Path) -> None:
    """Writes ``sela_labels.svg``, if there is anything to show."""
    lines = read(results)
    if any(curve_points(lines, where, curve) for where in SHOWN.values() for curve in CURVES):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "sela_labels.svg", lines)


def _write(path: Path, lines: list[Line]) -> None:
    with style(), rc_context({"svg.hashsalt": "unshuffle"}):  # the same file from the same lines
        figure = Figure(figsize=(3.1 * len(CURVES), 3.2), layout="constrained")
        for axes, curve in zip(figure.subplots(1, len(CURVES), squeeze=False)[0], CURVES):
            for (name, where), colour in zip(SHOWN.items(), palette(len(SHOWN))):
                points = curve_points(lines, where, curve)
                if points:
                    axes.plot(*zip(*points), color=colour, marker="o", ms=3, lw=1.6, label=name)
            axes.set_title(curve, fontsize=9.5)
            axes.set_xlabel("epoch")
        named = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels())}
        figure.legend(named.values(), named, loc="outside lower center", ncols=4, fontsize=8.5)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
