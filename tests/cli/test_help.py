"""The commands are few and their names are kept; every flag says what it does."""

import dataclasses
import inspect
import re
import typing

import pytest

import unshuffle
from unshuffle import recipes
from unshuffle.cli import COMMANDS
from unshuffle.train.machine import Machine


def test_the_list_of_commands():
    """A snapshot: an issue changes it, a whim does not."""
    assert list(COMMANDS) == [
        "demo",
        "train",
        "embed",
        "eval",
        "labels",
        "search",
        "solve",
        "order",
        "report",
        "recipes",
    ]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(arguments, call):
    done = call(*arguments)
    assert (done.status, done.err) == (0, "")
    assert re.findall(r"^  (\w+)  ", done.out, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(flag, call):
    assert call(flag) == (0, f"unshuffle {unshuffle.__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, flag, call):
    done = call(command, flag)
    assert done.status == 0
    assert f"unshuffle {command}" in done.out
    assert done.err == ""


@pytest.mark.parametrize("command", ["demo", "embed", "eval", "labels", "search", "solve", "order"])
def test_every_option_of_a_command_says_what_it_does(command, call):
    assert_explained(call(command, "--help").out)


@pytest.mark.parametrize("name", recipes.ALL)
def test_every_flag_of_a_recipe_says_what_it_does(name, call):
    done = call("train", name, "--help")
    assert done.status == 0
    assert_explained(done.out)
    flags = set(re.findall(r"--[\w.-]+", done.out))
    assert {f"--{path}" for path in paths(recipes.ALL[name]())} <= flags
    assert {f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(Machine)} <= flags


def paths(value: object, prefix: str = "") -> list[str]:
    """The flags of all fields of a nest of dataclasses; a value that is left out, a front end, has none."""
    found, hints = [], typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        inner, name = getattr(value, field.name), prefix + field.name.replace("_", "-")
        if inner is None and any(dataclasses.is_dataclass(kind) for kind in typing.get_args(hints[field.name])):
            continue
        several = inner if isinstance(inner, tuple) and inner and dataclasses.is_dataclass(inner[0]) else ()
        nested = {f"{name}.{place}.": one for place, one in enumerate(several)}
        nested |= {f"{name}.": inner} if dataclasses.is_dataclass(inner) else {}
        found += [path for where, one in nested.items() for path in paths(one, where)] if nested else [name]
    return found


def assert_explained(text: str) -> None:
    """Between a flag and its default, or the next flag, stand words."""
    body = re.sub(r"[│╭╰╮╯─]", " ", text)
    entries = re.split(r"\n\s+(?=(?:-h, )?--[a-z])", body)[1:]
    assert len(entries) > 1
    for entry in entries:
        flag, _, rest = " ".join(entry.split()).partition(" ")
        rest = re.sub(r"^(--help|\{[^}]*\}(\|\S+)?|\[[^\]]*\]\]?|[A-Z{}|\[\]]+\b)\s*", "", rest)
        words = rest.partition("(default:")[0].partition("(required)")[0]
        assert len(words.split()) >= 2, f"{flag} has no help: {entry!r}"


def test_recipes_lists_all_names(call):
    done = call("recipes")
    assert done.status == 0
    assert [name for name in recipes.ALL if re.search(rf"^{name}\s+\w", done.out, re.MULTILINE)] == list(recipes.ALL)


@pytest.mark.parametrize("name", recipes.ALL)
def test_a_recipe_is_shown_with_its_values(name, call):
    done = call("recipes", name)
    assert done.status == 0
    assert done.out.startswith(inspect.getdoc(recipes.ALL[name]).splitlines()[0])
    assert '"type": ' in done.out
