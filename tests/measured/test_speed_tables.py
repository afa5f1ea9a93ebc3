"""Speeds beside those of peers: what the pages show was measured."""

from __future__ import annotations

import json

import pytest
from documented import ROOT, script


def test_the_speeds_of_matching_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/matching_tables.py")
    report = json.loads((ROOT / "benchmarks" / "results" / "matching.json").read_text())
    text = (ROOT / "docs" / "ops" / "matching.md").read_text()

    filled = tables.filled(report, text)

    assert all(row["size"].replace(" ", "\u00a0") in filled for row in report["rows"])
    assert filled == text


def test_the_cost_of_the_sinkhorn_layer_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    layer = script("benchmarks/deepperm_layer.py")
    report = json.loads((ROOT / "benchmarks" / "results" / "deepperm_layer.json").read_text())
    text = (ROOT / "docs" / "methods" / "deeppermnet.md").read_text()

    assert {row["n"] for row in report["rows"]} == set(layer.LENGTHS)
    assert all(row["difference"] is None or row["difference"] < 1e-8 for row in report["rows"])
    assert layer.filled(report, text) == text


def test_the_cost_of_group_ordering_is_that_of_its_measured_lines(monkeypatch):
    results = ROOT / "benchmarks" / "results" / "group_order.json"
    if not results.is_file():
        pytest.skip("not measured yet")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    costs = script("benchmarks/group_order.py")
    report, text = json.loads(results.read_text()), (ROOT / "docs" / "ops" / "group_order.md").read_text()

    assert {row["loss"] for row in report["rows"]} == set(costs.LOSSES)
    assert max(report["differences"].values()) < 1e-9
    assert costs.filled(report, text) == text


def test_the_speed_of_neighbours_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    speed = script("benchmarks/neighbours_speed.py")
    report = json.loads((ROOT / "benchmarks" / "results" / "neighbours_speed.json").read_text())
    text = (ROOT / "docs" / "guides" / "judging.md").read_text()

    assert {(row["data"], row["k"]) for row in report["measured"]} == {
        (kind, k) for kind in speed.KINDS for k in speed.KS
    }
    assert speed.filled(report, text) == text


def test_the_speeds_of_ordering_are_those_of_their_measured_lines(monkeypatch):
    results = ROOT / "benchmarks" / "results" / "ordering.json"
    if not results.is_file():
        pytest.skip("not measured yet")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/ordering.py")
    text = (ROOT / "docs" / "ops" / "ordering.md").read_text()

    assert tables.filled(json.loads(results.read_text()), text) == text


def test_the_speed_of_views_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    views = script("benchmarks/views.py")
    text = (ROOT / "docs" / "guides" / "views.md").read_text()

    assert "DINO, 2 views | 32 → 32" in text
    assert views.filled(json.loads(views.RESULTS.read_text()), text) == text
