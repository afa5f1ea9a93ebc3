"""``unshuffle demo``: the whole way on real data, in three minutes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from unshuffle.cli.parsing import parse


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``unshuffle demo``."""

    full: bool = False
    """All five losses with several seeds and draws of the labels: the README's table, about half an hour."""
    out: Path | None = None
    """Folder of the demo; by default the next free runs/demo-N. A stopped demo goes on when given its folder."""
    seeds: int = 3
    """Trainings of each loss, with --full."""
    effort: float = 1.0
    """Share of the usual training; 0.05 is a rehearsal."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Pretrains on data that come with the package; prints the table, writes the page."
    options = parse(DemoOptions, command="demo", arguments=arguments, description=text)
    began = time.monotonic()
    console = Console(stderr=True)
    with console.status("starting …"):
        from unshuffle.cli.tables import show
        from unshuffle.recipes.demo import run_demo
        from unshuffle.report import tables, write_report
        from unshuffle.train.progress import Terminal

    place = options.out or _next_folder()
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"The demo's folder is {place}.", highlight=False)
    about = {"title": "unshuffle demo", "summary": SUMMARY}
    (place / "recipe.json").write_text(json.dumps(about, indent=2))
    try:
        results = run_demo(
            place, full=options.full, effort=options.effort, seeds=options.seeds, reporter=Terminal(console)
        )
    except KeyboardInterrupt as stop:
        full = " --full" if options.full else ""
        raise KeyboardInterrupt(f"the demo was stopped; go on with: unshuffle demo{full} --out {place}") from stop
    page = write_report(place)
    show(tables(results))
    seconds = time.monotonic() - began
    Console().print(f"page: {page}  ({seconds / 60:.1f} minutes in all)", highlight=False, markup=False)
    return 0


SUMMARY = (
    "Act 1 learns to read digits from the order of sets of five, without a single label. Act 2 cuts the spectrograms "
    "of instrument notes into ten frequency bands, shuffles them by permutations drawn from all 10!, and learns to put "
    "them back in order. The encoders are then frozen and compared, on held-out samples, with the raw input and with "
    "the same network untrained (its batch-norm statistics set on the unlabelled data)."
)


def _next_folder() -> Path:
    number = 1
    while (place := Path("runs") / f"demo-{number}").exists():
        number += 1
    return place
