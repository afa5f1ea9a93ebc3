"""``unshuffle demo``: the whole way on real data, in three minutes."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console

from unshuffle._ranges import Few, Range, ranged
from unshuffle.cli.parsing import parse


@ranged
@dataclass(frozen=True)
class DemoOptions:
    """Options of ``unshuffle demo``."""

    full: bool = False
    """All five losses with several seeds and draws of the labels: the README's table, about half an hour."""
    out: Path | None = None
    """Folder of the demo; by default the next free runs/demo-N. A stopped demo goes on when given its folder."""
    seeds: Few = 3
    """Trainings of each loss, with --full."""
    effort: Annotated[float, Range(0, 1000, open_low=True)] = 1.0
    """Share of the usual training; 0.05 is a rehearsal."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Pretrains on data that come with the package; prints the table, writes the page."
    options = parse(DemoOptions, command="demo", arguments=arguments, description=text)
    place = options.out or _next_folder()
    try:
        _show(options, place)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"the demo was stopped; go on with: {_command(options, place)}") from stop
    return 0


def _show(options: DemoOptions, place: Path) -> None:
    """Runs the demo; prints its tables, writes its page."""
    began = time.monotonic()
    console = Console(stderr=True)
    with console.status("starting …"):
        from unshuffle.cli.tables import show
        from unshuffle.recipes.demo import Demo, run_demo
        from unshuffle.report import tables, write_report
        from unshuffle.train.progress import Terminal

    demo = Demo(full=options.full, effort=options.effort, seeds=options.seeds)
    console.print(f"The demo's folder is {place}.", highlight=False, markup=False)
    results = run_demo(place, demo, reporter=Terminal(console))
    page = write_report(place)
    show(tables(results))
    minutes = (time.monotonic() - began) / 60
    Console().print(f"page: {page}  ({minutes:.1f} minutes in all)", highlight=False, markup=False, soft_wrap=True)


def _command(options: DemoOptions, place: Path) -> str:
    """What goes on with this demo."""
    words = ["unshuffle", "demo", *["--full"] * options.full]
    for name in ("seeds", "effort"):
        if getattr(options, name) != getattr(DemoOptions, name):
            words += [f"--{name}", str(getattr(options, name))]
    return shlex.join([*words, "--out", str(place)])


def _next_folder() -> Path:
    number = 1
    while (place := Path("runs") / f"demo-{number}").exists():
        number += 1
    return place
