"""Permutation-optimisation: what the page shows was measured, and what it says follows."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from documented import ROOT, script


@pytest.fixture
def cells(monkeypatch) -> ModuleType:
    """The program that fills the tables of Permutation-Optimisation."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return script("benchmarks/permutation_optimisation.py")


def test_the_tables_of_permutation_optimisation_are_those_of_the_measured_cells(cells):
    page = (ROOT / "docs" / "reproduce.md").read_text()

    assert page.count("<!-- permutation: ") == 4
    assert cells.fill(cells.read(cells.RESULTS), page) == page


def test_mosaics_are_put_together_as_the_page_says(cells):
    done = cells.read(cells.RESULTS)

    def whole(cell: str) -> float:
        return done[f"mosaic/{cell}/seed0"]["values"]["mosaic: every tile in its place: arranged"]

    assert whole("cifar10grey/4x4/neighbours") > 0.75
    for cell, paper in {"2x2/po_u": 1.0, "2x2/lin": 0.997, "3x3/po_u": 0.659, "3x3/lin": 0.669}.items():
        assert abs(whole(f"mnist/{cell}") - paper) < 0.02


def test_a_measured_cell_stands_beside_the_papers_number_and_an_open_one_says_so(cells, tmp_path):
    values = {
        "mosaic: squared error of normalised pixels: arranged": 0.1234,
        "mosaic: every tile in its place: arranged": 0.25,
        "mosaic: every pixel the same: arranged": 0.5,
    }
    settings = {"recipe": {"epochs": 3}, "images": None, "sets": 64}
    line = {"settings": settings, "seconds": 3600.0, "machine": "1 core", "date": "2026-01-01", "command": "python x"}
    names = [f"mosaic/mnist/3x3/po_u/seed{k}" for k in range(2)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps({"cell": n, "values": values, **line}) + "\n" for n in names))

    text = cells.fill(cells.read(tmp_path / "r.jsonl"), "<!-- permutation: mosaics -->\n<!-- end -->")

    assert (
        "| MNIST | PO-U | not run (0.00) | 0.123 ± 0.000 (0.02), 3 epochs | not run (0.46) | not run (0.45) |" in text
    )
    assert "| MNIST | PO-U | not run (100.0) | 25.0 ± 0.0 (65.9), 3 epochs | not run (0.2) | not run (0.0) |" in text
    assert "Measured by `python x` on 1 core, 2026-01-01: 2 cells, 2.0 hours, 3 epochs." in text
    assert "--cells 'mosaic/*' --data DIR --device cuda" in text
