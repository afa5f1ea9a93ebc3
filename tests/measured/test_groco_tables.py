"""GroCo: what the page shows was measured, and what it says follows."""

from __future__ import annotations

from types import ModuleType

import pytest
from documented import ROOT, measured, script


@pytest.fixture
def groco(monkeypatch) -> ModuleType:
    """The tables of GroCo."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "groco")
    return script("benchmarks/groco/groco_tables.py")


def test_the_tables_of_groco_are_those_of_their_measured_lines(groco):
    lines = measured("groco.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in groco.MARK.findall(text)} == set(groco.SECTIONS)
    assert groco.filled(lines, text) == text


def test_two_seeds_of_groco_stand_beside_the_papers_number_and_what_is_open_says_so(groco):
    """By hand; a cell of another size counts for nothing, nor does another space."""
    shared = {
        "record": "result",
        "layer": "representation",
        "data": "cifar10",
        "machine": "1 core",
        "date": "2026-01-01",
    }
    shared |= {"images": 10_000, "epochs": 4, "width": 16}
    shares = {"0": 0.5, "1": 0.6, "2 @ 50000 images, 4 epochs, width 16": 0.9}
    lines = [
        {**shared, "cell": f"table4/groco/2 views/{seed}", "metric": "k-NN 20", "value": share}
        for seed, share in shares.items()
    ]
    lines += [{**lines[0], "layer": "projection", "value": 0.3}]
    lines += [{"record": "cost", "cell": lines[0]["cell"], "cpu_seconds": 120.0}]

    made = groco.SECTIONS["table 4"](lines)

    row = "| GroCo, 2 views | not run (55.3) | not run (60.3) | 55.0 ± 7.1 (60.5) | not run (69.2) | not run (88.4) |"
    assert row in made
    assert "10,000 images, 4 epochs, width 16, 2 minutes of one core." in made
    assert "30.0 (57.3)" in groco.SECTIONS["table 7d"](lines)
    assert groco.SECTIONS["table 7c"]([]).endswith("--width 64 --device cuda`.")


def test_views_teach_what_the_page_says():
    lines = measured("groco.jsonl")

    def neighbours(cell: str) -> float:
        wanted = ("k-NN 20", "representation", "cifar10", f"{cell}/0")
        keys = ("metric", "layer", "data", "cell")
        return next(line["value"] for line in lines if tuple(line.get(key) for key in keys) == wanted)

    groco, simclr = (neighbours(f"table4/{method}/2 views") for method in ("groco", "simclr"))
    assert min(groco, simclr) > neighbours("table4/random") + 0.2
    assert groco > neighbours("table7c/10 random negatives") + 0.03
    assert groco > neighbours("gradient/groco through both") + 0.1
    assert abs(groco - neighbours("table6b/in any order")) < 0.02
    assert groco > max(neighbours("table4/groco/2 + 4 crops"), neighbours("table7b/128")) + 0.1
    for one, other in (
        (groco, neighbours("table7a/simclr as in dino")),
        (neighbours("table7a/groco as in simclr"), simclr),
    ):
        assert abs(one - other) < 0.03
