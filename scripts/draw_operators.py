"""Draws the operators (``docs/images/NAME.svg``): what each says of one item that moves past others, and its slope.

One item moves from -3 to 3 beside three that stay. On the left is what the operator says of it (its rank, its
membership, its row of the matrix; for sorting all sorted values), on the right the derivative of that by the moving
value.

Run: python scripts/draw_operators.py [FOLDER]       (docs/images unless given; needs matplotlib)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from unshuffle import ops

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

OTHERS = (-1.0, 0.0, 1.5)
NUM_POINTS = 260  # 259 steps: no point is tied with another item
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe & Ito: told apart by everyone
STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify_threshold": 0.2,
    "svg.hashsalt": "unshuffle",
}
Operator = Callable[[Tensor], Tensor]
TARGET_RANK = 2


@dataclass(frozen=True)
class Row:
    """A pair of panels: curves by name, each a function of the sets (points, items) to one number a set."""

    title: str
    curves: dict[str, Operator]
    slope_of: Operator = lambda out: out
    slope_title: str = "gradient"


def strengths(option: str, amounts: tuple[float, ...], operator: Operator, title: str, **options) -> Row:
    """One output of the moving item at several strengths."""
    curves = {f"{option.replace('_', ' ')} {amount:g}": _pick(operator, {option: amount}, 0) for amount in amounts}
    return Row(title, curves, **options)


def outputs(option: str, amounts: tuple[float, ...], operator: Operator, title: str, name: str) -> list[Row]:
    """All outputs, in a row a strength."""
    return [
        Row(
            f"{title}, {option.replace('_', ' ')} {amount:g}",
            {f"{name} {k}": _pick(operator, {option: amount}, k) for k in range(len(OTHERS) + 1)},
        )
        for amount in amounts
    ]


def _pick(operator: Operator, options: dict[str, float], k: int) -> Operator:
    """Entry k of the answer; of a matrix, entry k of the row of the moving item."""

    def entry(values: Tensor) -> Tensor:
        answer = operator(values, **options)
        return (answer if answer.ndim == 2 else answer[:, 0])[:, k]

    return entry


def pictures() -> dict[str, list[Row]]:
    """The rows of every picture."""
    reg, usual = "regularization_strength", (0.3, 1.0, 3.0)
    l2, kl = {"regularization": "l2"}, {"regularization": "kl"}
    towards = {
        "slope_of": lambda rank: (rank - TARGET_RANK) ** 2 / 2,
        "slope_title": f"gradient of ½ (rank − {TARGET_RANK})²",
    }
    return {
        "soft_rank": [
            strengths(reg, usual, partial(ops.soft_rank, **l2), 'rank, "l2"'),
            strengths(reg, usual, partial(ops.soft_rank, **kl), 'rank, "kl"'),
        ],
        "soft_topk": [
            strengths(reg, usual, partial(ops.soft_topk, k=2, **l2), 'membership of the top 2, "l2"'),
            strengths(reg, usual, partial(ops.soft_topk, k=2, **kl), 'membership of the top 2, "kl"'),
        ],
        "perturbed_rank": [
            strengths("sigma", usual, partial(ops.perturbed_rank, noise="gaussian"), "expected rank, Gaussian noise"),
            strengths("sigma", usual, partial(ops.perturbed_rank, noise="gumbel"), "expected rank, Gumbel noise"),
        ],
        "ot_rank": [strengths(reg, (0.01, 0.03, 0.1), ops.ot_rank, "rank")],
        "blackbox_rank": [
            strengths("interpolation", (0.5, 1.0, 1.8), ops.blackbox_rank, "rank, at any interpolation", **towards)
        ],
        "soft_sort": outputs(reg, (0.4, 1.0, 3.0), ops.soft_sort, "sorted values", "position"),
        "perturbed_sort": outputs("sigma", usual, ops.perturbed_sort, "expected sorted values", "position"),
        "neural_sort": outputs("temperature", usual, ops.neural_sort, "its row", "position"),
        "soft_sort_matrix": outputs("temperature", usual, ops.soft_sort_matrix, "its row", "position"),
    }


def draw(rows: list[Row]) -> Figure:
    """A figure with the curves of every row and their slopes; the legend stands above, clear of them."""
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(7.4, 0.6 + 2.1 * len(rows)), sharex=True, squeeze=False, layout="constrained"
    )
    for row, (left, right) in zip(rows, axes):
        left.sharey(axes[0, 0])
        for panel, title in ((left, row.title), (right, row.slope_title)):
            _dress(panel, title)
        for (name, curve), colour in zip(row.curves.items(), COLOURS):
            moving, value, slope = trace(curve, row.slope_of)
            left.plot(moving, value, color=colour, linewidth=1.4, label=name)
            right.plot(moving, slope, color=colour, linewidth=1.4)
        right.update_datalim([(0, 0)])  # a constant slope stands above its zero
        right.autoscale_view()
    for panel in axes[-1]:
        panel.set_xlabel("value of the moving item (dotted: the others)")
        panel.tick_params(bottom=True)
    lines, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=len(names))
    return figure


def _dress(panel: Axes, title: str) -> None:
    panel.set_title(title)
    panel.set_xlim(-3, 3)
    panel.tick_params(bottom=False)
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.grid(axis="y", color="0.9", linewidth=0.6)
    for other in OTHERS:
        panel.axvline(other, color="0.75", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)


def trace(curve: Operator, slope_of: Operator) -> tuple[Tensor, Tensor, Tensor]:
    """Where the item is, what is said of it there, and the slope."""
    moving = torch.linspace(-3, 3, NUM_POINTS, dtype=torch.float64, requires_grad=True)
    others = torch.tensor(OTHERS, dtype=torch.float64).expand(NUM_POINTS, -1)
    value = curve(torch.cat([moving[:, None], others], dim=-1))
    (slope,) = torch.autograd.grad(slope_of(value).sum(), moving)
    return moving.detach(), value.detach(), slope


def save(figure: Figure, path: Path) -> None:
    """Writes the same bytes for the same picture, small: coordinates to a hundredth of a point, short names."""
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = re.sub(r'(?<= )(d|x|y|transform)="[^"]*"', _rounded, path.read_text())
    text = re.sub(r'<!--.*?-->|(?<=<g) id="[^"]*"', "", text).replace("DejaVuSans-", "g")
    path.write_text(re.sub(r"^\s+|[ \t]+$", "", text, flags=re.MULTILINE))


def _rounded(attribute: re.Match[str]) -> str:
    """Its coordinates to a hundredth of a point; a scale has to stay what it is."""
    if "scale" in attribute[0]:
        return re.sub(r"(?<=translate\()[^)]*", lambda numbers: _round(numbers[0]), attribute[0])
    return _round(attribute[0])


def _round(text: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


def main(folder: str = "docs/images") -> None:
    """Draws all pictures."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        for name, rows in pictures().items():
            save(draw(rows), Path(folder) / f"{name}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
