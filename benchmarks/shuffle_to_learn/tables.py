"""The tables of the page, made from the results, with the paper's numbers beside them.

A page marks the place:  <!-- shuffle to learn: NAME -->  …  <!-- end -->   with one of the names in ``SECTIONS``.
A cell that is not among the results is told as "not run".
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, stdev

from clips import FRAME_NUMBERS
from clips import LABELS as CLIP_LABELS
from photos import BACKBONES
from recordings import BAND_NUMBERS, LABELS, LAYOUTS, SUPERVISED

from cell_tables import NONE, NOT_RUN, Tables
from cells import Line
from render import table
from training import EXACT, FIXED, MSE, RANDOM, RAW, SAMPLED, SOFT

PARTIAL, EXACT_ORDER = "pretext: partial ranks", "pretext: exact order"

# The paper's tables 5, 1 and 6: 500, 1000 and 5000 labels of NSynth.
PAPER_SOUNDS = {
    "family": {
        RANDOM: ("0.44", "0.46", "0.59"), FIXED: ("0.64", "0.75", "0.91"), SOFT: ("0.73", "0.84", "0.93"),
        SAMPLED: ("0.71", "0.85", "0.94"), MSE: ("0.62", "0.79", "0.90"),
    },
    "instrument": {
        RANDOM: ("0.23", "0.35", "0.49"), FIXED: ("0.52", "0.70", "0.89"), SOFT: ("0.56", "0.72", "0.91"),
        SAMPLED: ("0.55", "0.76", "0.91"), MSE: ("0.47", "0.71", "0.89"),
    },
    "pitch": {
        RANDOM: ("256.20", "258.76", "251.45"), FIXED: ("188.37", "144.48", "83.71"),
        SOFT: ("186.03", "133.85", "97.98"), SAMPLED: ("183.96", "124.6", "94.98"),
        MSE: ("276.59", "156.08", "108.46"),
    },
}  # fmt: skip
PAPER_PARTIAL = {SOFT: "0.57", SAMPLED: "0.58", MSE: "0.51"}
PAPER_LAYOUTS = {
    "frequency": ("0.82", "0.75", "136.68"), "time": ("0.79", "0.68", "206.11"),
    "time-frequency": ("0.73", "0.45", "137.81"),
}  # fmt: skip
PAPER_CLIPS = {FIXED: ("0.13", NONE), SAMPLED: ("0.19", "0.27"), SOFT: ("0.21", "0.29"), MSE: ("0.12", "0.17")}
PAPER_PHOTOS = {FIXED: ("0.80–0.81", NONE), SAMPLED: ("0.82–0.84", "0.14"), SOFT: ("0.82–0.84", "0.14")}
PAPER_PHOTOS |= {MSE: ("0.82–0.84", "0.14")}
GOALS = (0.2, 0.3, 0.4)
ROWS = (RAW, RANDOM, FIXED, MSE, SOFT, SAMPLED, EXACT)


# ------------------------------------------------------------------------------------------------------------- sections


def _sounds(lines: list[Line]) -> str:
    """Tables 1, 5 and 6: one table a task, and the pretext task."""
    made = []
    for task, paper in PAPER_SOUNDS.items():
        head = [task, *(f"n = {n:,}" for n in LABELS), "paper, 500", "paper, 1000", "paper, 5000"]
        rows = [
            [layer, *(_found(lines, "notes/", task, layer, n) for n in LABELS), *paper.get(layer, (NONE,) * 3)]
            for layer in ROWS
        ]
        made.append(table(head, rows))
    head = ["pretext task", "partial ranks", "exact order", "paper, partial ranks"]
    rows = [
        [layer, *_pretext(lines, "notes/", layer), PAPER_PARTIAL.get(layer, NONE)]
        for layer in (MSE, SOFT, SAMPLED, EXACT)
    ]
    return "\n\n".join([*made, table(head, rows), _how(lines, "notes/")])


def _labels(lines: list[Line]) -> str:
    """Figure 3, as numbers: the frozen embedding beside the network trained on the labels alone."""
    made = []
    for task in PAPER_SOUNDS:
        rows = [
            [layer, *(_found(lines, where, task, layer, n) for n in LABELS)]
            for where, layer in (("notes/", EXACT), ("supervised/", SUPERVISED))
        ]
        made.append(table([task, *(f"n = {n:,}" for n in LABELS)], rows))
    return "\n\n".join([*made, _how(lines, "supervised/")])


def _layouts(lines: list[Line]) -> str:
    """Table 2, on notes and on spoken digits."""
    places = {name: ("layout/notes", name) for name in LAYOUTS} | {"frequency": ("notes/", EXACT)}
    notes = [
        [name, *(_found(lines, where, task, layer, 500) for task in PAPER_SOUNDS), *PAPER_LAYOUTS[name]]
        for name, (where, layer) in places.items()
    ]
    head = ["notes, 500 labels", *PAPER_SOUNDS, *(f"paper, {task}" for task in PAPER_SOUNDS)]
    rows = [RAW, *(row for name in LAYOUTS for row in (f"{RANDOM}, {name}", name))]
    spoken = [
        [row, *(_found(lines, "layout/spoken", task, row, 500) for task in ("digit", "speaker")),
         _pretext(lines, "layout/spoken", row)[0]]
        for row in rows
    ]  # fmt: skip
    second = table(["spoken digits, 500 labels", "digit", "speaker", "partial ranks"], spoken)
    return "\n\n".join([table(head, notes), second, _how(lines, "layout/")])


def _bands(lines: list[Line]) -> str:
    """Figure 4, as numbers."""
    rows = []
    for number in BAND_NUMBERS:
        trained = [_found(lines, "bands/", task, f"{number} bands", 500) for task in PAPER_SOUNDS]
        untrained = [_found(lines, "bands/", task, f"{RANDOM}, {number} bands", 500) for task in PAPER_SOUNDS]
        pretext = _pretext(lines, "bands/", f"{number} bands")[0]
        rows.append([str(number), *trained, pretext, *untrained])
    head = ["bands", *PAPER_SOUNDS, "partial ranks", *(f"untrained: {task}" for task in PAPER_SOUNDS)]
    return "\n\n".join([table(head, rows), _how(lines, "bands/")])


def _clips(lines: list[Line]) -> str:
    """Table 3."""
    rows = [
        [layer, *(_found(lines, "clips/", "motion", layer, n) for n in CLIP_LABELS),
         _pretext(lines, "clips/", layer)[0], *PAPER_CLIPS.get(layer, (NONE, NONE))]
        for layer in (*ROWS, f"{EXACT}, all eight motions")
    ]  # fmt: skip
    head = [
        "20 frames",
        *(f"motion, n = {n:,}" for n in CLIP_LABELS),
        "partial ranks",
        "paper, label of 174",
        "paper, partial ranks",
    ]
    return "\n\n".join([table(head, rows), _how(lines, "clips/")])


def _frames(lines: list[Line]) -> str:
    """The number of frames."""
    few = CLIP_LABELS[0]
    rows = []
    for n in FRAME_NUMBERS:
        names = (f"{n} frames", f"{RANDOM}, {n} frames")
        probed = [_found(lines, "frames/", "motion", name, few) for name in names]
        rows.append([str(n), *probed, _pretext(lines, "frames/", names[0])[0], f"{1 / n:.3f}"])
    head = ["frames", f"motion, n = {few}", "the same, untrained", "partial ranks", "by chance"]
    return "\n\n".join([table(head, rows), _how(lines, "frames/")])


def _photos(lines: list[Line]) -> str:
    """Table 4."""
    rows = [
        [layer, _found(lines, "photos/", "class", layer), _found(lines, "photos/", "category", layer),
         _pretext(lines, "photos/", layer)[0], *PAPER_PHOTOS.get(layer, (NONE, NONE))]
        for layer in ROWS
    ]  # fmt: skip
    head = ["3 × 3 patches", "flowers, of 5", "scenes, of 8", "partial ranks", "paper, AUC", "paper, partial ranks"]
    return "\n\n".join([table(head, rows), _how(lines, "photos/")])


def _backbones(lines: list[Line]) -> str:
    """AlexNet and what may take its place."""
    rows = [
        [row, *(_found(lines, "backbone/", task, row) for task in ("class", "category")),
         _pretext(lines, "backbone/", row)[0]]
        for name in BACKBONES for row in (f"{RANDOM}, {name}", name)
    ]  # fmt: skip
    return "\n\n".join(
        [table(["backbone", "flowers, of 5", "scenes, of 8", "partial ranks"], rows), _how(lines, "backbone/")]
    )


def _hundred(lines: list[Line]) -> str:
    """A hundred patches."""
    names = [f"{RANDOM}, 100 patches", *(f"{loss}, 100 patches" for loss in ROWS[2:])]
    rows = [
        [name.removesuffix(", 100 patches"), *(_found(lines, "hundred/", task, name) for task in ("class", "category")),
         _pretext(lines, "hundred/", name)[0]]
        for name in names
    ]  # fmt: skip
    head = ["10 × 10 patches", "flowers, of 5", "scenes, of 8", "partial ranks (chance 0.010)"]
    return "\n\n".join([table(head, rows), _how(lines, "hundred/")])


def _draws(lines: list[Line]) -> str:
    """Exact against ten draws: noise of the gradient, and steps to the same partial ranks."""
    numbers = ("noise_to_signal", "error_of_mean", "expected_error_of_mean")
    noise = [
        [str(line["epochs"]), *(f"{line[number]:.3f}" for number in numbers)]
        for line in lines
        if line["record"] == "gradients"
    ]
    first = table(["epochs trained", "E‖g₁₀ − g‖² / ‖g‖²", "‖mean of 100 − g‖ / ‖g‖", "expected of it"], noise)
    steps = [
        [layer, *(_steps_to(lines, layer, goal) for goal in GOALS), *_pretext(lines, "notes/", layer)]
        for layer in (SAMPLED, EXACT)
    ]
    head = ["notes", *(f"steps to {goal:.2f}" for goal in GOALS), "partial ranks at the end", "exact order"]
    return "\n\n".join([first, table(head, steps), _how(lines, "gradients/")])


def _search(lines: list[Line]) -> str:
    """What was tried on the training part, in the order of trying."""
    notes = _tried(lines, "search/", tuple(PAPER_SOUNDS))
    spoken = _tried(lines, "search-spoken/", ("digit", "speaker"))
    return "\n\n".join([notes, _how(lines, "search/"), spoken, _how(lines, "search-spoken/")])


def _tried(lines: list[Line], where: str, tasks: tuple[str, ...]) -> str:
    layers = dict.fromkeys(line["layer"] for line in _results(lines, where))
    rows = [
        [layer, *(_found(lines, where, task, layer, 500) for task in tasks), _pretext(lines, where, layer)[0]]
        for layer in layers
    ]
    return table(["setting", *tasks, "partial ranks"], rows)


SECTIONS: dict[str, Callable[[list[Line]], str]] = {
    "sounds": _sounds, "labels": _labels, "layouts": _layouts, "bands": _bands, "clips": _clips, "frames": _frames,
    "photos": _photos, "backbones": _backbones, "hundred": _hundred, "draws": _draws, "search": _search,
}  # fmt: skip
TABLES = Tables("shuffle to learn", SECTIONS)
MARK, fill, filled = TABLES.mark, TABLES.fill, TABLES.filled


# -------------------------------------------------------------------------------------------------------------- numbers


def _found(lines: list[Line], where: str, task: str, layer: str, n: int | None = None) -> str:
    """Mean ± deviation over the repeats, or that there are none."""
    values = [
        line["value"] for line in _results(lines, where)
        if (line["task"], line["layer"]) == (task, layer) and n in (None, line["n"])
    ]  # fmt: skip
    if not values:
        return NOT_RUN
    digits = 1 if task == "pitch" else 3
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def _pretext(lines: list[Line], where: str, layer: str) -> tuple[str, str]:
    """Partial ranks and exact order; a dash for what solves no puzzles of this kind."""
    if layer.startswith((RAW, RANDOM, FIXED)):
        return NONE, NONE
    return _found(lines, where, PARTIAL, layer), _found(lines, where, EXACT_ORDER, layer)


def _steps_to(lines: list[Line], layer: str, goal: float) -> str:
    """Steps until the held-out partial ranks reach a goal, mean over the trainings that reach it."""
    cells = {line["cell"] for line in _results(lines, "notes/") if line["layer"] == layer}
    curves = [line for line in lines if line["record"] == "curve" and line["cell"] in cells]
    reached = [
        next((step for step, placed in zip(curve["step"], curve["partial_ranks"]) if placed >= goal), None)
        for curve in curves
    ]
    found = [step for step in reached if step is not None]
    missed = "" if len(found) == len(reached) else f" ({len(found)} of {len(reached)})"
    return f"{fmean(found):.0f}{missed}" if found else (NONE if reached else NOT_RUN)


def _results(lines: list[Line], where: str) -> list[Line]:
    return [line for line in lines if line["record"] == "result" and line["cell"].startswith(where)]


def _how(lines: list[Line], where: str) -> str:
    """How the cells of a section are measured, and what it took."""
    command = f"`python benchmarks/shuffle_to_learn --data DATA --cells '{where}*'`"
    found = _results(lines, where)
    if not found:
        return f"Not run; {command} measures it."
    own = [line for line in lines if line["cell"].startswith(where)]
    minutes = sum(line["cpu_seconds"] for line in own if line["record"] == "cost") / 60
    made = "; ".join(sorted({f"{line['machine']}, {line['date']}" for line in found}))
    return f"Measured by {command} on {made}: {minutes:.0f} minutes of one core."
