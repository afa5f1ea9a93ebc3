"""The tables of the page, made from the results, each number with the paper's beside it in brackets.

A page marks the place:  <!-- sela: NAME -->  …  <!-- end -->   with one of the names in ``SECTIONS``.
A cell that is not among the results is told as "not run"; cells of another size than the usual one are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from sela_cells import AGAIN, KINDS, OTHERS, searched, tried
from sela_training import CHOSEN, CLUSTERING, KNN, LINEAR, METHODS, METRICS, Choice

from cell_tables import NONE, NOT_RUN, Tables, beside, spread
from cells import Line
from render import table

ITERATIONS = "iterations of a labelling"
NEW_LABELS = "labels of new images"
RANDOM = "full/random/"
OWN, TEN = "full/sela 128x1/", "full/sela 128x10/"
"""The usual setting: one row of every ablation; and the same with ten heads."""
Row = tuple[str, str, str]
"""What a row is called, what the paper says of it, and the beginning of its cells' names."""

# Table 6, CIFAR-10: AlexNet on images of 224 pixels, 400 epochs; linear probe on conv5 and weighted k-NN.
TABLE6 = {
    "random network": (RANDOM, None, None), "supervised": ("full/supervised/", 91.8, 91.9),
    "SeLa [128 × 10]": (TEN, 83.4, 77.6),
}  # fmt: skip
# Tables 1 to 5: top 1 on ImageNet; AlexNet's at conv3, conv4, conv5 or at conv4 alone, K = 3,000. Of tables 1 and 5 the
# numbers that are left out could not be read.
TABLE1: list[Row] = [
    ("none: the random labels stay", "0: left out", "table1/0 labellings/"),
    ("4", "40: left out", "table1/4 labellings/"),
    ("30, every second epoch", "80: 43.0, 44.7, 40.9", OWN),
    ("60, once an epoch", "160: 42.4, 44.6, 40.7", "table1/60 labellings/"),
]
TABLE2: list[Row] = [
    ("K = 32", "1,000: 40.1, 42.1, 38.8", "table2/32x1/"),
    ("K = 128", "3,000: 43.0, 44.7, 40.9", OWN),
    ("K = 512", "10,000: 42.2, 43.8, 39.7", "table2/512x1/"),
]
TABLE3: list[Row] = [
    ("T = 1", "AlexNet 44.7, ResNet-50 51.8", OWN),
    ("T = 3", NONE, "table3/128x3/"),
    ("T = 10", "AlexNet 46.7, ResNet-50 61.5", TEN),
]
TABLE4: list[Row] = [
    ("AlexNet, narrow variant", "41.3", "table4/narrow 128x1/"),
    ("AlexNet", "44.7", OWN),
    ("ResNet-18 (paper: 50)", "51.8", "table4/resnet 128x1/"),
]
TABLE5 = [
    ("SeLa [128 × 10], AlexNet", "AlexNet [3k × 10]: 46.7", TEN, "trained"),
    ("AlexNet on these labels, from scratch", "the same, as the text says", TEN, AGAIN["alexnet"]),
    ("SeLa [128 × 1], AlexNet", "AlexNet [3k × 1]: 44.7", OWN, "trained"),
    ("SeLa [128 × 1], ResNet-18", "ResNet-50 [3k × 1]: 51.8", "table4/resnet 128x1/", "trained"),
    ("AlexNet on the labels of the ResNet", "better than AlexNet's own, as the text says", "table4/resnet 128x1/",
     AGAIN["resnet"]),
]  # fmt: skip
STARTS = {"at the last offsets": OWN, "from the beginning": "start/cold 128x1/"}
TABLEA1 = [
    ("SeLa [32 × 1]", "1k × 1: 50.5, 12.2, 2.7", "table2/32x1/"),
    ("SeLa [128 × 1]", "3k × 1: 59.1, 9.8, 2.5", OWN),
    ("SeLa [512 × 1]", "10k × 1: 66.4, 4.7, 1.0", "table2/512x1/"),
    ("SeLa [128 × 1], ResNet-18", "3k × 1, ResNet-50: 60.0, 13.5, 3.8", "table4/resnet 128x1/"),
    ("SeLa [128 × 10], first head", "3k × 10, ResNet-50: 66.3, 26.4, 10.3", TEN),
    ("k-means [128 × 1]", NONE, "full/k-means 128x1/"),
]
# Table 8: k-NN and linear probe, each on CIFAR-10 and CIFAR-100, and the differences to the supervised row as printed.
TABLE8: dict[tuple[str, str], tuple[tuple[float, float, float, float], tuple[float, ...]]] = {
    ("full", "supervised"): ((92.1, 24.0, 90.2, 54.2), ()),
    ("full", "k-means"): ((64.7, 19.3, 77.5, 45.6), (-17.4, -4.7, -12.7, -8.8)),
    ("full", "sela"): ((72.9, 28.9, 79.8, 49.4), (-9.2, 4.9, -9.4, -4.8)),
    ("light", "supervised"): ((92.0, 24.0, 90.4, 53.6), ()),
    ("light", "k-means"): ((64.2, 18.1, 77.0, 44.8), (-17.8, -5.9, -13.4, -8.8)),
    ("light", "sela"): ((71.7, 28.2, 79.5, 48.6), (-10.3, 4.2, -10.9, -5.0)),
    ("heavy", "supervised"): ((86.7, 22.6, 86.8, 51.4), ()),
    ("heavy", "k-means"): ((60.7, 17.8, 75.2, 44.3), (-16.0, -4.8, -11.6, -7.1)),
    ("heavy", "sela"): ((67.6, 26.7, 77.2, 47.5), (-9.1, 3.9, -9.6, -2.9)),
}
PAPERS_COLUMNS = ("k-NN, CIFAR-10", "k-NN, CIFAR-100", "linear, CIFAR-10", "linear, CIFAR-100")
NAMES = {"supervised": "supervised", "k-means": "k-means [128 × 1]", "sela": "SeLa [128 × 1]"}
CELLS = {"supervised": "supervised", "k-means": "k-means 128x1", "sela": "sela 128x1"}
CURVES = {
    "NMI with classes": "A.1, left", "NMI with the labels before": "A.1, right", "pseudo-label accuracy": "A.2",
    "entropy of a cluster, mean": "A.4", "entropy of a cluster, least": "A.4",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- sections


def _table6(lines: list[Line]) -> str:
    made = [
        [name, *(beside(_found(lines, where, metric), paper) for metric, paper in ((LINEAR, linear), (KNN, knn)))]
        for name, (where, linear, knn) in TABLE6.items()
    ]
    return f"{table(['', LINEAR, 'weighted k-NN'], made)}\n\n{_how(lines, [where for where, _, _ in TABLE6.values()])}"


def _ablation(rows: list[Row], what: str) -> Callable[[list[Line]], str]:
    def make(lines: list[Line]) -> str:
        made = [[name, *(_found(lines, where, metric) for metric in METRICS), paper] for name, paper, where in rows]
        return f"{table([what, *METRICS, 'paper'], made)}\n\n{_how(lines, [where for _, _, where in rows])}"

    return make


def _table5(lines: list[Line]) -> str:
    made = [
        [name, *(_found(lines, where, metric, layer=layer) for metric in METRICS), paper]
        for name, paper, where, layer in TABLE5
    ]
    return f"{table(['', *METRICS, 'paper'], made)}\n\n{_how(lines, [where for _, _, where, _ in TABLE5])}"


def _table8(lines: list[Line]) -> str:
    """Accuracies, and the differences to the supervised row of the same data."""
    datas = ("cifar10", *OTHERS)
    rows = {"random network": (RANDOM, f"full/{CELLS['supervised']}/")} | {
        f"{kind}: {name}": (f"{kind}/{CELLS[method]}/", f"{kind}/{CELLS['supervised']}/")
        for kind in KINDS for method, name in NAMES.items()
    }  # fmt: skip
    made = []
    for name, (where, base) in rows.items():
        row = [name]
        for metric in METRICS:
            for data in datas:
                ours, theirs = (_values(lines, place, metric, data=data) for place in (where, base))
                known = ours and theirs and where != base
                row.append(spread(ours) + (f" ({100 * (fmean(ours) - fmean(theirs)):+.1f})" if known else ""))
        made.append(row)
    heads = [f"{metric.split(',')[0]}: {data}" for metric in METRICS for data in datas]
    return f"{table(['', *heads], made)}\n\n{_how(lines, [where for where, _ in rows.values()])}"


def _falling(lines: list[Line]) -> str:
    """The rows that labels teach at rates that fall, and at one rate all along."""
    rows = {f"{kind}: {NAMES[method]}": f"{kind}/{CELLS[method]}/" for kind in KINDS for method in METHODS}
    made = [
        [name, *(_found(lines, place, metric) for metric in METRICS for place in (f"falling/{where}", where))]
        for name, where in (rows | {"full: SeLa [128 × 10]": TEN}).items()
    ]
    heads = [f"{metric.split(',')[0]}, {rate}" for metric in METRICS for rate in ("falling", "all along")]
    return f"{table(['', *heads], made)}\n\n{_how(lines, ['falling/'])}"


def _table8_recomputed(_: list[Line]) -> str:
    """The paper's own numbers, with differences recomputed; where another one is printed, it says so."""
    made, wrong, printed_in_all = [], 0, 0
    for (kind, method), (values, printed) in TABLE8.items():
        row = [f"{kind}: {NAMES[method]}"]
        for column, value in enumerate(values):
            if not printed:
                row.append(f"{value:.1f}")
                continue
            true = round(value - TABLE8[kind, "supervised"][0][column], 1)
            printed_in_all += 1
            differs = abs(true - printed[column]) > 0.05
            wrong += differs
            row.append(f"{value:.1f} ({true:+.1f}{f'; printed {printed[column]:+.1f}' if differs else ''})")
        made.append(row)
    told = f"{wrong} of the {printed_in_all} differences that the paper prints are not those of its own numbers."
    return f"{table(['', *PAPERS_COLUMNS], made)}\n\n{told}"


def _table_a1(lines: list[Line]) -> str:
    made = [
        [name, *(_found(lines, where, metric, layer=NEW_LABELS) for metric in CLUSTERING), paper]
        for name, paper, where in TABLEA1
    ]
    head = ["", *CLUSTERING, "paper: NMI, adjusted NMI, adjusted Rand index"]
    return f"{table(head, made)}\n\n{_how(lines, [where for _, _, where in TABLEA1])}"


def _over_time(lines: list[Line]) -> str:
    """The beginning, the middle and the end of each curve."""
    made = []
    for curve, figure in CURVES.items():
        points = curve_points(lines, OWN, curve)
        ends = (points[0], points[len(points) // 2], points[-1]) if points else (None, None, None)
        told = [NOT_RUN if end is None else f"{end[1]:.3f} (epoch {end[0]:.1f})" for end in ends]
        made.append([f"{curve} (figure {figure})", *told])
    return f"{table(['SeLa [128 × 1]', 'first', 'middle', 'last'], made)}\n\n{_how(lines, [OWN])}"


def _warm_start(lines: list[Line]) -> str:
    """What the solver took in two trainings that differ in where it began."""
    made = []
    for name, where in STARTS.items():
        counts = [value for _, value in curve_points(lines, where, ITERATIONS)]
        mean = f"{fmean(counts):.1f}" if counts else NOT_RUN
        made.append([name, mean, *(_found(lines, where, metric) for metric in METRICS)])
    return f"{table(['start', 'iterations a labelling', *METRICS], made)}\n\n{_how(lines, [*STARTS.values()])}"


def _search(lines: list[Line]) -> str:
    """What was tried on held-out training images, and what was chosen of it."""
    made = []
    for row, choice in tried():
        where = searched(row, choice)
        rate = f"{choice.rate:g}, {'falling' if choice.falling else 'all along'}"
        looks = NONE if row == "supervised" else choice.look
        found = [_found(lines, where, metric) for metric in METRICS]
        made.append([row, rate, looks, *found, "chosen" if choice == CHOSEN[row] else ""])
    return f"{table(['', 'rate', 'labels by', *METRICS, ''], made)}\n\n{_how(lines, ['search/'])}"


def preferred(lines: list[Line], row: str, *, rates: tuple[bool, ...] = (True, False)) -> Choice:
    """The best mean of both metrics in the search, among rates that fall (True), that do not (False), or all."""
    asked = [choice for named, choice in tried() if named == row and choice.falling in rates]
    return max(asked, key=lambda choice: fmean(
        value for metric in METRICS for value in _values(lines, searched(row, choice), metric)
    ))  # fmt: skip


SECTIONS: dict[str, Callable[[list[Line]], str]] = {
    "table 6": _table6, "table 8": _table8, "table 8 recomputed": _table8_recomputed,
    "table 1": _ablation(TABLE1, "labellings"), "table 2": _ablation(TABLE2, "clusters"),
    "table 3": _ablation(TABLE3, "heads"), "table 4": _ablation(TABLE4, "network"), "table 5": _table5,
    "table a1": _table_a1, "labels over time": _over_time,
    "warm start": _warm_start, "search": _search, "falling": _falling,
}  # fmt: skip
TABLES = Tables("sela", SECTIONS)
MARK, fill, filled = TABLES.mark, TABLES.fill, TABLES.filled


# -------------------------------------------------------------------------------------------------------------- numbers


def curve_points(lines: list[Line], where: str, curve: str) -> list[tuple[float, float]]:
    """Epochs and values of the first cell below ``where``."""
    found = [line for line in _of(lines, [where]) if line["record"] == "curve" and line["curve"] == curve]
    return [(epoch, value) for epoch, value in found[0]["points"]] if found else []


def _found(lines: list[Line], where: str, metric: str, *, layer: str = "trained") -> str:
    return spread(_values(lines, where, metric, layer=layer))


def _values(
    lines: list[Line], where: str, metric: str, *, layer: str = "trained", data: str = "cifar10"
) -> list[float]:
    """One share for each seed."""
    return [
        line["value"] for line in _of(lines, [where])
        if line["record"] == "result" and (line["metric"], line["layer"], line["data"]) == (metric, layer, data)
    ]  # fmt: skip


def _of(lines: list[Line], wheres: Iterable[str]) -> list[Line]:
    """Lines of cells of the usual size with these names, or below those that end with a stroke."""
    names = tuple(wheres)
    folders = tuple(name for name in names if name.endswith("/"))
    return [
        line for line in lines
        if "@" not in line["cell"] and (line["cell"] in names or line["cell"].startswith(folders))
    ]  # fmt: skip


def _how(lines: list[Line], wheres: Sequence[str]) -> str:
    """How the cells of a section are measured, and what it took."""
    names = [*dict.fromkeys(wheres)]
    patterns = " ".join(f"'{where}*'" if where.endswith("/") else where for where in names)
    command = f"`python benchmarks/sela --data DATA --cells {patterns}`"
    found = [line for line in _of(lines, names) if line["record"] == "result"]
    options = "--images 50000 --epochs 400 --width 96 --device cuda"
    whole = f"With the paper's images, epochs and filters, on a GPU: `{options}`."
    if not found:
        return f"Not run; {command} measures it. {whole}"
    minutes = sum(line["cpu_seconds"] for line in _of(lines, names) if line["record"] == "cost") / 60
    sizes = sorted({(line["images"], line["epochs"], line["width"]) for line in found})
    told = "; ".join(f"{images:,} images, {epochs} epochs, width {width}" for images, epochs, width in sizes)
    made = "; ".join(sorted({f"{line['machine']}, {line['date']}" for line in found}))
    return f"Measured by {command} on {made}: {told}, {minutes:.0f} minutes of one core. {whole}"
