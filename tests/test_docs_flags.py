"""Every command line in the documentation is one that the real parsers take, and every flag in it exists."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from unshuffle import recipes
from unshuffle.cli import COMMANDS, main, parsing

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [page for page in PAGES if page.name != "reproduce.md"]  # whose flags are those of benchmarks, too
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*")


class Line(NamedTuple):
    """A command line as documented: where, its words after ``unshuffle``, and whether it is meant to be typed as is."""

    where: str
    words: list[str]
    whole: bool


def typed(line: Line) -> str:
    return " ".join(line.words)


class Parsed(Exception):
    """The parser was satisfied; the command itself is not run."""


def lines_of(text: str, where: str) -> list[Line]:
    """Command lines in blocks of code, and those in the middle of a sentence, which may leave things out."""
    text = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"^(?: {4,}|\$ |)(?:\$ )?unshuffle (.*)$", text, re.MULTILINE)
    inline = re.findall(r"`unshuffle ([^`]*)`", text)
    return [
        Line(where, shlex.split(line, comments=True), whole)
        for lines, whole in ((blocks, True), (inline, False))
        for line in lines
    ]


def documented() -> list[Line]:
    """All command lines of the pages and of the recipes' docstrings, each once."""
    found = [line for page in PAGES for line in lines_of(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))]
    for name, function in recipes.ALL.items():
        runs = re.findall(r"^\s*Run: +unshuffle (.*)$", function.__doc__ or "", re.MULTILINE)
        found += [Line(f"recipe {name}", shlex.split(run), True) for run in runs]
    return list({(*line.words, line.whole): line for line in found}.values())


LINES = documented()
RESUME = ("train", "--resume", "runs/a")
EVERY = [*((name,) for name in COMMANDS if name != "train"), RESUME, *(("train", name) for name in recipes.ALL)]
FLAGGED = [line for line in LINES if any(word.startswith("--") for word in line.words)]


@pytest.fixture
def parses(monkeypatch, capsys) -> Callable[[list[str]], str]:
    """What the real parser of a command has to say against its arguments; nothing where it takes them."""

    def stop(options: object) -> list[str]:
        if told := refused(options):
            return told
        raise Parsed

    refused = parsing.refused
    monkeypatch.setattr(parsing, "refused", stop)

    def parses(words: list[str]) -> str:
        try:
            main(words)
        except Parsed:
            return ""
        except SystemExit as end:
            return "" if end.code == 0 else capsys.readouterr().err
        return capsys.readouterr().err

    return parses


@functools.cache
def flags_of(command: tuple[str, ...]) -> frozenset[str]:
    """The flags that a command's help lists."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return frozenset(FLAG.findall(out.getvalue()))


def of_command(words: list[str]) -> tuple[str, ...]:
    return tuple(words[: 2 if words[0] == "train" else 1])


def test_there_are_command_lines_to_look_at():
    assert len(FLAGGED) > 50
    assert {line.words[0] for line in LINES} >= {"train", "embed", "eval", "labels", "search", "solve", "order"}


@pytest.mark.parametrize("line", [line for line in FLAGGED if line.whole], ids=typed)
def test_a_documented_command_line_is_taken_as_it_stands(line, parses):
    assert parses(line.words) == "", line.where


@pytest.mark.parametrize("line", [line for line in FLAGGED if not line.whole], ids=typed)
def test_the_flags_of_a_command_in_a_sentence_exist(line):
    given = {word for word in line.words if word.startswith("--")}

    assert given <= flags_of(of_command(line.words)), line.where


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_a_flag_named_alone_is_one_of_some_command(page):
    alone = re.findall(r"`(--[^`]*)`", page.read_text(encoding="utf-8"))
    unknown = {flag for text in alone for flag in FLAG.findall(text)}

    for command in EVERY:
        if unknown:  # most are known to the first ones; help of all recipes takes a quarter of a minute
            unknown -= flags_of(command)

    assert not unknown


def test_a_flag_that_does_not_exist_is_noticed(parses):
    assert "--space" in parses(["eval", "runs/a", "--space", "projection"])
    assert "--space" not in flags_of(("eval",))
