"""Tables of the operators' results: lines for the terminal, Markdown for the documentation.

A page marks the place:  <!-- ops: speed -->  …  <!-- end -->   with one of speed, crossover, accuracy, how.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Report = dict[str, Any]

MARK = re.compile(r"(<!-- ops: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WIDTHS = (14, 14, 13, 7, 4, 22, 22, 20, 7)
_HEAD = ("operator", "peer", "batch x n", "law", "eps", "ours", "peer", "peer / ours", "target")
_LARGE = 1000  # items from which single precision is worth a table


# --------------------------------------------------------------------------------------------------------- terminal


def heading(threads: int) -> str:
    """The head of one table on the terminal."""
    return f"{threads} thread{'s' if threads > 1 else ''}: median [quartiles], forward and backward\n" + _aligned(_HEAD)


def line(row: Row) -> str:
    """One row on the terminal."""
    size = f"{row['batch']} x {row['n']}"
    first = (row["operator"], row["peer"], size, row["law"], f"{row['strength']:g}")
    if "ratio" not in row:
        return _aligned((*first, row["note"] or row["verdict"]))
    low, high = row["ratio_quartiles"]
    times = (
        with_quartiles(row["ours_us"]),
        with_quartiles(row["peer_us"]),
        f"{row['ratio']:.2f} [{low:.2f} {high:.2f}]",
    )
    forward = "" if row["timed"] != "forward" else "  forward only: the peer's gradients are off"
    return _aligned((*first, *times, _target(row))) + forward


def summary(report: Report) -> str:
    """What a reader wants to know at the end."""
    aimed = [row for row in report["rows"] if "reached" in row]
    lines = [f"{sum(row['reached'] for row in aimed)} of {len(aimed)} targets reached."]
    for row in aimed:
        if not row["reached"]:
            what = f"{row['operator']} {row['batch']} x {row['n']} ({row['law']}) beside {row['peer']}"
            lines.append(f"  missed: {what}, {row['threads']} thread(s): {row['ratio']:.2f} of {row['target']}")
    lines += [f"Absent: {peer}: {why}" for peer, why in report["absent"].items()]
    lines += [
        f"Exact ranks cost more than ten draws from n = {found['n'] or 'beyond the sweep'} "
        f"(sigma {found['sigma']:g}, {found['threads']} thread(s))"
        for found in report["crossover"]
    ]
    return "\n".join(lines)


def _aligned(cells: Iterable[str]) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS)).rstrip()


def with_quartiles(times: list[float]) -> str:
    """The median in microseconds, in a unit that suits it, between the quartiles."""
    low, middle, high = times
    unit, scale = _unit(middle)
    return f"{middle / scale:.3g} [{low / scale:.3g} {high / scale:.3g}] {unit}"


def _unit(microseconds: float) -> tuple[str, float]:
    return ("us", 1.0) if microseconds < 1e3 else ("ms", 1e3) if microseconds < 1e6 else ("s", 1e6)


def _target(row: Row) -> str:
    if row["target"] is None:
        return ""
    return f"{row['target']:g} {'yes' if row['reached'] else 'NO'}"


# --------------------------------------------------------------------------------------------------------- Markdown


def fill(results: Path, pages: list[Path]) -> None:
    """Writes the tables of a results file into pages, or prints them all."""
    report = json.loads(results.read_text())
    sections = {name: f"\n{make(report)}\n\n" for name, make in _SECTIONS.items()}
    for page in pages:
        text = page.read_text()
        page.write_text(MARK.sub(lambda m: m[1] + sections[m[2]] + m[3], text))
    if not pages:
        print("\n".join(f"<!-- ops: {name} -->\n{text}<!-- end -->" for name, text in sections.items()))


def _speed(report: Report) -> str:
    """Peer time over ours, one column a number of threads."""
    threads = sorted({row["threads"] for row in report["rows"]})
    head = ["operator", "batch × n", "input", "peer", *(f"{count(t)}: ours" for t in threads)]
    head += [*(f"{count(t)}: peer / ours" for t in threads), "target"]
    return table(head, [_speed_cells(group, threads) for group in _by_case(report["rows"], sweep=False)])


def _speed_cells(group: dict[int, Row], threads: list[int]) -> list[str]:
    row = next(iter(group.values()))
    option = f"σ = {row['strength']:g}" if row["peer"] == "monte-carlo" else row["law"]
    peer = {"monte-carlo": "10 draws"}.get(row["peer"], row["peer"])
    cells = [f"`{row['operator']}`", f"{row['batch']} × {row['n']}", option, peer]
    timed = [group[t] if "ratio" in group.get(t, {}) else None for t in threads]
    cells += [time(found["ours_us"][1]) if found else "–" for found in timed]
    cells += [_ratio(found) if found else "another function" for found in timed]
    return [*cells, f"{row['target']:g}" if row["target"] is not None else "–"]


def _ratio(row: Row) -> str:
    forward = " (forward)" if row["timed"] == "forward" else ""
    ratio = f"{row['ratio']:.{2 if row['ratio'] < 10 else 0}f}"
    return f"**{ratio}**{forward}" if row.get("reached") else f"{ratio}{forward}"


def _crossover(report: Report) -> str:
    """The sweep: how exact expected ranks compare with ten draws as n grows."""
    rows = [row for row in report["rows"] if row["operator"] == "crossover" and "ratio" in row]
    columns = sorted({(row["strength"], row["threads"]) for row in rows})
    head = ["n (batch)", *(f"σ = {sigma:g}, {count(threads)}" for sigma, threads in columns)]
    ratio = {(row["n"], (row["strength"], row["threads"])): row["ratio"] for row in rows}
    sizes = dict.fromkeys((row["n"], row["batch"]) for row in rows)
    body = [[f"{n} ({batch})", *(f"{ratio[n, c]:.2f}" for c in columns)] for n, batch in sizes]
    meets = {(found["sigma"], found["threads"]): found["n"] for found in report["crossover"]}
    smallest = min((n for n, _ in sizes), default=0)
    last = ["**even at n ≈**", *(_meeting(meets.get(c), smallest) for c in columns)]
    return table(head, [*body, last])


def _meeting(n: int | None, smallest: int) -> str:
    if n is None:
        return "beyond"
    return f"**{n}**" if n > smallest else f"below {smallest}"


def _accuracy(report: Report) -> str:
    """Errors of the float32 answers at large n."""
    head = ["operator", "batch × n", "input", "peer", "ours: value", "ours: gradient", "peer: value", "peer: gradient"]
    body = []
    for group in _by_case(report["rows"], sweep=False):
        row = next(iter(group.values()))
        if row["n"] >= _LARGE and "peer_float32" in row.get("errors", {}) and not row["note"]:
            errors = [_error(e) for e in (*row["errors"]["ours_float32"], *row["errors"]["peer_float32"])]
            size = f"{row['batch']} × {row['n']}"
            body.append([f"`{row['operator']}`", size, row["law"], row["peer"], *errors])
    return table(head, body)


def _error(relative: float | None) -> str:
    return "not finite" if relative is None else f"{relative:.0e}"


def _how(report: Report) -> str:
    """Command, machine, versions, and who was not there."""
    machine, versions = report["machine"], report["versions"]
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        f"Measured by `{report['command']}` on {machine['cpu']}, {machine['cores']} cores, {machine['os']}, "
        f"{report['date']}; Python {machine['python']}, {made}; "
        f"C library {'used' if report['native'] else 'not used'}."
    ]
    parts += [f"Absent: {peer} ({why})." for peer, why in report["absent"].items()]
    notes = dict.fromkeys((row["operator"], row["peer"], row["note"]) for row in report["rows"] if row["note"])
    parts += [f"`{operator}` beside {peer}: {note}." for operator, peer, note in notes]
    return "\n".join(parts)


_SECTIONS = {"speed": _speed, "crossover": _crossover, "accuracy": _accuracy, "how": _how}


def _by_case(rows: list[Row], *, sweep: bool) -> list[dict[int, Row]]:
    """Rows of the same case together, by threads."""
    groups: dict[tuple, dict[int, Row]] = {}
    for row in rows:
        if (row["operator"] == "crossover") == sweep:
            key = tuple(row[k] for k in ("operator", "peer", "batch", "n", "strength", "law"))
            groups.setdefault(key, {})[row["threads"]] = row
    return list(groups.values())


def table(head: list[str], body: list[list[str]]) -> str:
    """A table in Markdown."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *body])


def count(threads: int) -> str:
    """How many threads, in words."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def time(microseconds: float) -> str:
    """A duration, in a unit that suits it."""
    unit, scale = _unit(microseconds)
    return f"{microseconds / scale:.3g} {unit.replace('us', 'µs')}"


# ------------------------------------------------------------------------------------------------------------- JSON


def to_json(report: Report) -> str:
    """The results, one row a line, numbers to four digits."""
    top = {key: value for key, value in report.items() if key != "rows"}
    rows = ",\n".join("  " + json.dumps(_rounded(row), ensure_ascii=False) for row in report["rows"])
    return json.dumps(top, indent=1, ensure_ascii=False)[:-2] + ',\n "rows": [\n' + rows + "\n ]\n}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None  # JSON knows no other numbers
