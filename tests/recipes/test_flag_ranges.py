"""Every number that is a flag has a declared range, and what is out of range is refused by the flag's name.

The flags are those that each command's own ``--help`` prints, of every recipe; the values are the same for all.
"""

import contextlib
import dataclasses
import importlib
import json
import math
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import pytest

import unshuffle
from unshuffle import _ranges, recipes, values
from unshuffle._ranges import Range, Size, ranged
from unshuffle.cli.flags import members
from unshuffle.cli.parsing import parse
from unshuffle.cli.train import Machine, TrainOptions, Where

COMMANDS = {
    "demo": ("DemoOptions", []),
    "embed": ("EmbedOptions", ["run", "--data", "x"]),
    "eval": ("EvalOptions", ["run"]),
    "labels": ("LabelsOptions", ["run"]),
    "search": ("SearchOptions", ["run", "query", "--index", "x"]),
    "solve": ("SolveOptions", ["run", "puzzle"]),
    "order": ("OrderOptions", ["run", "x"]),
    "report": ("ReportOptions", ["run"]),
}
ZERO_IS_REFUSED = re.compile(r"\.lr$|epochs$|batch-size$|temperature$|hidden$|iterations$|\.(rows|columns)$|size$")
ZERO_MEANS_SOMETHING = {"--optim.lr"}  # a network that stays as it began, of Adam and AdamW


class Call:
    """A command's options and what else it must be given."""

    def __init__(self, name, kind, given, default=None):
        self.name, self.kind, self.given, self.default = name, kind, given, default

    def flags(self, capsys) -> dict[str, str]:
        """The numeric flags with the metavar that help prints for each."""
        with pytest.raises(SystemExit):
            self(["--help"])
        text = re.sub(r"[│╭╮╰╯─]", "", capsys.readouterr().out)
        found = re.findall(r"^ *(--[\w.-]+) (\S[^\n]*)$", text, re.MULTILINE)
        return {flag: meta for flag, meta in found if re.search(r"\b(INT|FLOAT|FACTOR)\b", meta)}

    def __call__(self, arguments):
        return parse(
            self.kind, command=self.name, arguments=[*self.given, *arguments], description="", default=self.default
        )

    def refused(self, flags, value, capsys) -> str:
        """What is said where all these flags have this value; nothing where they are accepted."""
        words = [word for flag, meta in flags.items() for word in (flag, *[value] * places(meta))]
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            self(words)
        return " ".join(re.sub(r"[│╭╮╰╯─]", "", capsys.readouterr().err).split())


def places(meta: str) -> int:
    """How many numbers a flag takes: as many as its metavar has outside brackets."""
    return max(1, len(re.findall(r"INT|FLOAT|FACTOR", meta.partition("[")[0])))


@cache
def trained() -> dict[str, Call]:
    """One recipe for each set of flags: what differs in defaults alone has the same flags."""
    found: dict[tuple, tuple[str, TrainOptions]] = {}
    for name, recipe in recipes.ALL.items():
        options = TrainOptions(recipe(), Machine(), Where())
        kinds = tuple((type(part.value), part.prefix) for part in members(options))
        found.setdefault(kinds, (name, options))
    return {name: Call(f"train {name}", TrainOptions, [], options) for name, options in found.values()}


def commands() -> dict[str, Call]:
    made = {}
    for name, (kind, given) in COMMANDS.items():
        made[name] = Call(name, getattr(importlib.import_module(f"unshuffle.cli.{name}"), kind), given)
    return made


@cache
def every_class() -> tuple[type, ...]:
    """All registered values of the package and the options of all commands."""
    for module in pkgutil.walk_packages(unshuffle.__path__, "unshuffle."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    registered = [cls for cls in values._REGISTRY.values() if cls.__module__.startswith("unshuffle.")]
    options = [
        cls
        for name, module in list(sys.modules.items())
        if name.startswith("unshuffle.cli.")
        for cls in vars(module).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == name
    ]
    return tuple(registered + options)


def test_every_number_of_a_value_or_an_option_declares_its_range():
    bare = {cls.__name__: names for cls in every_class() if (names := _ranges.undeclared(cls))}
    assert not bare
    assert len(every_class()) > 100


def test_every_class_that_declares_ranges_checks_them():
    unchecked = [
        cls.__name__
        for cls in every_class()
        if _ranges._declared(cls) and not any(hasattr(getattr(cls, n, None), "__wrapped__") for n in CHECKED_IN)
    ]
    assert not unchecked


CHECKED_IN = ("__init__", "__post_init__")


@pytest.mark.parametrize("name", [*COMMANDS, *trained()])
def test_numbers_out_of_range_are_refused_by_the_flags_name(name, capsys):
    call = commands()[name] if name in COMMANDS else trained()[name]
    flags = call.flags(capsys)
    assert name in COMMANDS or {"--optim.lr", "--epochs", "--holdout", "--workers", "--save-every"} <= set(flags)
    whole = {flag: meta for flag, meta in flags.items() if "INT" in meta}
    real = {flag: meta for flag, meta in flags.items() if flag not in whole}
    for value in ("nan", "inf", "1e30", "1000000000000"):
        told = call.refused(real, value, capsys) if real else ""
        assert [flag for flag in real if f"{flag} must " not in told] == [
            flag for flag in real if value == "inf" and flag == "--loss.margin"
        ]
    for value in ("-1", "1000000000000"):
        told = call.refused(whole, value, capsys) if whole else ""
        accepted = [flag for flag in whole if f"{flag} must " not in told]
        assert [flag for flag in accepted if value == "-1" or not flag.endswith("seed")] == []
    zero = {flag: meta for flag, meta in flags.items() if ZERO_IS_REFUSED.search(flag)}
    if zero:
        told = call.refused(zero, "0", capsys)
        assert {flag for flag in zero if f"{flag} must " not in told} <= ZERO_MEANS_SOMETHING


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag in ("--epochs", "--patches.rows") for value in ("1.5", "x", "nan", "")]
)
def test_a_whole_number_that_is_none_is_refused_by_the_flags_name(flag, value, capsys):
    told = trained()["shuffle"].refused({flag: "INT"}, value, capsys)
    assert flag in told
    assert f"'{value}'" in told


