"""``unshuffle report RUN``: writes the run's page again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from unshuffle.cli.parsing import parse


@dataclass(frozen=True)
class ReportOptions:
    """Options of ``unshuffle report``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Writes report.html into a run's folder: tables, learning curves and pictures in one file."
    options = parse(ReportOptions, command="report", arguments=arguments, description=text)
    from unshuffle.report import write_report

    print(f"page: {write_report(options.run)}")
    return 0
