"""Relative attributes: what the page shows was measured, and what it says follows."""

from __future__ import annotations

from statistics import fmean

from documented import ROOT, measured, script


def test_the_tables_of_relative_attributes_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/relative_tables.py")
    lines = measured("relative_attributes.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in tables.MARK.findall(text)} == set(tables.SECTIONS)
    assert tables.filled(lines, text) == text


def test_attributes_are_learnt_as_the_page_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/relative_tables.py")
    lines = measured("relative_attributes.jsonl")

    def pairs(where: str, method: str) -> list[float]:
        found = [tables._found(lines, where, "pairs", method, 8, attribute) for attribute in tables.ATTRIBUTES]
        return [100 * fmean(values) for values in found]

    naive, layers = (
        pairs("matrix/", tables.NAIVE),
        [pairs("matrix/", name) for name in (tables.AUTHORS, tables.SINKHORN)],
    )
    score = pairs("score/", tables.SOFT)
    for layer in layers:
        assert all(a > b for a, b in zip(layer, naive))
        assert all(a > b for a, b in zip(score, layer))
    assert fmean(pairs("pairs/", tables.SINKHORN)) > fmean(layers[1])
    assert fmean(layers[1]) > fmean(pairs("ties/", f"{tables.SINKHORN}{tables.BROKEN}")) + 2
    assert abs(fmean(score) - fmean(pairs("ties/", f"{tables.SOFT}{tables.BROKEN}"))) < 1
    for method, scratch in ((tables.SINKHORN, layers[1]), (tables.SOFT, score)):
        assert 0.5 < fmean(pairs("start/", f"{method}{tables.SELF}")) - fmean(scratch) < 2
    baselines = [pairs("baseline/", f"{name}, {features}") for name in tables.BASELINES for features in tables.FEATURES]
    assert all(fmean(values) < fmean(naive) for values in baselines)
