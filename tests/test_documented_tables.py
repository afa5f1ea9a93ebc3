"""The tables in the documentation are those of the measured lines, to the last digit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(path: str) -> ModuleType:
    """A program of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce.md"])
def test_no_number_in_a_table_was_typed_by_hand(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    filler = script("scripts/fill_tables.py")
    text = Path(page).read_text()

    marks = filler.MARK.findall(text)

    assert marks
    assert filler.MARK.sub(lambda m: m[1] + "\n" + filler.section(Path(m[2])) + m[3], text) == text


def test_the_comparison_of_operators_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    task = script("benchmarks/ranking_task.py")
    page = ROOT / "docs" / "ops" / "choosing.md"

    filled = task.fill(task.RESULTS, page)

    assert all(f"| {name} |" in filled for name in task.CONTENDERS)
    assert filled == page.read_text()
