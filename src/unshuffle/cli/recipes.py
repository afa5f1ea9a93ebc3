"""``unshuffle recipes``: the recipes by name, with the first line of what they promise."""

from __future__ import annotations

import inspect
import json
import sys

from rich.console import Console
from rich.table import Table

from unshuffle import recipes, values

USAGE = """Usage: unshuffle recipes [NAME]

Lists the recipes; with a name, its full text and its values as JSON."""


def run(arguments: list[str]) -> int:
    """The command."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if not arguments:
        _list()
        return 0
    name = arguments[0]
    if name not in recipes.ALL:
        print(f"unshuffle recipes: no recipe {name!r}. Known: {', '.join(recipes.ALL)}.", file=sys.stderr)
        return 2
    print(inspect.getdoc(recipes.ALL[name]), end="\n\n")
    print(json.dumps(values.to_json(recipes.ALL[name]()), indent=2))
    return 0


def _list() -> None:
    table = Table("recipe", "what it is", box=None, pad_edge=False)
    for name, function in recipes.ALL.items():
        table.add_row(name, (function.__doc__ or "").split("\n")[0])
    Console().print(table)
