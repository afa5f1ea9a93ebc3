"""The comparison of rankers: what its page shows was measured."""

from __future__ import annotations

from statistics import fmean

from documented import ROOT, script


def test_the_comparison_of_operators_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    task = script("benchmarks/ranking_task.py")
    page = ROOT / "docs" / "ops" / "choosing.md"

    filled = task.fill(task.RESULTS, page)

    assert all(f"| {name} |" in filled for name in task.CONTENDERS)
    assert filled == page.read_text()


def test_the_comparison_shows_what_the_page_says_of_it(monkeypatch):
    """Exact soft ranks beat regression and ten draws; a bare blackbox gradient fails, and not with its margin."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    task = script("benchmarks/ranking_task.py")
    lines = [r for r in task.read(task.RESULTS) if r.metric == "partial ranks"]

    for size in {r.task for r in lines}:
        mean = {name: fmean(r.value for r in lines if (r.task, r.layer) == (size, name)) for name in task.CONTENDERS}
        bare, regression = mean.pop("`blackbox_rank`"), mean.pop("no operator (scores as ranks)")
        sampled = mean.pop("`perturbed_rank`, 10 draws")
        assert bare < regression < min(mean.values())
        assert sampled < min(mean.values())
