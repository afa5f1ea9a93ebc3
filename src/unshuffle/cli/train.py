"""``unshuffle train RECIPE --data FOLDER --out RUN`` and ``unshuffle train --resume RUN``."""

from __future__ import annotations

import inspect
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from unshuffle import recipes
from unshuffle._interrupts import is_first
from unshuffle._ranges import Few, MaybeCount, MaybeFew, Range, ranged
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


@ranged
@dataclass(frozen=True)
class ResumeOptions:
    """Options of ``unshuffle train --resume``; what is not given stays as the run began."""

    resume: Path
    """Folder of the run."""
    data: Path | None = None
    """Where the samples are now, if they were moved: a folder or an archive with the same names and sizes."""
    workers: MaybeFew | None = None
    """Processes that read samples; their number changes nothing in the result."""
    device: str | None = None
    """auto, cpu, cuda, mps."""
    devices: Few | None = None
    """Devices (processes) on each machine."""
    nodes: Few | None = None
    """Machines that train together."""
    timeout: Annotated[float, Range(0, 1_000_000, open_low=True)] | None = None
    """Several processes: minutes for which the others wait for one that does not move, or does not start."""
    save_every: Annotated[float, Range(0, 1_000_000_000)] | None = None
    """Seconds between resumable checkpoints; 0 saves after every step."""
    max_unreadable: MaybeCount | None = None
    """Samples that may be unreadable and are skipped; one more stops the job."""
    allow_different_machine: bool = False
    """Go on although threads, processes, device, precision, PyTorch or the processor's instruction set are others than
    the checkpoint's: the run then ends with slightly other weights than one that was never stopped."""

    def machine(self, stored: Machine) -> Machine:
        """The run's machine with the flags given."""
        names = ("workers", "device", "devices", "nodes", "timeout", "save_every", "max_unreadable")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(stored, **given)

    def again(self) -> str:
        """The flags that another call needs to go on in the same way."""
        names = ("data", "workers", "device", "devices", "nodes", "timeout", "save_every", "max_unreadable")
        given = [(f"--{name.replace('_', '-')}", getattr(self, name)) for name in names]
        return "".join(f" {flag} {shlex.quote(str(value))}" for flag, value in given if value is not None)


USAGE = """Usage: unshuffle train RECIPE --data FOLDER [--out RUN] [OPTIONS]
       unshuffle train --resume RUN [OPTIONS]
       unshuffle train RECIPE --help        unshuffle train --resume --help

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
    if name.startswith("-") and any(argument.partition("=")[0] == "--resume" for argument in arguments):
        return _resume(arguments)
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
    if told and is_first():
        print("Chosen from the data:", *told, sep="\n  ")
    return settled


def _resume(arguments: list[str]) -> int:
    options = parse(
        ResumeOptions, command="train", arguments=arguments,
        description="Goes on with a run from its last checkpoint; it ends bit for bit like one that never stopped.",
    )  # fmt: skip
    from unshuffle.train import folder

    run = options.resume
    stored = folder.read(run)
    own = not isinstance(stored.recipe, str) and isinstance(stored.recipe.source, SELF_CONTAINED)
    if isinstance(stored.recipe, str) or (stored.data is None and not own):
        again = f"unshuffle.fit(recipe, dataset, out={str(run)!r}, resume=True)"
        print(f"unshuffle train: {run} was started from Python; go on with it there: {again}", file=sys.stderr)
        return 1
    if own and options.data is not None:
        raise ValueError(f"--data: {run} makes its samples itself; leave the flag out.")
    data = stored.data if options.data is None else str(options.data.absolute())
    _fit(
        stored.recipe, options.machine(stored.machine), data, run, title="", resume=True, again=options.again(),
        allow_different_machine=options.allow_different_machine,
    )  # fmt: skip
    return 0


def _next(run: Trained, data: str | None) -> str:
    """The command that says what the run is worth."""
    from unshuffle.methods import Arranger

    if not isinstance(run.encoder.net, Arranger):
        return f"unshuffle eval {run.folder} --data FOLDER_WITH_LABELS"
    return f"unshuffle eval {run.folder}" + ("" if data is None else f" --data {data}")


def _fit(
    recipe: recipes.AnyRecipe, machine: Machine, data: str | None, out: Path | None, *, title: str, resume: bool,
    again: str = "", allow_different_machine: bool = False,
) -> None:  # fmt: skip
    from unshuffle.report import write_report
    from unshuffle.train.engine import train

    dataset = recipe.source.open() if isinstance(recipe.source, SELF_CONTAINED) else recipe.source.open(str(data))
    if is_first():
        say_messages(dataset)
    run = train(
        recipe, dataset, out=out, machine=machine, resume=resume, allow_different_machine=allow_different_machine,
        data=data, title=title, again=again,
    )  # fmt: skip
    if run.leader:
        try:
            page = write_report(run.folder)
        except KeyboardInterrupt as stop:
            page = f"unshuffle report {shlex.quote(str(run.folder))}"
            raise KeyboardInterrupt(f"stopped before its page; the run is whole. Write the page with: {page}") from stop
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
