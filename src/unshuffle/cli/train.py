"""``unshuffle train RECIPE --data FOLDER --out RUN`` and ``unshuffle train --resume RUN``."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from unshuffle import recipes
from unshuffle.cli.parsing import parse
from unshuffle.data.samples import Packaged
from unshuffle.train.machine import Machine


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``unshuffle train RECIPE``."""

    recipe: Annotated[recipes.AnyRecipe, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    data: Path | None = None
    """Folder with the images; sub-folders are optional labels. Recipes with data of their own need none."""
    out: Path | None = None
    """Folder of the run; by default the next free one below runs/."""


USAGE = """Usage: unshuffle train RECIPE --data FOLDER [--out RUN] [OPTIONS]
       unshuffle train --resume RUN
       unshuffle train RECIPE --help

Trains a recipe and writes the run's folder: recipe, metrics, checkpoints, encoder, report.
Recipes: {known}
"""


def run(arguments: list[str]) -> int:
    """The command."""
    known = ", ".join(recipes.ALL)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(known=known))
        return 0 if arguments else 2
    name, *rest = arguments
    if name.startswith("--resume"):
        return _resume(name, rest)
    if name not in recipes.ALL:
        print(f"unshuffle train: no recipe {name!r}. Known: {known}.", file=sys.stderr)
        return 2
    return _train(name, rest)


def _train(name: str, arguments: list[str]) -> int:
    function = recipes.ALL[name]
    default = TrainOptions(function(), Machine())
    text = inspect.getdoc(function) or ""
    options = parse(TrainOptions, command=f"train {name}", arguments=arguments, description=text, default=default)
    if options.data is None and not isinstance(options.recipe.source, Packaged):
        print(f"unshuffle train {name}: needs --data FOLDER, the folder that holds your images.", file=sys.stderr)
        return 2
    data = None if options.data is None else str(options.data.absolute())
    _fit(options.recipe, options.machine, data, options.out, title=name, resume=False)
    return 0


def _resume(flag: str, rest: list[str]) -> int:
    _, equals, value = flag.partition("=")
    if equals:
        rest = [value, *rest]
    if len(rest) != 1 or flag.partition("=")[0] != "--resume":
        print("unshuffle train: --resume takes one run's folder and nothing else.", file=sys.stderr)
        return 2
    from unshuffle.train import folder

    stored = folder.read(rest[0])
    if isinstance(stored.recipe, str) or (stored.data is None and not isinstance(stored.recipe.source, Packaged)):
        again = f"unshuffle.fit(recipe, dataset, out={rest[0]!r}, resume=True)"
        print(f"unshuffle train: {rest[0]} was started from Python; go on with it there: {again}", file=sys.stderr)
        return 1
    _fit(stored.recipe, stored.machine, stored.data, Path(rest[0]), title="", resume=True)
    return 0


def _fit(
    recipe: recipes.AnyRecipe, machine: Machine, data: str | None, out: Path | None, *, title: str, resume: bool
) -> None:
    from unshuffle.report import write_report
    from unshuffle.train.engine import train

    dataset = recipe.source.open() if isinstance(recipe.source, Packaged) else recipe.source.open(str(data))
    run = train(recipe, dataset, out=out, machine=machine, resume=resume, data=data, title=title)
    if run.leader:
        page = write_report(run.folder)
        print(f"Encoder and metrics in {run.folder}; page: {page}")
        print(f"Next: unshuffle eval {run.folder} --data FOLDER_WITH_LABELS")
