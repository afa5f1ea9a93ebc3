"""Tables of `permutation_optimisation.py`, the paper's numbers in brackets.

A page marks the place:  <!-- permutation: NAME -->  …  <!-- end -->, with the NAME of a function of ``TABLES``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from statistics import fmean, stdev
from typing import Any

from permutation_cells import CELLS, GRIDS, SIZES, UPDATES
from render import table
from unshuffle.evals.sorting import INTERVALS

MARK = re.compile(r"(<!-- permutation: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "not run"
SCRIPT = "python benchmarks/permutation_optimisation.py"
DATA = {
    "mnist": "MNIST", "cifar10": "CIFAR-10", "cifar10grey": "CIFAR-10, brightness alone",
    "imagenet64": "ImageNet 64 × 64", "flowers64": "flowers 64 × 64",
}  # fmt: skip
MOSAICS = tuple(DATA)
ROWS = {"lin": "LinAssign", "po_u": "PO-U", "po_la": "PO-LA"}
OURS = {"neighbours": "ours: neighbours"}

Done = dict[str, dict[str, Any]]

# Zhang et al. 2019; columns are 2 × 2, 3 × 3, 4 × 4 and 5 × 5.
TABLE_1 = {
    "mnist": {"lin": "0.00 0.00 0.33 0.08", "po_u": "0.00 0.02 0.46 0.45", "po_la": "0.00 0.00 0.07 0.01"},
    "cifar10": {"lin": "0.37 0.49 1.34 1.12", "po_u": "0.11 0.44 1.23 1.26", "po_la": "0.18 0.16 1.07 0.70"},
    "imagenet64": {"lin": "0.60 1.10 1.33 1.44", "po_u": "0.14 0.69 1.20 1.31", "po_la": "0.16 0.62 1.13 1.32"},
}
TABLE_4 = {
    "mnist": {"lin": "99.7 66.9 0.8 0.0", "po_u": "100.0 65.9 0.2 0.0", "po_la": "99.9 73.1 1.8 0.0"},
    "cifar10": {"lin": "68.8 30.3 0.0 0.0", "po_u": "86.2 34.4 0.0 0.0", "po_la": "87.3 66.0 0.6 0.3"},
    "imagenet64": {"lin": "47.7 4.0 0.0 0.0", "po_u": "85.9 19.2 0.1 0.0", "po_la": "84.2 28.6 0.1 0.0"},
}
TABLE_2 = {
    "mnist": {
        "max": "99.5 99.5 99.5 99.3", "min": "36.6 22.5 17.1 14.6", "lin": "99.4 99.2 86.0 84.2",
        "po_u": "99.3 98.7 67.9 69.2", "po_la": "99.3 99.4 93.3 89.8",
    },
    "cifar10": {
        "max": "81.0 81.0 81.9 80.2", "min": "36.5 26.4 22.9 18.0", "lin": "64.6 33.8 33.4 32.5",
        "po_u": "70.8 41.6 33.3 29.7", "po_la": "71.6 40.7 34.2 32.3",
    },
    "imagenet64": {
        "max": "31.2 33.4 31.2 33.5", "min": "11.4 7.8 3.5 2.7", "lin": "13.1 5.8 5.3 3.3",
        "po_u": "24.6 12.1 7.3 5.1", "po_la": "23.4 10.9 6.3 4.4",
    },
}  # fmt: skip
TABLE_5 = {
    "mnist": {
        "max": "0.00 0.00 0.00 0.00", "min": "1.59 1.63 1.91 1.72", "lin": "0.02 0.05 0.73 1.11",
        "po_u": "0.02 0.15 1.38 1.24", "po_la": "0.01 0.03 0.50 0.93",
    },
    "cifar10": {
        "max": "0.00 0.00 0.00 0.00", "min": "1.76 1.91 2.11 2.01", "lin": "0.56 1.29 1.53 1.62",
        "po_u": "0.33 1.03 1.44 1.34", "po_la": "0.28 1.00 1.47 1.55",
    },
    "imagenet64": {
        "max": "0.00 0.00 0.00 0.00", "min": "1.48 1.72 1.79 1.83", "lin": "0.88 1.33 1.32 1.39",
        "po_u": "0.44 1.16 1.28 1.47", "po_la": "0.41 1.15 1.41 1.43",
    },
}  # fmt: skip


def fill(done: Done, text: str) -> str:
    """A page's text with its tables made from the finished cells.

    Raises:
        KeyError: it marks a table that is not known.
    """
    return MARK.sub(lambda m: f"{m[1]}\n{TABLES[m[2]](done)}\n\n{m[3]}", text)


def numbers(done: Done) -> str:
    """Shares of sets sorted exactly, by size and interval."""
    titles = {
        "po_u": "PO-U, trained on [0, 1] at each size (paper: 100 % everywhere)",
        "lin_assign": "LinAssign, trained on [0, 1] at each size (paper: mistakes on [0, 1] from 120 numbers on, and "
        "on [1000, 1001] from 80)",
    }
    parts = [
        f"{title}:\n\n{_sizes(done, {size: f'numbers/{model}/{size}' for size in SIZES})}"
        for model, title in titles.items()
    ]
    transfer = _sizes(done, dict.fromkeys(SIZES, "numbers/transfer/10"))
    parts.append(f"PO-U, trained on sets of 10 from [0, 1], sorting sets of every size:\n\n{transfer}")
    return "\n\n".join([*parts, _how(done, "numbers/")])


def _sizes(done: Done, cells: dict[int, str]) -> str:
    head = ["numbers in a set", *(f"[{low}, {high}]" for low, high in INTERVALS), "trained on"]
    body = []
    for size, cell in cells.items():
        values = done[cell]["values"] if cell in done else {}
        shares = [values.get(f"{size} [{low}, {high}]") for low, high in INTERVALS]
        body.append([str(size), *(NOT_RUN if v is None else f"{100 * v:.1f} %" for v in shares), _sets(done.get(cell))])
    return table(head, body)


def _sets(line: dict[str, Any] | None) -> str:
    if line is None:
        return "–"
    recipe = line["settings"]["recipe"]
    sets, size = recipe["source"]["sets"], recipe["source"]["size"]
    falling = ", rate falling" if recipe["optim"]["type"] == "AdamW" else ""
    return f"{sets:,} sets of {size}, batches of {recipe['batch_size']}{falling}"


def mosaics(done: Done) -> str:
    """Tables 1 and 4."""
    error, whole = "mosaic: squared error of normalised pixels: arranged", "mosaic: every tile in its place: arranged"
    same = "mosaic: every pixel the same: arranged"
    parts = [
        "Squared error of normalised pixels (paper's Table 1 in brackets), ↓:",
        _grids(done, "mosaic", error, TABLE_1, ROWS | OURS, lambda v: f"{v:.3f}", MOSAICS),
        "Images with every tile in its place, % (Table 4), ↑. Swapping two blank tiles is a mistake here:",
        _grids(done, "mosaic", whole, TABLE_4, ROWS | OURS, _percent, MOSAICS),
        "Images with every pixel the same, % (not in the paper), ↑:",
        _grids(done, "mosaic", same, {}, ROWS | OURS, _percent, MOSAICS),
        _how(done, "mosaic/"),
    ]
    return "\n\n".join(parts)


def implicit(done: Done) -> str:
    """Tables 2 and 5."""
    rows = {"max": "max", "min": "min", **ROWS}
    parts = [
        "Classified right, % (Table 2 in brackets), ↑. *max*: whole images; *min*: tiles in a random order:",
        _grids(done, "implicit", "classified, softly arranged", TABLE_2, rows, _percent, [*TABLE_2]),
        "Squared error of normalised pixels (Table 5), ↓:",
        _grids(done, "implicit", "softly arranged: squared error", TABLE_5, rows, lambda v: f"{v:.2f}", [*TABLE_5]),
        _how(done, "implicit/"),
    ]
    return "\n\n".join(parts)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _grids(
    done: Done,
    kind: str,
    metric: str,
    paper: dict[str, dict[str, str]],
    rows: dict[str, str],
    shown: Callable[[float], str],
    data: Iterable[str],
) -> str:
    head = ["", "model", *(f"{g} × {g}" for g in GRIDS)]
    body = []
    for name in data:
        for model, title in rows.items():
            if name == "cifar10grey" and model not in OURS:
                continue
            known = paper.get(name, {}).get(model)
            said = known.split() if known else [None] * len(GRIDS)
            lines = [_lines(done, kind, name, grid, model) for grid in GRIDS]
            key = metric if kind == "mosaic" else f"{metric}: {'arranged' if model in ROWS else model}"
            cells = [
                _cell([line["values"][key] for line in found], s, shown) + _shortened(name, found)
                for found, s in zip(lines, said)
            ]
            body.append([DATA[name], title, *cells])
    return table(head, body)


def _lines(done: Done, kind: str, data: str, grid: int, model: str) -> list[dict[str, Any]]:
    """Over seeds; of max and min, that of any one model's cell, which share the images."""
    own = model in ROWS or model in OURS
    models = [model] if own else list(ROWS)
    names = [f"{kind}/{data}/{grid}x{grid}/{one}/seed{seed}" for one in models for seed in range(10)]
    found = [done[name] for name in names if name in done]
    return found if own else found[:1]