def test_every_wrong_number_is_named_at_once_and_as_it_was_typed(capsys):
    call = trained()["sela"]
    with pytest.raises(SystemExit):
        call(["--optim.lr", "-1", "--views.recipes.0.crop.size=0", "--max_unreadable", "-3", "--clusters", "3", "0"])
    assert capsys.readouterr().err.split(": ", 1)[1].strip() == (
        "--views.recipes.0.crop.size must be from 1 to 16,384; got 0. "
        "--optim.lr must be above 0 and at most 1,000,000; got -1.0. "
        "--clusters must hold numbers from 1 to 65,536; got 0. "
        "--max-unreadable must be from 0 to 1,000,000,000; got -3. "
        "See unshuffle train sela --help."
    )


def test_a_condition_on_several_fields_names_their_flags(capsys):
    call = trained()["sela"]
    with pytest.raises(SystemExit):
        call(["--heads", "3", "--clusters", "4", "5"])
    assert "--clusters must be one number, or one for each of 3 heads; got 2." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call(["--clusters", "3", "--labelling.frequencies", "1", "2"])
    assert "--labelling.frequencies must hold one number a cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("shuffle", "--patches.rows 1 --patches.columns 1", "--patches must be at least 2"),
        ("deepperm", "--patches.rows 1 --patches.columns 1", "--patches must be at least 2"),
        ("sort-numbers", "--model po-u --steps 0", "--steps must be from 1 where --model is po-u; got 0."),
        ("mosaic", "--model po-u --steps 0", "--steps must be from 1 where --model is po-u; got 0."),
    ],
)
def test_a_task_without_anything_to_learn_is_refused(name, words, message, capsys):
    with pytest.raises(SystemExit):
        trained()[name](words.split())
    assert message in capsys.readouterr().err


def test_values_of_all_recipes_are_in_range_and_read_back_from_json():
    for name, recipe in recipes.ALL.items():
        assert values.from_json(json.loads(json.dumps(values.to_json(recipe())))) == recipe(), name


@ranged
@dataclass(frozen=True)
class Sample:
    size: Size = 4
    pair: tuple[Size, Size] = (1, 2)
    rate: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None = None
    limit: Annotated[float, Range(0, 5, infinite=True)] = 5.0


@pytest.mark.errors
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"size": 0}, ValueError, "Sample: `size` must be from 1 to 65,536; got 0."),
        ({"size": 1.0}, TypeError, "Sample: `size` must be a whole number from 1 to 65,536; got 1.0."),
        ({"size": True}, TypeError, "Sample: `size` must be a whole number from 1 to 65,536; got True."),
        ({"size": None}, TypeError, "Sample: `size` must be a whole number from 1 to 65,536; got None."),
        ({"pair": (1, 0)}, ValueError, "Sample: `pair` must hold numbers from 1 to 65,536; got 0."),
        ({"pair": (1,)}, ValueError, "Sample: `pair` must be 2 numbers; got 1."),
        ({"pair": 3}, TypeError, "Sample: `pair` must be a tuple of numbers; got 3."),
        ({"rate": 0}, ValueError, "Sample: `rate` must be above 0 and below 1; got 0."),
        ({"rate": 1.0}, ValueError, "Sample: `rate` must be above 0 and below 1; got 1.0."),
        ({"rate": math.nan}, ValueError, "Sample: `rate` must be above 0 and below 1; got nan."),
        ({"rate": "1"}, TypeError, "Sample: `rate` must be a number above 0 and below 1; got '1'."),
        ({"limit": -math.inf}, ValueError, "Sample: `limit` must be from 0 to 5, or inf; got -inf."),
    ],
)
def test_from_python_the_class_and_the_field_are_named(given, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Sample(**given)


def test_ends_of_a_range_are_accepted_where_they_are_closed():
    made = Sample(size=65_536, pair=(1, 65_536), rate=0.5, limit=math.inf)
    assert dataclasses.astuple(made) == (65_536, (1, 65_536), 0.5, math.inf)


@pytest.mark.errors
@pytest.mark.parametrize(
    "words",
    [
        "train shuffle --data . --optim.lr nan --out new",
        "demo --effort inf --out new",
        "order run x --sheet -1 --out new",
    ],
)
def test_a_shell_that_gives_a_wrong_number_finds_nothing_written(words, tmp_path):
    command = [sys.executable, "-m", "unshuffle", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    flag = next(word for word in words.split() if word in ("--optim.lr", "--effort", "--sheet"))
    assert done.returncode == 2
    assert f"{flag} must be " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
