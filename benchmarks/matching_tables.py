"""Tables of `matching.py`: lines for the terminal, Markdown for the documentation.

A page marks the place:  <!-- matching: OPERATOR -->  …  <!-- end -->   or  <!-- matching: how -->.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from render import count, table, time, to_json, with_quartiles

Row = dict[str, Any]

__all__ = ["fill", "line", "summary", "to_json"]

MARK = re.compile(r"(<!-- matching: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MEBIBYTE = 2**20


def line(row: Row) -> str:
    """One row on the terminal."""
    first = f"{row['operator']:22} {row['size']:17} {row['law']:14} {row['peer']:24} {count(row['threads']):10}"
    if "ratio" not in row:
        return f"{first} {row['verdict']} {row.get('errors', '')}"
    low, high = row["ratio_quartiles"]
    times = f"{with_quartiles(row['ours_us']):24} {with_quartiles(row['peer_us']):24}"
    ratios = f"{row['ratio']:6.2f} [{low:.2f} {high:.2f}] {_mark(row, 'ratio', 'target'):9}"
    plain = f"PyTorch {row['pytorch_ratio']:.2f} {_mark(row, 'pytorch_ratio', 'without_compiler')}"
    return " ".join([first, times, ratios, plain])


def _mark(row: Row, ratio: str, target: str) -> str:
    if row[target] is None:
        return ""
    return f"of {row[target]:g} {'yes' if row[ratio] >= row[target] else 'NO'}"


def summary(rows: list[Row]) -> str:
    """How many of the wanted ratios were reached, and which were not."""
    aimed = [
        (row, ratio, target)
        for row in rows
        for ratio, target in (("ratio", "target"), ("pytorch_ratio", "without_compiler"))
        if "ratio" in row and row[target] is not None
    ]
    missed = [found for found in aimed if found[0][found[1]] < found[0][found[2]]]
    lines = [f"{len(aimed) - len(missed)} of {len(aimed)} targets reached."]
    for row, ratio, target in missed:
        what = f"{row['operator']} {row['size']} ({row['law']}) beside {row['peer']}, {count(row['threads'])}"
        lines.append(f"  missed: {what}, {ratio}: {row[ratio]:.2f} of {row[target]:g}")
    return "\n".join(lines)


def fill(results: Path, pages: list[Path]) -> None:
    """Writes the tables of a results file into pages, or prints them all."""
    report = json.loads(results.read_text())
    for page in pages:
        page.write_text(filled(report, page.read_text()))
    if not pages:
        for operator in dict.fromkeys(row["operator"] for row in report["rows"]):
            print(f"{operator}\n{_speed(report['rows'], operator)}\n")


def filled(report: Row, text: str) -> str:
    """A page's text with its tables made from the report."""
    return MARK.sub(lambda m: f"{m[1]}\n{_section(report, m[2])}\n\n{m[3]}", text)


def _section(report: Row, name: str) -> str:
    if name == "how":
        return _how(report)
    if name == "memory":
        return _memory(report["rows"])
    return _speed(report["rows"], name)


def _speed(rows: list[Row], operator: str) -> str:
    """Peer's time over ours, in C and in PyTorch, one line a case and a number of threads."""
    head = ["size", "input", "peer", "threads", "ours", "peer / ours", "in PyTorch alone", "wanted"]
    body = [_speed_cells(row) for row in rows if row["operator"] == operator and "ratio" in row]
    return table(head, body)


def _speed_cells(row: Row) -> list[str]:
    wanted = [f"{row[key]:g}" for key in ("target", "without_compiler") if row[key] is not None]
    return [
        _unbroken(row["size"]),
        row["law"],
        row["peer"],
        str(row["threads"]),
        time(row["ours_us"][1]),
        _ratio(row, "ratio", "target"),
        _ratio(row, "pytorch_ratio", "without_compiler"),
        ", ".join(wanted) or "–",
    ]


def _unbroken(text: str) -> str:
    """No line ends at a space of it."""
    return text.replace(" ", "\u00a0")


def _ratio(row: Row, ratio: str, target: str) -> str:
    shown = f"{row[ratio]:.{2 if row[ratio] < 10 else 0}f}"
    return f"**{shown}**" if row[target] is not None and row[ratio] >= row[target] else shown


def _memory(rows: list[Row]) -> str:
    """What a call needs at its peak beside its input, in a fresh process."""
    head = ["size", "the matrix", "input", "ours", "of the matrix", "peer", "peer's"]
    body = []
    for row in rows:
        if "peak_bytes" in row and row["threads"] == 1:
            ours, peer = (row["peak_bytes"][side] for side in ("ours", "peer"))
            share = "–" if ours is None else f"{ours / row['matrix_bytes']:.2f}"
            matrix = _size(row["matrix_bytes"])
            body.append([_unbroken(row["size"]), matrix, row["law"], _size(ours), share, row["peer"], _size(peer)])
    return table(head, body)


def _size(number: int | None) -> str:
    return "–" if number is None else f"{number / MEBIBYTE:,.1f} MiB"


def _how(report: Row) -> str:
    machine = report["machine"]
    made = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    absent = dict.fromkeys(f"{row['peer']}: {row['verdict']}" for row in report["rows"] if "ratio" not in row)
    said = (
        f"Measured by `{report['command']}` on {machine['cpu']}, {machine['cores']} cores, {machine['os']}, "
        f"{report['date']}; Python {machine['python']}, {made}; "
        f"C library {'used' if report['native'] else 'not used'} where not told otherwise."
    )
    if "memory_command" in report:
        said += f" Memory by `{report['memory_command']}`."
    return "\n".join([said, *(f"Not measured: {why}." for why in absent)])
