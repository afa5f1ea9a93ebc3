"""The tables of relative attributes, made from the results, with the paper's numbers beside them.

A page marks the place:  <!-- relative attributes: NAME -->  …  <!-- end -->   with one of the names in ``SECTIONS``.
A cell that is not among the results is told as "not run".
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from cell_tables import NONE, NOT_RUN, Tables
from cells import Line
from relative_cells import (
    ATTRIBUTES,
    AUTHORS,
    BASELINES,
    BROKEN,
    CHOICE_ATTRIBUTES,
    FEATURES,
    LARGE,
    LAYERS,
    LOSSES,
    NAIVE,
    SELF,
    SINKHORN,
    SOFT,
    STABLE_ATTRIBUTES,
)
from render import table

# Table 1, public figures: Kendall tau, Hamming similarity, normalisation error.
PAPER_LAYERS = {
    (NAIVE, 4): ("0.859", "0.893", "0.062"), (SINKHORN, 4): ("0.884", "0.906", "0.019"),
    (NAIVE, 8): ("0.774", "0.832", "0.1"), (SINKHORN, 8): ("0.963", "0.973", "0.022"),
}  # fmt: skip
# Table 3, in the order of ``ATTRIBUTES``, and the mean.
PAPER_ATTRIBUTES = {
    "paper: Parikh & Grauman": ("95.03", "90.77", "86.73", "86.23", "86.5", "87.53", "88.80"),
    "paper: DeepPermNet (AlexNet)": ("97.21", "96.65", "96.46", "98.77", "94.53", "96.09", "96.62"),
    "paper: DeepPermNet (VGG16)": ("96.87", "99.79", "99.82", "99.55", "97.99", "96.87", "98.48"),
}


# ------------------------------------------------------------------------------------------------------------- sections


def _layers(lines: list[Line]) -> str:
    """Table 1: the three layers."""
    metrics = ("Kendall tau", "matrix", "row and column sums")
    rows = [
        [str(n), layer, *(_mean(lines, "matrix/", metric, layer, n) for metric in metrics),
         *PAPER_LAYERS.get((layer, n), (NONE,) * 3)]
        for n in (4, 8) for layer in LAYERS
    ]  # fmt: skip
    head = ["length", "layer", "Kendall tau", "Hamming similarity", "normalisation error", "paper, KT", "paper, HS"]
    return _with_how(lines, "matrix/", table([*head, "paper, NE"], rows))


def _stability(lines: list[Line]) -> str:
    """Figure 3, as numbers."""
    rows = [
        [attribute, layer, *(_over_orders(lines, attribute, layer, n) for n in (4, 6, 8))]
        for attribute in STABLE_ATTRIBUTES
        for layer in LAYERS
    ]
    return _with_how(lines, "matrix/", table(["attribute", "layer", "length 4", "length 6", "length 8"], rows))


def _attributes(lines: list[Line]) -> str:
    """Table 3: pairs of test sequences of eight."""
    methods = [("matrix/", layer) for layer in LAYERS] + [("score/", loss) for loss in LOSSES]
    methods += [("baseline/", f"{name}, {features}") for features in FEATURES for name in BASELINES]
    rows = [[method, *_pairs(lines, where, method)] for where, method in methods]
    rows += [[name, *numbers] for name, numbers in PAPER_ATTRIBUTES.items()]
    head = ["pairs in order, %", *(attribute.replace("_", " ") for attribute in ATTRIBUTES), "mean"]
    return _with_how(lines, ("matrix/", "score/", "baseline/"), table(head, rows))


def _lengths(lines: list[Line]) -> str:
    """Learnt from pairs alone, and from sequences of eight."""
    rows = [
        [method, _pairs(lines, "pairs/", method)[-1], _pairs(lines, eight, method)[-1]]
        for eight, method in (("matrix/", SINKHORN), ("score/", SOFT))
    ]
    head = ["pairs in order, %, mean of the attributes", "learnt from pairs", "learnt from eight"]
    return _with_how(lines, "pairs/", table(head, rows))


def _ties(lines: list[Line]) -> str:
    """Ties told as ties, and broken by chance."""
    rows = []
    for shared, method in (("matrix/", SINKHORN), ("score/", SOFT)):
        for name, where, row in ((method, shared, method), (f"{method}{BROKEN}", "ties/", f"{method}{BROKEN}")):
            tau = _mean(lines, where, "Kendall tau", row, 8)
            rows.append([name, _pairs(lines, where, row)[-1], tau, _mean(lines, where, HUNDRED, row, LARGE)])
    head = ["learnt from eight", "pairs in order, %", "Kendall tau", f"Kendall tau of {LARGE}"]
    return _with_how(lines, "ties/", table(head, rows))


def _starts(lines: list[Line]) -> str:
    """From scratch, and from a backbone that has put patches back."""
    rows = [
        [method, _pairs(lines, scratch, method)[-1], _pairs(lines, "start/", f"{method}{SELF}")[-1]]
        for scratch, method in (("matrix/", SINKHORN), ("score/", SOFT))
    ]
    head = ["pairs in order, %, mean of the attributes", "from scratch", "self-supervised start"]
    return _with_how(lines, "start/", table(head, rows))


HUNDRED = "Kendall tau of a hundred"


def _choice(lines: list[Line]) -> str:
    """Small and quick: which of the user's two recipes is the default, and which loss it has."""
    rows = []
    for method in (SINKHORN, *LOSSES):
        row = [method]
        for metric, n, scale in (("pairs", 8, 100), ("Kendall tau", 8, 1), (HUNDRED, LARGE, 1)):
            found = [_found(lines, "choice/", metric, method, n, attribute) for attribute in CHOICE_ATTRIBUTES]
            row.append(_number([value for values in found for value in values], scale) if all(found) else NOT_RUN)
        rows.append(row)
    head = ["learnt from eight, 12 epochs", "pairs in order, %", "Kendall tau", f"Kendall tau of {LARGE}"]
    return _with_how(lines, "choice/", table(head, rows))


