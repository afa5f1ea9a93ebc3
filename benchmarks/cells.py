"""Long measurements in cells, so that a program can be stopped at any moment and goes on where it was.

A cell is one training with its evaluation. Its lines are appended to the results in one piece when it has finished; a
cell of which there are lines is not measured again.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

Line = dict[str, Any]


class Cell(NamedTuple):
    """A name such as ``notes/soft/0``, and what measures it: no arguments, lines for the results."""

    name: str
    measure: Callable[[], list[Line]]


def read(path: Path) -> list[Line]:
    """All lines of a results file, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(cells: Iterable[Cell], out: Path) -> None:
    """Measures the cells that ``out`` does not hold, one after the other."""
    for cell in cells:
        if any(line["cell"] == cell.name for line in read(out)):  # read again: another process may have measured it
            continue
        print(f"{cell.name} …", flush=True)
        began = time.monotonic(), time.process_time()
        lines = cell.measure()
        wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
        lines = [*lines, {"record": "cost", "wall_seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)}]
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write("".join(json.dumps({"cell": cell.name, **line}, ensure_ascii=False) + "\n" for line in lines))
        print(f"{cell.name}: {wall:.0f} s", flush=True)


def chosen(cells: Iterable[Cell], patterns: list[str]) -> list[Cell]:
    """The cells whose names fit one of the patterns, such as ``notes/*``; all without any."""
    return [cell for cell in cells if not patterns or any(fnmatch.fnmatch(cell.name, p) for p in patterns)]


def run(every: Iterable[Cell], parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Lists or measures, as the options of :func:`options` say."""
    wanted = chosen(every, given.cells)
    if given.list:
        done = {line["cell"] for line in read(given.out)}
        print("\n".join(f"{'done' if cell.name in done else '    '} {cell.name}" for cell in wanted))
        return
    if given.data is None:
        parser.error("--data must name the folder of the data sets")
    if getattr(given, "device", "cpu") == "cpu":
        torch.set_num_threads(1)
    measure(wanted, given.out)


def options(parser: argparse.ArgumentParser, results: Path) -> None:
    """The options that all programs of cells share."""
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=results, help="results, one JSON line each; finished cells stay")
    parser.add_argument("--cells", nargs="*", default=[], metavar="PATTERN", help="such as 'notes/*'; all without any")
    parser.add_argument("--list", action="store_true", help="name the cells and whether they are finished")
    parser.add_argument("--markdown", nargs="*", type=Path, metavar="PAGE", help="write the tables into pages")
