"""Results as tables: layers down, numbers of samples across, mean ± standard deviation in the cells.

One table code for three readers: HTML for the page, Markdown for text files, and plain lists for the terminal.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from unshuffle.types import Result

_LOWER_IS_BETTER = {"mse", "rmse", "mae", "loss", "spread", "error", "entropy"}
_NOTHING = "–"
_ACROSS = "transfer, "
"""How the tasks begin that are one question asked of several data sets."""


class Table(NamedTuple):
    """A finished table of strings.

    ``columns`` and every one of ``rows`` begin with the layer; ``best`` holds (row, column) of the best cells, counted
    from 0 with the layer's column as 0.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


def tables(results: Iterable[Result]) -> list[Table]:
    """Gathers measured numbers into tables, in the order in which they first appear.

    A task gives one table; a task measured by several metrics, on several data sets or on several splits gives one for
    each, because a mean over different things means nothing. Only tasks of transfer stand in one table for all data
    sets, a column each, with their plain average and in how many of them a layer is the best.

    Args:
        results: any number of results; those that share layer and n are repeats.

    Returns:
        The tables. A cell is ``mean ± standard deviation`` (with k - 1), or the value alone where it was measured once.

    Example:
        >>> line = Result("probe", "accuracy", 0.5, 10, 0, "digits", "test", "raw", "shuffle", "", "", "")
        >>> tables([line, line._replace(value=0.7)])[0].rows
        [['raw', '0.600 ± 0.141']]
    """
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        across = result.task.startswith(_ACROSS)
        data, split = ("", "") if across else (result.data, result.split)
        groups.setdefault((result.task, result.metric, data, split), []).append(result)
    return [_across(lines) if task.startswith(_ACROSS) else _table(lines) for (task, *_), lines in groups.items()]


def to_html(table: Table) -> str:
    """Writes a table as an HTML ``<table>``, all text escaped, best cells in ``<strong>``."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    task, colon, rest = table.title.partition(": ")
    body = "\n".join(_html_row(table, row) for row in range(len(table.rows)))
    return (
        f"<table>\n<caption><span><b>{html.escape(task)}</b>{colon}{html.escape(rest)}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def to_markdown(table: Table) -> str:
    """Writes a table as Markdown: the title, a pipe table, best cells in ``**``."""
    lines = [
        [_markdown_cell(text, bold=(row, column) in table.best) for column, text in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    head = [_markdown_cell(name, bold=False) for name in table.columns]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        [_markdown_cell(table.title, bold=False), "", *(f"| {' | '.join(c)} |" for c in [head, rule, *lines])]
    )


def _table(lines: list[Result]) -> Table:
    layers = list(dict.fromkeys(line.layer for line in lines))
    sizes = sorted({line.n for line in lines})
    cells = [[[x.value for x in lines if (x.layer, x.n) == (layer, n)] for n in sizes] for layer in layers]
    rows = [[layer, *map(_cell, row)] for layer, row in zip(layers, cells)]
    lower = lower_is_better(lines[0].metric)
    return Table(_title(lines[0], cells, lower), ["layer", *(f"n = {n:,}" for n in sizes)], rows, _best(cells, lower))


def _across(lines: list[Result]) -> Table:
    """Layers down, data sets across; the average of those that have a number everywhere, and their wins."""
    layers, names = (list(dict.fromkeys(getattr(x, field) for x in lines)) for field in ("layer", "data"))
    cells = [[[x.value for x in lines if (x.layer, x.data) == (layer, name)] for name in names] for layer in layers]
    lower = lower_is_better(lines[0].metric)
    best = _best(cells, lower)
    wins = [sum((row, k + 1) in best for k in range(len(names))) for row in range(len(layers))]
    averages = [[float(np.mean([float(np.mean(c)) for c in row]))] if all(row) else [] for row in cells]
    best |= {(row, len(names) + 1) for row, _ in _best([[average] for average in averages], lower)}
    rows = [
        [layer, *map(_cell, row), _cell(average), str(won)]
        for layer, row, average, won in zip(layers, cells, averages, wins)
    ]
    title = f"{lines[0].task}: {lines[0].metric} {'↓' if lower else '↑'} on {len(names)} data sets"
    return Table(title, ["layer", *names, "average", "wins"], rows, best)


def _title(line: Result, cells: list[list[list[float]]], lower: bool) -> str:
    counts = [len(values) for row in cells for values in row if values]
    few, many = min(counts), max(counts)
    runs = f"{few}–{many}" if few < many else f"{many}"
    repeats = f"mean ± sd of {runs} runs" if many > 1 else "1 run"
    return f"{line.task}: {line.metric} {'↓' if lower else '↑'} on {line.data} ({line.split}), {repeats}"


def lower_is_better(metric: str) -> bool:
    """Whether a metric of that name is an error."""
    return not _LOWER_IS_BETTER.isdisjoint(re.split(r"[^a-z]+", metric.lower()))


def _cell(values: list[float]) -> str:
    if not values:
        return _NOTHING
    mean = float(np.mean(values))
    if len(values) == 1:
        return _number(mean, mean)
    return f"{_number(mean, mean)} ± {_number(float(np.std(values, ddof=1)), mean)}"


def _number(value: float, mean: float) -> str:
    """Three decimals below 10, one above, and powers of ten where three decimals would show zeros alone."""
    if abs(mean) >= 10:
        return f"{value:,.1f}"
    return f"{value:.1e}" if 0 < abs(mean) < 5e-4 else f"{value:.3f}"


def _best(cells: list[list[list[float]]], lower: bool) -> set[tuple[int, int]]:
    best = set()
    for column in range(len(cells[0])):
        means = {row: float(np.mean(cells[row][column])) for row in range(len(cells)) if cells[row][column]}
        means = {row: mean for row, mean in means.items() if not math.isnan(mean)}
        if means:
            winner = (min if lower else max)(means.values())
            best |= {(row, column + 1) for row, mean in means.items() if mean == winner}
    return best


def _html_row(table: Table, row: int) -> str:
    layer, *cells = map(html.escape, table.rows[row])
    bold = [f"<strong>{text}</strong>" if (row, i + 1) in table.best else text for i, text in enumerate(cells)]
    return f'<tr><th scope="row">{layer}</th>{"".join(f"<td>{text}</td>" for text in bold)}</tr>'


def _markdown_cell(text: str, *, bold: bool) -> str:
    text = html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
    return f"**{text}**" if bold else text
