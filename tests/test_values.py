"""Values as JSON: what goes out comes back, and nothing but registered values comes in."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.values import from_json, register, to_json


@register
@dataclass(frozen=True)
class Leaf:
    size: int = 1
    ratio: float | None = None
    names: tuple[str, ...] = ()


@register
@dataclass(frozen=True)
class Branch:
    first: Leaf
    rest: tuple[Leaf, ...] = ()
    on: bool = True


@dataclass(frozen=True)
class Stranger:
    size: int = 1


leaves = st.builds(
    Leaf,
    size=st.integers(),
    ratio=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    names=st.lists(st.text()).map(tuple),
)
branches = st.builds(Branch, first=leaves, rest=st.lists(leaves, max_size=3).map(tuple), on=st.booleans())


@given(value=branches)
def test_nested_values_come_back_equal_from_json_text(value):
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_a_value_is_written_with_its_type_and_its_fields():
    written = to_json(Branch(Leaf(2, names=("a", "b"))))

    assert written == {
        "type": "Branch",
        "first": {"type": "Leaf", "size": 2, "ratio": None, "names": ["a", "b"]},
        "rest": [],
        "on": True,
    }


def test_fields_left_out_take_their_defaults():
    assert from_json({"type": "Branch", "first": {"type": "Leaf"}}) == Branch(Leaf())


def test_lists_come_back_as_tuples_so_that_values_stay_hashable():
    assert from_json([1, [2, 3], {"type": "Leaf", "names": ["a"]}]) == (1, (2, 3), Leaf(names=("a",)))
    assert isinstance(hash(from_json({"type": "Leaf", "names": ["a"]})), int)


def test_paths_are_written_as_text():
    assert to_json([Path("a") / "b", 3]) == [str(Path("a/b")), 3]


def test_an_unregistered_value_is_not_written():
    with pytest.raises(AssertionError, match="Stranger is not registered"):
        to_json(Stranger())


@pytest.mark.errors
@pytest.mark.parametrize("name", ["os.system", "Stranger", "unshuffle.values.Leaf", "builtins.eval", "", None])
def test_names_outside_the_registry_are_refused_and_nothing_is_imported(name):
    with pytest.raises(ValueError, match=r"unknown type .*; known: .*Branch"):
        from_json({"type": name, "size": 1})


@pytest.mark.errors
def test_a_mapping_without_a_type_is_refused():
    with pytest.raises(ValueError, match="unknown type None"):
        from_json({"size": 1})


@pytest.mark.errors
def test_an_unknown_type_deep_inside_is_refused():
    with pytest.raises(ValueError, match=r"unknown type 'os\.system'"):
        from_json({"type": "Branch", "first": {"type": "Leaf"}, "rest": [{"type": "os.system", "command": "true"}]})


@pytest.mark.errors
def test_an_unknown_field_is_refused_with_the_fields_there_are():
    with pytest.raises(ValueError, match=r"Leaf has no field 'colour'; its fields: names, ratio, size"):
        from_json({"type": "Leaf", "colour": "red"})


@pytest.mark.errors
def test_a_missing_field_is_refused():
    with pytest.raises(ValueError, match=r"Branch cannot be read: .*'first'"):
        from_json({"type": "Branch"})


def test_two_values_of_one_name_are_a_mistake_of_ours():
    @dataclass(frozen=True)
    class Leaf:
        other: int = 0

    with pytest.raises(AssertionError, match="two values are named Leaf"):
        register(Leaf)
