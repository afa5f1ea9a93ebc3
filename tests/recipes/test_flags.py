"""Every field of every recipe is a flag of the command line, and the text below it its help."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from types import UnionType

import pytest

from unshuffle import values
from unshuffle.recipes import AnyRecipe


def described(cls: type, seen: set[type] | None = None) -> Iterator[type]:
    """The dataclass and all dataclasses that its fields may hold."""
    seen = set() if seen is None else seen
    if cls in seen:
        return
    seen.add(cls)
    yield cls
    for hint in typing.get_type_hints(cls).values():
        members = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        for member in members:
            if dataclasses.is_dataclass(member):
                yield from described(typing.cast(type, member), seen)


DESCRIBED = list(dict.fromkeys(cls for recipe in typing.get_args(AnyRecipe) for cls in described(recipe)))


@pytest.mark.parametrize("cls", DESCRIBED, ids=lambda cls: cls.__name__)
def test_every_field_that_is_a_flag_has_its_help(cls):
    helped = {name for base in cls.__mro__[:-1] for name in documented(base)}

    assert helped == {f.name for f in dataclasses.fields(cls)}
    assert cls.__name__ in values._REGISTRY


def documented(cls: type) -> set[str]:
    """The fields of a class's own that a text follows."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id
        for field, text in zip(body.body, body.body[1:])
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
