"""The tables in the documentation are those of the measured lines, to the last digit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce.md"])
def test_no_number_in_a_table_was_typed_by_hand(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("fill_tables", ROOT / "scripts" / "fill_tables.py")
    assert spec is not None
    assert spec.loader is not None
    filler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filler)
    text = Path(page).read_text()

    marks = filler.MARK.findall(text)

    assert marks
    assert filler.MARK.sub(lambda m: m[1] + "\n" + filler.section(Path(m[2])) + m[3], text) == text
