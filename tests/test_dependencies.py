"""No version that the package admits or pins is known to run code when it is imported or reads a file."""

import importlib.util
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_admitted_or_pinned_version_is_affected(audit):
    assert audit.problems() == []


@pytest.mark.parametrize(
    ("requirement", "affected"),
    [
        ("torch>=2.6", ["2.6"]),
        ("torch", ["any version"]),
        ("torch==2.9.1", ["2.9.1"]),
        ("torch>=2.10", []),
        ("lightning>=2.5,<3", ["2.6.2", "2.6.3"]),
        ("lightning>=2.5,!=2.6.2,<3", ["2.6.3"]),
        ("lightning>=2.5,!=2.6.2,!=2.6.3,<3", []),
    ],
)
def test_an_affected_version_is_found_whether_it_is_the_lowest_pinned_or_in_between(audit, requirement, affected):
    rows = tomllib.loads((ROOT / "scripts/advisories.toml").read_text())["advisory"]
    parsed = Requirement(requirement)

    found = [v for row in rows if row["package"] == parsed.name for v in audit._affected(parsed, row)]

    assert list(dict.fromkeys(found)) == affected
