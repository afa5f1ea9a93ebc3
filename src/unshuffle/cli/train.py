"""``unshuffle train RECIPE --data FOLDER --out RUN`` and ``unshuffle train --resume RUN``."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from unshuffle import recipes
from unshuffle.cli.parsing import parse
from unshuffle.cli.where import Where, say_messages
from unshuffle.data import SELF_CONTAINED
from unshuffle.data.named import labelled
from unshuffle.train.machine import Machine

if TYPE_CHECKING:
    from unshuffle.train.engine import Trained


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``unshuffle train RECIPE``."""

    recipe: Annotated[recipes.AnyRecipe, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    where: Annotated[Where, tyro.conf.arg(name="")]
    data: Path | None = None
    """Folder, .zip, .tar or folder of .tar with the samples. Recipes with data of their own need none."""
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
    default = TrainOptions(function(), Machine(), Where())
    text = inspect.getdoc(function) or ""
    options = parse(TrainOptions, command=f"train {name}", arguments=arguments, description=text, default=default)
    source = options.recipe.source
    if options.data is None and not isinstance(source, SELF_CONTAINED):
        kind = f"the folder that holds your {source.noun}s"
        print(f"unshuffle train {name}: needs --data FOLDER, {kind}.", file=sys.stderr)
        return 2
    data = None if options.data is None else str(options.data.absolute())
    recipe = _laid_out(options.recipe, options.where)
    recipe = recipe if data is None else _settled(recipe, data)
    _fit(recipe, options.machine, data, options.out, title=name, resume=False)
    return 0


def _laid_out(recipe: recipes.AnyRecipe, where: Where) -> recipes.AnyRecipe:
    """The recipe with a source that reads the data set, or the table of labels, that was asked for."""
    layout = where.layout(ordered=isinstance(recipe, recipes.Ordering))
    return recipe if layout is None else replace(recipe, source=labelled(recipe.source, layout))


def _settled(recipe: recipes.AnyRecipe, data: str) -> recipes.AnyRecipe:
    """The recipe with what it leaves open chosen from the data; the choices are printed, by one process."""
    settled, told = recipe.settle(data)
    if told and _is_first():
        print("Chosen from the data:", *told, sep="\n  ")
    return settled


def _is_first() -> bool:
    """Whether this is the first process of the run, before they know each other: whoever starts them numbers them."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _resume(flag: str, rest: list[str]) -> int:
    _, equals, value = flag.partition("=")
    if equals:
        rest = [value, *rest]
    if len(rest) != 1 or flag.partition("=")[0] != "--resume":
        print("unshuffle train: --resume takes one run's folder and nothing else.", file=sys.stderr)
        return 2
    from unshuffle.train import folder

    stored = folder.read(rest[0])
    if isinstance(stored.recipe, str) or (stored.data is None and not isinstance(stored.recipe.source, SELF_CONTAINED)):
        again = f"unshuffle.fit(recipe, dataset, out={rest[0]!r}, resume=True)"
        print(f"unshuffle train: {rest[0]} was started from Python; go on with it there: {again}", file=sys.stderr)
        return 1
    _fit(stored.recipe, stored.machine, stored.data, Path(rest[0]), title="", resume=True)
    return 0


def _next(run: Trained, data: str | None) -> str:
    """The command that says what the run is worth."""
    from unshuffle.methods import Arranger

    if not isinstance(run.encoder.net, Arranger):
        return f"unshuffle eval {run.folder} --data FOLDER_WITH_LABELS"
    return f"unshuffle eval {run.folder}" + ("" if data is None else f" --data {data}")


def _fit(
    recipe: recipes.AnyRecipe, machine: Machine, data: str | None, out: Path | None, *, title: str, resume: bool
) -> None:
    from unshuffle.report import write_report
    from unshuffle.train.engine import train

    dataset = recipe.source.open() if isinstance(recipe.source, SELF_CONTAINED) else recipe.source.open(str(data))
    if _is_first():
        say_messages(dataset)
    run = train(recipe, dataset, out=out, machine=machine, resume=resume, data=data, title=title)
    if run.leader:
        page = write_report(run.folder)
        print(f"Encoder and metrics in {run.folder}; page: {page}")
        print(f"Next: {_next(run, data)}")
        if isinstance(recipe, recipes.Ordering):
            print(f"  or: unshuffle order {run.folder} FOLDER")
        if isinstance(recipe, recipes.SelfLabelRecipe):
            if data is not None:
                print(f"  or: unshuffle eval {run.folder} --data {data} --suite clustering")
            print(f"  or: unshuffle labels {run.folder} --out labels.parquet")
        if isinstance(recipe, recipes.ViewsRecipe) and data is not None:
            print(f"  or: unshuffle search {run.folder} PICTURE --index {data}")
