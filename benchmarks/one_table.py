"""What programs share that measure a few calls and fill one table of a page, between two marks."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from timing import machine, versions

Report = dict[str, Any]


def options(about: str | None, *, seconds: float, threads: bool = True) -> argparse.ArgumentParser:
    """``--seconds``, ``--out``, ``--markdown`` and, where asked for, ``--threads``; a program adds its own."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if threads:
        told = "PyTorch's threads, measured in turn"
        parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help=told)
    parser.add_argument("--seconds", type=float, default=seconds, help="time a case, but at least five rounds")
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="fill a page's table instead")
    return parser


def circumstances(*packages: str) -> Report:
    """What was measured on, with which versions, when, and by which command."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    date = datetime.now(timezone.utc).date().isoformat()
    return {"machine": machine(), "versions": versions("torch", "numpy", *packages), "command": command, "date": date}


def save(report: Report, path: Path | None) -> None:
    """Writes a report, where it has a place."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


def fill(filled: Callable[[Report, str], str], results: Path, page: Path) -> None:
    """Fills the page's table from a saved report."""
    page.write_text(filled(json.loads(results.read_text()), page.read_text()))


def between(text: str, begin: str, end: str, made: str) -> str:
    """The text with what was made between two marks, in place of what stood there."""
    before, _, rest = text.partition(begin)
    assert end in rest, f"the page has no {begin} … {end}"
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def measured_by(report: Report, *packages: str) -> str:
    """A sentence: by which command, on what, and when."""
    made = ", ".join(f"{name} {report['versions'][name].split('+')[0]}" for name in ("torch", *packages))
    return f"Measured by `{report['command']}` on {report['machine']['cpu']}, {made}, {report['date']}."
