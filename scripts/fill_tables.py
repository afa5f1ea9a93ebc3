"""Writes measured tables into Markdown files, so that no number in them is typed by hand.

A page marks the place:  <!-- table: benchmarks/results/NAME.jsonl -->  …  <!-- end -->
What stands between the two is replaced by the tables of that file, with the command, machine and date of its lines.

Run: python scripts/fill_tables.py README.md docs/reproduce.md
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from unshuffle.report import tables, to_markdown
from unshuffle.types import Result

MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def results(path: Path) -> list[Result]:
    """The result lines of a file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Result(**{k: v for k, v in line.items() if k != "record"}) for line in lines if line["record"] == "result"]


def section(path: Path) -> str:
    """All tables of a file, and how they were measured."""
    found = results(path)
    how = sorted({(r.command, r.machine, r.date) for r in found})
    made = "; ".join(f"`{command}` on {machine}, {date}" for command, machine, date in how)
    return "\n\n".join([*map(to_markdown, tables(found)), f"Measured by {made}; raw lines in `{path}`."]) + "\n\n"


def main(pages: list[str]) -> None:
    """Fills every page."""
    for page in map(Path, pages):
        text = page.read_text()
        page.write_text(MARK.sub(lambda m: m[1] + "\n" + section(Path(m[2])) + m[3], text))


if __name__ == "__main__":
    main(sys.argv[1:])