def _shortened(data: str, lines: list[dict[str, Any]]) -> str:
    """What a cell was measured with, where that was less than the paper has."""
    usual = 1 if data == "imagenet64" else 20
    epochs = sorted({line["settings"]["recipe"]["epochs"] for line in lines} - {usual})
    images = sorted({line["settings"]["images"] for line in lines} - {None})
    told = [
        f"{'/'.join(map(str, found))} {noun}{'' if found == [1] else 's'}"
        for found, noun in ((epochs, "epoch"), (images, "image"))
        if found
    ]
    return f", {', '.join(told)}" if told else ""


def _cell(found: list[float], said: str | None, shown: Callable[[float], str]) -> str:
    ours = NOT_RUN if not found else shown(fmean(found))
    if len(found) > 1:
        ours += f" ± {shown(stdev(found))}"
    return ours if said is None else f"{ours} ({said})"


def ablation(done: Done) -> str:
    """Appendix D."""
    columns = ("entropy", "soft error", "hard error", "step size")
    head = ["task", "inner update", *columns]
    body = []
    for task, title in (("numbers", "ten numbers"), ("mnist3x3", "MNIST 3 × 3")):
        for update in UPDATES:
            lines = [done[n]["values"] for n in (f"ablation/{task}/{update}/seed{s}" for s in range(3)) if n in done]
            cells = [_cell([line[c] for line in lines], None, lambda v: f"{v:.3g}") for c in columns]
            body.append([title, update, *cells])
    said = (
        "Entropy is that of a row of the soft permutation, in nats; errors are mean squares, before it is made hard "
        "and after."
    )
    return "\n\n".join([table(head, body), said, _how(done, "ablation/")])


def _how(done: Done, prefix: str) -> str:
    """By which commands, where and when; and how to measure the cells that were not."""
    lines = [line for name, line in done.items() if name.startswith(prefix)]
    made = sorted({(line["machine"], line["date"]) for line in lines})
    epochs = sorted({line["settings"]["recipe"]["epochs"] for line in lines})
    said = []
    if lines:
        where = "; ".join(f"{machine}, {date}" for machine, date in made)
        hours = sum(line["seconds"] for line in lines) / 3600
        commands = ", ".join(f"`{command}`" for command in dict.fromkeys(line["command"] for line in lines))
        trained = "" if prefix == "numbers/" else f", {' or '.join(map(str, epochs))} epochs"
        said.append(f"Measured by {commands} on {where}: {len(lines)} cells, {hours:.1f} hours{trained}.")
    open_cells = [name for name in CELLS if name.startswith(prefix) and name not in done]
    if open_cells:
        said.append(f"{len(open_cells)} cells are not run: `{SCRIPT} --cells '{prefix}*' --data DIR --device cuda`.")
    return " ".join(said)


TABLES = {"numbers": numbers, "mosaics": mosaics, "implicit": implicit, "ablation": ablation}
