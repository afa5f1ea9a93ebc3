"""Result tables in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from unshuffle.cli.tables import show
from unshuffle.report.tables import Table


def test_names_are_shown_as_they_are_whatever_brackets_they_hold():
    out = io.StringIO()
    table = Table("class on photos [old]", ["layer", "n = 10"], [["raw [bold]", "0.5"], ["mine", "0.7"]], {(1, 1)})

    show([table], Console(file=out, width=80))

    text = out.getvalue()
    assert all(word in text for word in ("photos [old]", "raw [bold]", "n = 10", "0.5", "0.7"))
