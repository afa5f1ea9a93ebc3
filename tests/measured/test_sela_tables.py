"""SeLa: what the pages show was measured, and what they say follows."""

from __future__ import annotations

import importlib
import json
from statistics import fmean
from types import ModuleType

import numpy as np
import pytest
from documented import ROOT, measured, script


@pytest.fixture
def sela(monkeypatch) -> ModuleType:
    """The tables of self-labelling."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "sela")
    return script("benchmarks/sela/sela_tables.py")


def test_the_tables_of_self_labelling_are_those_of_their_measured_lines(sela):
    lines = measured("sela.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in sela.MARK.findall(text)} == set(sela.SECTIONS)
    assert sela.filled(lines, text) == text


def test_differences_to_a_supervised_network_are_those_of_the_same_table(sela):
    """By hand; a cell of another size counts for nothing."""
    shared = {"record": "result", "layer": "trained", "data": "cifar10", "machine": "1 core", "date": "2026-01-01"}
    shared |= {"images": 8_000, "epochs": 5, "width": 16, "metric": sela.KNN}
    shares = {
        "full/sela 128x1/0": 0.5, "full/sela 128x1/1": 0.6, "full/supervised/0": 0.7, "full/random/0": 0.2,
        "full/supervised/0 @ 50000 images, 5 epochs, width 16": 0.9,
    }  # fmt: skip
    lines = [{**shared, "cell": cell, "value": share} for cell, share in shares.items()]
    lines += [{"record": "cost", "cell": "full/sela 128x1/0", "cpu_seconds": 120.0}]

    made = sela.SECTIONS["table 8"](lines)

    assert "| full: SeLa [128 × 1] | 55.0 ± 7.1 (-15.0) | not run |" in made
    assert "| full: supervised | 70.0 | not run |" in made
    assert "| random network | 20.0 (-50.0) | not run |" in made
    assert "8,000 images, 5 epochs, width 16, 2 minutes of one core." in made
    assert (
        "--cells 'full/random/*' 'full/supervised/*' 'full/k-means 128x1/*' 'full/sela 128x1/*' 'light/supervised/*'"
        in made
    )


def test_the_papers_differences_that_are_not_those_of_its_numbers_are_told(sela):
    made = sela.SECTIONS["table 8 recomputed"]([])

    assert "| full: k-means [128 × 1] | 64.7 (-27.4; printed -17.4) | 19.3 (-4.7) | 77.5 (-12.7) |" in made
    assert "| heavy: SeLa [128 × 1] | 67.6 (-19.1; printed -9.1) | 26.7 (+4.1; printed +3.9) | 77.2 (-9.6) |" in made
    assert "10 of the 24 differences" in made


def test_self_labelling_is_as_the_page_says(sela):
    lines = measured("sela.jsonl")

    def share(cell: str, metric: str = sela.LINEAR, layer: str = "trained") -> float:
        return fmean(sela._values(lines, cell, metric, layer=layer))

    for metric in (sela.LINEAR, sela.KNN):
        none, few, often = (share(f"table1/{count} labellings/0", metric) for count in (0, 4, 60))
        assert none < share("full/random/", metric) < min(few, often)
        assert share("full/sela 128x10/", metric, sela.AGAIN["alexnet"]) > share("full/sela 128x10/", metric) + 0.01
        assert share("table4/resnet 128x1/0", metric, sela.AGAIN["resnet"]) > share("full/sela 128x1/", metric)
        assert share("table2/32x1/", metric) < min(share(sela.OWN, metric), share("table2/512x1/", metric))
    for metric in ("NMI", "adjusted NMI", "purity"):
        ours, theirs = (share(f"full/{name} 128x1/", metric, sela.NEW_LABELS) for name in ("sela", "k-means"))
        assert 0.01 < ours - theirs < 0.02
    told = sela.curve_points(lines, "table1/0 labellings/0", "pseudo-label accuracy")
    assert 0 < told[-1][1] < 0.015
    ours, theirs = (share(cell, "NMI", sela.NEW_LABELS) for cell in ("table4/resnet 128x1/0", sela.OWN))
    assert ours > theirs + 0.02


def test_self_labelling_and_k_means_differ_as_the_page_says(sela):
    lines = measured("sela.jsonl")

    def seeds(cell: str, metric: str = sela.LINEAR, data: str = "cifar10") -> np.ndarray:
        return np.array(sela._values(lines, cell, metric, data=data))

    for metric in (sela.LINEAR, sela.KNN):
        for kind in ("full", "light", "heavy"):
            gap = seeds(f"{kind}/sela 128x1/", metric) - seeds(f"{kind}/k-means 128x1/", metric)
            assert 0.003 <= round(gap.mean(), 3) <= 0.024
        lost = {
            name: (seeds(f"full/{name}/", metric) - seeds(f"heavy/{name}/", metric)).mean()
            for name in ("supervised", "sela 128x1", "k-means 128x1")
        }
        assert min(lost.values()) > 0
        assert max(lost.values()) == lost["supervised"]
    assert (seeds("heavy/sela 128x1/") - seeds("heavy/k-means 128x1/") > 0.02).all()
    for kind in ("full", "light", "heavy"):
        ours, theirs = f"{kind}/sela 128x1/", f"{kind}/k-means 128x1/"
        assert seeds(ours, sela.KNN, "flowers").mean() > seeds(theirs, sela.KNN, "flowers").mean()
        assert seeds(ours, sela.LINEAR, "mnist").mean() < seeds(theirs, sela.LINEAR, "mnist").mean()
        for name in ("supervised", "sela 128x1", "k-means 128x1"):
            for metric, data in ((sela.LINEAR, "flowers"), (sela.KNN, "flowers"), (sela.KNN, "mnist")):
                assert seeds(f"{kind}/{name}/", metric, data).mean() < seeds("full/random/", metric, data).mean()


def test_rows_of_self_labelling_have_what_the_search_prefers(sela):
    lines = measured("sela.jsonl")

    assert {row: sela.preferred(lines, row) for row in sela.CHOSEN} == sela.CHOSEN
    falling = importlib.import_module("sela_training").FALLING
    assert {row: sela.preferred(lines, row, rates=(True,)) for row in falling} == falling


def test_at_rates_that_fall_the_rows_are_as_the_page_says(sela):
    lines = measured("sela.jsonl")

    def ahead(one: str, other: str, metric: str) -> float:
        mine, theirs = (sela._values(lines, f"falling/{cell}/0", metric) for cell in (one, other))
        return fmean(mine) - fmean(theirs)

    for kind in ("full", "light", "heavy"):
        cells = f"{kind}/sela 128x1", f"{kind}/k-means 128x1"
        assert -0.013 < ahead(*cells, sela.KNN) < 0
        assert (ahead(*cells, sela.LINEAR) > 0.03) == (kind != "full")
    assert ahead("full/sela 128x10", "full/sela 128x1", sela.KNN) > 0.03


def test_curves_are_those_of_one_cell(sela):
    points = {"full/sela 128x1/0": [[0.0, 0.1], [1.0, 0.2]], "full/sela 128x1/1": [[0.0, 0.9]]}
    lines = [
        {"record": "curve", "cell": cell, "curve": "NMI with classes", "points": known}
        for cell, known in points.items()
    ]  # fmt: skip

    assert sela.curve_points(lines, sela.OWN, "NMI with classes") == [(0.0, 0.1), (1.0, 0.2)]
    assert "0.100 (epoch 0.0) | 0.200 (epoch 1.0) | 0.200 (epoch 1.0)" in sela.SECTIONS["labels over time"](lines)


def test_the_gaps_and_starts_of_labellings_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    labelling = script("benchmarks/labelling.py")
    text = (ROOT / "docs" / "methods" / "sela.md").read_text()

    assert "at the last offsets" in text
    assert labelling.filled(json.loads(labelling.RESULTS.read_text()), text) == text
