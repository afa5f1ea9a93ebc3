"""Tables of a page that are made from the lines of cells, between marks; what all programs of cells share of them.

A page marks the place of a table:  <!-- PROGRAM: NAME -->  …  <!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from cells import Line, read

NOT_RUN, NONE = "not run", "–"


class Tables:
    """The tables of a program, by their names, and where they stand."""

    def __init__(self, program: str, sections: Mapping[str, Callable[[list[Line]], str]]) -> None:
        self.sections = sections
        self.mark = re.compile(rf"(<!-- {program}: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

    def fill(self, results: Path, pages: Sequence[Path]) -> None:
        """Writes the tables of a results file into pages, or prints them all."""
        lines = read(results)
        for page in pages:
            page.write_text(self.filled(lines, page.read_text()))
        if not pages:
            print("\n".join(f"{name}\n\n{make(lines)}\n" for name, make in self.sections.items()))

    def filled(self, lines: list[Line], text: str) -> str:
        """A page's text with its tables made from the results."""
        return self.mark.sub(lambda m: f"{m[1]}\n{self.sections[m[2]](lines)}\n\n{m[3]}", text)


def spread(values: Sequence[float]) -> str:
    """Mean ± deviation in per cent, or that there are none."""
    if not values:
        return NOT_RUN
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{deviation}"


def beside(ours: str, paper: float | None) -> str:
    """A number with the paper's in brackets, where it has one."""
    return ours if paper is None else f"{ours} ({paper:.1f})"
