"""The tables of the page, made from the results, each number with the paper's beside it in brackets.

A page marks the place:  <!-- groco: NAME -->  …  <!-- end -->   with one of the names in ``SECTIONS``.
A cell that is not among the results is told as "not run"; cells of another size than the usual one are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from groco_training import SHARPNESS

from cell_tables import NONE, NOT_RUN, Tables, beside, spread
from cells import Line
from render import table

METRICS = ("k-NN 1", "k-NN 10", "k-NN 20", "linear 1", "linear 5")
HEADS = ("k-NN, k = 1", "k = 10", "k = 20", "linear, top 1", "top 5")
NAMES = {"raw": "raw pixels", "random": "random network", "simclr": "SimCLR", "groco": "GroCo"}
OWN = "table4/groco/2 views/"
"""GroCo's usual setting: one row of every ablation."""
Row = tuple[str, str, Sequence[float | None]]
"""What a row is called, the beginning of its cells' names, and the paper's five numbers."""

# The paper's tables 4, 6 and 7: ResNet-50, ImageNet, 100 epochs; k-NN with k = 1, 10, 20, linear top 1 and top 5.
TABLE4: list[Row] = [
    ("raw pixels", "table4/raw/", ()),
    ("random network", "table4/random/", ()),
    ("SimCLR, 2 views", "table4/simclr/2 views/", (46.0, 51.5, 51.9, 65.7, 86.7)),
    ("SimCLR, 3 views", "table4/simclr/3 views/", (44.7, 50.0, 50.6, 65.8, 86.8)),
    ("SimCLR, 4 views", "table4/simclr/4 views/", (46.3, 52.1, 52.6, 66.5, 87.1)),
    ("SimCLR, 2 + 4 crops (paper: 2 + 6)", "table4/simclr/2 + 4 crops/", (46.6, 51.4, 52.0, 67.2, 87.7)),
    ("GroCo, 2 views", OWN, (55.3, 60.3, 60.5, 69.2, 88.4)),
    ("GroCo, 3 views", "table4/groco/3 views/", (55.8, 61.2, 61.6, 69.5, 88.8)),
    ("GroCo, 4 views", "table4/groco/4 views/", (56.4, 61.5, 61.8, 69.6, 88.9)),
    ("GroCo, 2 + 4 crops (paper: 2 + 6)", "table4/groco/2 + 4 crops/", (57.0, 61.9, 62.2, 71.6, 90.4)),
]
TABLE6A: list[Row] = [
    ("triplets, margin 0.8", "table6a/margin 0.8/", (46.8, 52.5, 52.8, 63.9, 85.4)),
    ("triplets, margin 1.6", "table6a/margin 1.6/", (47.9, 53.4, 53.7, 64.2, 85.3)),
    ("triplets, margin ∞", "table6a/margin inf/", (47.9, 53.3, 53.8, 64.3, 85.3)),
    ("GroCo", OWN, (54.7, 59.5, 60.0, 68.5, 88.2)),
]
TABLE6B: list[Row] = [
    ("in any order", "table6b/in any order/", (54.1, 59.2, 59.4, 68.4, 88.2)),
    ("ordered before", OWN, (54.7, 59.5, 60.0, 68.5, 88.2)),
]
TABLE6C: dict[tuple[float, int], tuple[float, float]] = {
    (0.25, 5): (58.9, 67.9), (0.5, 5): (59.1, 67.5), (0.5, 10): (59.8, 68.5), (1, 5): (58.8, 67.7),
    (1, 10): (60.0, 68.5), (1, 20): (54.4, 65.2), (2, 10): (60.0, 68.3), (2, 20): (56.2, 65.7), (4, 20): (59.2, 67.7),
    (8, 20): (58.6, 67.7),
}  # fmt: skip
TABLE6D: list[Row] = [
    ("64 (paper: 256)", "table6d/64/", (52.2, 56.8, 56.8, 67.2, 87.7)),
    ("128 (paper: 512)", "table6d/128/", (53.1, 57.9, 58.1, 67.7, 87.8)),
    ("256 (paper: 1,024)", OWN, (54.7, 59.5, 60.0, 68.5, 88.2)),
]
TABLE7A: list[Row] = [
    ("SimCLR, views as in SimCLR", "table4/simclr/2 views/", (46.0, 51.5, 51.9, 65.7, 86.7)),
    ("SimCLR, views as in DINO", "table7a/simclr as in dino/", (43.3, 48.6, 49.1, 63.7, 85.4)),
    ("GroCo, views as in SimCLR", "table7a/groco as in simclr/", (54.0, 59.0, 59.4, 68.4, 88.3)),
    ("GroCo, views as in DINO", OWN, (55.3, 60.3, 60.5, 69.2, 88.4)),
]
TABLE7B: list[Row] = [
    ("128", "table7b/128/", (53.7, None, 58.7, None, 88.0)),
    ("512", OWN, (55.2, 59.8, 60.1, 69.0, 88.5)),
    ("2,048", "table7b/2048/", (55.3, 60.3, 60.5, 69.2, 88.4)),
]
TABLE7C: list[Row] = [
    ("10 random negatives", "table7c/10 random negatives/", (39.5, 45.0, 45.3, 60.1, 82.7)),
    ("the 10 strongest", OWN, (55.3, 60.3, 60.5, 69.2, 88.4)),
]
UNTOLD = (None,) * len(METRICS)
GRADIENT: list[Row] = [
    ("through both sides of a distance", "gradient/groco through both/", ()),
    ("stopped at what is compared with", OWN, ()),
]
SPACES = (("SimCLR", "table4/simclr/2 views/"), ("GroCo", OWN))
TABLE7D = {
    ("SimCLR", "projection"): (35.8, 41.6, 42.3), ("SimCLR", "representation"): (46.0, 51.5, 51.9),
    ("GroCo", "projection"): (51.4, 56.9, 57.3), ("GroCo", "representation"): (55.3, 60.3, 60.5),
}  # fmt: skip
TRANSFERS = {"cifar10": "CIFAR-10", "mnist": "digits", "flowers": "flowers", "scenes": "scenes"}
TABLE5 = {
    ("simclr", "k-NN 20"): 57.06, ("groco", "k-NN 20"): 60.81, ("simclr", "linear 1"): 71.47,
    ("groco", "linear 1"): 71.55,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- sections


def _plain(rows: list[Row], what: str) -> Callable[[list[Line]], str]:
    """A table of the five metrics, in per cent."""

    def make(lines: list[Line]) -> str:
        made = [
            [
                name,
                *(
                    beside(_found(lines, where, metric), printed)
                    for metric, printed in zip(METRICS, paper or [None] * 5)
                ),
            ]
            for name, where, paper in rows
        ]
        return f"{table([what, *HEADS], made)}\n\n{_how(lines, [where for _, where, _ in rows])}"

    return make


def _transfer(lines: list[Line]) -> str:
    """Table 5: other data sets, their average, and how often a method is ahead of the other."""
    made = []
    for metric, title in (("k-NN 20", "k-NN, k = 20"), ("linear 1", "linear")):
        for method in NAMES:
            where = f"table4/{method}/" + ("" if method in ("raw", "random") else "2 views/")
            values = [_values(lines, where, metric, data=data) for data in TRANSFERS]
            average = spread([fmean(found) for found in zip(*values)]) if all(values) else NOT_RUN
            row = [f"{NAMES[method]}, {title}", *map(spread, values), beside(average, TABLE5.get((method, metric)))]
            made.append([*row, _wins(lines, method, metric)])
    head = ["", *TRANSFERS.values(), "average (paper: of 11)", "ahead"]
    return f"{table(head, made)}\n\n{_how(lines, [f'table4/{m}/2 views/' for m in ('simclr', 'groco')])}"


def _wins(lines: list[Line], method: str, metric: str) -> str:
    if method in ("raw", "random"):
        return NONE
    rival = "simclr" if method == "groco" else "groco"
    ours, theirs = (
        [_values(lines, f"table4/{name}/2 views/", metric, data=data) for data in TRANSFERS] for name in (method, rival)
    )
    if not all([*ours, *theirs]):
        return NOT_RUN
    return f"{sum(fmean(a) > fmean(b) for a, b in zip(ours, theirs))} of {len(TRANSFERS)}"


def _sharpness(lines: list[Line]) -> str:
    """Table 6c: rows are inverse temperatures, columns numbers of negatives; k-NN (k = 20) and linear probe."""
    counts = sorted({count for _, count in TABLE6C})
    made = []
    for beta in sorted({beta for beta, _ in TABLE6C}):
        row = [f"{beta:g}"]
        for count in counts:
            where = OWN if (beta, count) == (SHARPNESS["groco"], 10) else f"table6c/{beta:g}x{count}/"
            pairs = zip(("k-NN 20", "linear 1"), TABLE6C.get((beta, count), ()))
            row.append("; ".join(beside(_found(lines, where, metric), paper) for metric, paper in pairs) or NONE)
        made.append(row)
    head = ["β", *(f"N = {count}: k-NN; linear" for count in counts)]
    return f"{table(head, made)}\n\n{_how(lines, ['table6c/', OWN])}"


def _spaces(lines: list[Line]) -> str:
    """Table 7d."""
    made = [
        [name, space, *(beside(_found(lines, where, metric, space=space), paper)
                        for metric, paper in zip(METRICS, TABLE7D[name, space]))]
        for name, where in SPACES for space in ("projection", "representation")
    ]  # fmt: skip
    return f"{table(['', 'space', *HEADS[:3]], made)}\n\n{_how(lines, [where for _, where in SPACES])}"


def _search(lines: list[Line]) -> str:
    """What was tried on held-out training images."""
    made = []
    for name in dict.fromkeys(
        line["cell"] for line in lines if line["cell"].startswith("search/") and "@" not in line["cell"]
    ):
        _, method, setting = name.split("/")
        rate, _, sharpness = setting.partition("x")
        which = f"rate {rate}, {'β' if method == 'groco' else 'τ'} = {sharpness}"
        made.append([NAMES[method], which, _found(lines, name, "k-NN 20"), _found(lines, name, "linear 1")])
    shown = table(["", "setting", "k-NN, k = 20", "linear, top 1"], made) if made else ""
    return f"{shown}\n\n{_how(lines, ['search/'])}".strip()


def _cost(lines: list[Line]) -> str:
    """The time of a step."""
    found = [line for line in lines if line["record"] == "time" and line["cell"] == "cost"]
    rows = [
        [str(line["batch"]), *(f"{1000 * line['seconds'][m]:.0f} ms" for m in ("simclr", "groco")),
         f"{line['seconds']['groco'] / line['seconds']['simclr']:.3f}", "514 ms, 526 ms: 1.023"]
        for line in found
    ]  # fmt: skip
    shown = table(["images", "SimCLR", "GroCo", "ratio", "paper, ResNet-50 on a GPU"], rows) if rows else ""
    return f"{shown}\n\n{_how(lines, ['cost'])}".strip()


SECTIONS: dict[str, Callable[[list[Line]], str]] = {
    "table 4": _plain(TABLE4, ""), "table 5": _transfer, "table 6a": _plain(TABLE6A, "supervision"),
    "table 6b": _plain(TABLE6B, "lists enter"), "table 6c": _sharpness, "table 6d": _plain(TABLE6D, "batch"),
    "table 7a": _plain(TABLE7A, ""), "table 7b": _plain(TABLE7B, "projection"),
    "table 7c": _plain(TABLE7C, "negatives"), "table 7d": _spaces, "gradient": _plain(GRADIENT, "gradient"),
    "cost": _cost, "search": _search,
}  # fmt: skip
TABLES = Tables("groco", SECTIONS)
MARK, fill, filled = TABLES.mark, TABLES.fill, TABLES.filled


# -------------------------------------------------------------------------------------------------------------- numbers


def _found(lines: list[Line], where: str, metric: str, *, space: str = "representation") -> str:
    return spread(_values(lines, where, metric, space=space))


def _values(
    lines: list[Line], where: str, metric: str, *, space: str = "representation", data: str = "cifar10"
) -> list[float]:
    """One share for each seed."""
    wanted = (metric, space, data)
    return [
        line["value"] for line in _results(lines, [where]) if (line["metric"], line["layer"], line["data"]) == wanted
    ]


def _results(lines: list[Line], wheres: Iterable[str]) -> list[Line]:
    """Lines of cells of the usual size with these names, or below those that end with a stroke."""
    names = tuple(wheres)
    folders = tuple(name for name in names if name.endswith("/"))
    return [
        line for line in lines
        if line["record"] in ("result", "time") and "@" not in line["cell"]
        and (line["cell"] in names or line["cell"].startswith(folders))
    ]  # fmt: skip


def _how(lines: list[Line], wheres: Sequence[str]) -> str:
    """How the cells of a section are measured, and what it took."""
    patterns = " ".join(f"'{where}*'" if where.endswith("/") else where for where in dict.fromkeys(wheres))
    command = f"`python benchmarks/groco --data DATA --cells {patterns}`"
    found = _results(lines, wheres)
    if not found:
        return f"Not run; {command} measures it; on a GPU, add `--images 50000 --epochs 200 --width 64 --device cuda`."
    cells = {line["cell"] for line in found}
    minutes = sum(line["cpu_seconds"] for line in lines if line["record"] == "cost" and line["cell"] in cells) / 60
    sizes = sorted({(line["images"], line["epochs"], line["width"]) for line in found if "images" in line})
    told = "; ".join(f"{images:,} images, {epochs} epochs, width {width}" for images, epochs, width in sizes)
    made = "; ".join(sorted({f"{line['machine']}, {line['date']}" for line in found}))
    return f"Measured by {command} on {made}: {told + ', ' if told else ''}{minutes:.0f} minutes of one core."
