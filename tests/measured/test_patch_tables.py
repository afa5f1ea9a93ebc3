"""Restored patches: what the page shows was measured, and what it says follows."""

from __future__ import annotations

from documented import ROOT, measured, script


def test_the_tables_of_restored_patches_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    patches = script("benchmarks/deepperm_patches.py")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in patches.MARK.findall(text)} == set(patches.SECTIONS)
    assert patches.filled(patches.cells.read(patches.RESULTS), text) == text


def test_a_layer_of_permutations_leads_sigmoids_as_the_page_says():
    lines = measured("deepperm_patches.jsonl")
    curves = {line["cell"]: line["partial_ranks"] for line in lines if line["record"] == "curve"}
    naive = curves["naive-sigmoids/3x3/0"]

    def found(task: str, layer: str) -> float:
        return next(v["value"] for v in lines if (v.get("task"), v.get("layer")) == (task, f"{layer}, 3 × 3"))

    for name, layer in (("Sinkhorn-converged", "Sinkhorn, converged"), ("the-authors-layer", "the authors' layer")):
        assert found("pretext: Kendall tau", layer) > found("pretext: Kendall tau", "naive sigmoids")
        ahead = [a >= b for a, b in zip(curves[f"{name}/3x3/0"], naive)]
        assert sum(ahead) >= 0.9 * len(ahead)
        assert found("category", layer) > found("category", "random embedding") + 0.05
