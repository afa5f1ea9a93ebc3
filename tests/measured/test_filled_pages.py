"""No number of a table that results fill was typed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import ROOT, script


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce.md"])
def test_no_number_in_a_table_was_typed_by_hand(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    filler = script("scripts/fill_tables.py")
    text = Path(page).read_text()

    marks = filler.MARK.findall(text)

    assert marks
    assert filler.MARK.sub(lambda m: m[1] + "\n" + filler.section(Path(m[2])) + m[3], text) == text