def _hundred(lines: list[Line]) -> str:
    """A hundred images at once: merged windows beside scores."""
    methods = [("matrix/", SINKHORN, "windows of 8, merged"), ("matrix/", AUTHORS, "windows of 8, merged")]
    methods += [("pairs/", SINKHORN, "all pairs, merged"), *(("score/", loss, "one score an image") for loss in LOSSES)]
    rows = [
        [method, how, *(_each(lines, where, HUNDRED, method, LARGE)), _mean(lines, where, HUNDRED, method, LARGE)]
        for where, method, how in methods
    ]
    head = [f"Kendall tau, n = {LARGE}", "how", *(attribute.replace("_", " ") for attribute in ATTRIBUTES), "mean"]
    return _with_how(lines, ("matrix/", "pairs/", "score/"), table(head, rows))


SECTIONS: dict[str, Callable[[list[Line]], str]] = {
    "choice": _choice, "layers": _layers, "stability": _stability, "attributes": _attributes, "lengths": _lengths,
    "ties": _ties, "starts": _starts, "hundred": _hundred,
}  # fmt: skip
TABLES = Tables("relative attributes", SECTIONS)
MARK, fill, filled = TABLES.mark, TABLES.fill, TABLES.filled


# -------------------------------------------------------------------------------------------------------------- numbers


def _found(lines: list[Line], where: str, metric: str, method: str, n: int | None, attribute: str) -> list[float]:
    """All values of one row; of learning from pairs and from eight the length asked for is eight."""
    return [
        line["value"] for line in lines
        if line["record"] == "result" and line["cell"].startswith(where)
        and (line["metric"], line["layer"], line["task"]) == (metric, method, attribute) and n in (None, line["n"])
    ]  # fmt: skip


def _each(lines: list[Line], where: str, metric: str, method: str, n: int, *, scale: float = 1) -> list[str]:
    found = [_found(lines, where, metric, method, n, attribute) for attribute in ATTRIBUTES]
    return [_number(values, scale) for values in found]


def _mean(lines: list[Line], where: str, metric: str, method: str, n: int, *, scale: float = 1) -> str:
    """Over the attributes, once all of them are there."""
    found = [_found(lines, where, metric, method, n, attribute) for attribute in ATTRIBUTES]
    return _number([fmean(values) for values in found], scale) if all(found) else NOT_RUN


def _number(values: list[float], scale: float) -> str:
    return f"{scale * fmean(values):.{2 if scale > 1 else 3}f}" if values else NOT_RUN


def _pairs(lines: list[Line], where: str, method: str) -> list[str]:
    """Per cent of pairs in order, attribute by attribute, and on average."""
    return [*_each(lines, where, "pairs", method, 8, scale=100), _mean(lines, where, "pairs", method, 8, scale=100)]


def _over_orders(lines: list[Line], attribute: str, layer: str, n: int) -> str:
    """Mean ± deviation of Kendall's tau over the orders that the same sequences are given in."""
    mean, deviation = (
        _found(lines, "matrix/", metric, layer, n, attribute) for metric in ("Kendall tau over orders", "its deviation")
    )
    return f"{fmean(mean):.3f} ± {fmean(deviation):.3f}" if mean else NOT_RUN


def _with_how(lines: list[Line], where: str | tuple[str, ...], made: str) -> str:
    """A table, and how its cells, whose names begin with ``where``, are measured and what they took."""
    pattern = f"{where}*" if isinstance(where, str) else "*"
    command = f"`python benchmarks/relative_attributes.py --data DATA --cells '{pattern}'`"
    own = [line for line in lines if line["cell"].startswith(where)]
    if not own:
        return f"{made}\n\nNot run; {command} measures it."
    minutes = sum(line["cpu_seconds"] for line in own if line["record"] == "cost") / 60
    when = ", ".join(sorted({f"{line['machine']}, {line['date']}" for line in own if line["record"] == "result"}))
    left = " The same command measures what is not run." if NOT_RUN in made else ""
    return f"{made}\n\nMeasured by {command} on {when}: {minutes:.0f} minutes of one core.{left}"
