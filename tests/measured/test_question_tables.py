"""Answers to questions about pictures: what the page shows was measured."""

from __future__ import annotations

from documented import ROOT, script


def test_the_answers_to_questions_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    questions = script("benchmarks/visual_questions.py")
    page = ROOT / "docs" / "guides" / "questions.md"

    filled = questions.fill(questions.RESULTS, page)

    assert "66.33 ± 0.09" in filled
    assert filled == page.read_text()


def test_differences_between_networks_are_those_of_the_same_seeds(monkeypatch):
    """Two seeds of two rows, by hand: 50 and 70 %, then 60 and 90 %; a third seed has no partner."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    questions = script("benchmarks/visual_questions.py")
    stamp = ("scenes", "test", "questions", "benchmark", "machine", "2026-01-01")
    data, split, *rest = stamp

    def line(row: str, seed: int, value: float) -> object:
        return questions.Result("answers: shape", "accuracy", value, 10, seed, data, split, row, *rest)

    rows = list(questions.ROWS)
    shares = {rows[0]: (0.5, 0.7), rows[1]: (0.6, 0.9, 0.1)}
    lines = [line(row, seed, value) for row, values in shares.items() for seed, value in enumerate(values)]

    table = questions.section(lines, "differences")

    assert "| with an LSTM, beside attention alone | +15.0 ± 7.1 |" in table
    assert questions.accuracies(lines, rows[0], ["shape"]) == {0: 0.5, 1: 0.7}
