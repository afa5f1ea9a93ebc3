"""Shuffle to Learn: what the page shows was measured, and what it says follows."""

from __future__ import annotations

from statistics import fmean

from documented import ROOT, measured, script


def test_the_tables_of_shuffle_to_learn_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "shuffle_to_learn")
    tables = script("benchmarks/shuffle_to_learn/tables.py")
    lines = measured("shuffle_to_learn.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in tables.MARK.findall(text)} == set(tables.SECTIONS)
    assert tables.filled(lines, text) == text


def test_on_notes_the_ranking_losses_lead_as_the_page_says():
    lines = measured("shuffle_to_learn.jsonl")
    found = [line for line in lines if line["record"] == "result" and line["cell"].startswith("notes/")]
    ranking = {"fast soft ranking", "perturbed ranks, 10 samples", "perturbed ranks, exact"}
    others = {"random embedding", "100 fixed permutations", "rank MSE"}

    for task, sign in (("family", 1), ("instrument", 1), ("pitch", -1)):
        for n in (200, 500, 1640):
            own = [line for line in found if (line["task"], line["n"]) == (task, n)]
            gain = {
                name: sign * fmean(line["value"] for line in own if line["layer"] == name) for name in ranking | others
            }
            assert min(gain[name] for name in ranking) > max(gain[name] for name in others)
