"""Balanced labels at ImageNet's size: the matrix, what solving it takes, and its table."""

from __future__ import annotations

import json

import pytest
from documented import ROOT, script


def test_what_a_measurement_at_scale_found_is_in_its_table(monkeypatch):
    """By hand; a second measurement of the same takes the place of the first."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    scale = script("benchmarks/transport_scale.py")
    row = {
        "kind": "scale", "samples": 1000, "classes": 300, "way": "accelerated", "threads": 2, "iterations": 80,
        "seconds": 200.4, "pass_seconds": [1.9, 2.0, 2.1], "bytes": 8 * 10**9, "read_seconds": 0.5,
        "anonymous_bytes": 500 * 2**20, "command": "python x", "machine": {"cpu": "a cpu"}, "date": "2026-01-01",
    }  # fmt: skip
    other = {**row, "kind": "beside", "way": "numpy", "seconds": [1, 2, 3], "ratio": [3, 4, 5], "other_labels": 0.001}

    made = scale.filled({"rows": [row, other]}, f"{scale.BEGIN}\nold\n{scale.END}")

    assert "| 1,000 × 300, accelerated | 2 | 80 | 200 | 2.00 s | 4.0 | 16.0 | 500 MiB |" in made
    assert "| 1,000 × 300 | 2 | numpy | 2.00 | 4.0 | 0.10 % |" in made
    assert "`python x` on a cpu, 2026-01-01" in made
    assert "old" not in made


def test_the_matrix_at_scale_is_a_function_of_its_seed_and_gathers_in_its_first_class(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    scale = script("benchmarks/transport_scale.py")

    first, again = (scale.torch.cat([*scale.blocks(9000, 20)]) for _ in range(2))
    scale.written(tmp_path / "scores", 9000, 20)
    row = scale.solve(tmp_path / "scores", (9000, 20), "accelerated")

    assert scale.torch.equal(first, again)
    assert first.exp().sum(-1).allclose(scale.torch.ones(9000))
    assert 0.2 < float((first.argmax(-1) == 0).double().mean()) < 0.4  # Zipf: 0.28 of twenty classes
    assert row["right"]
    assert row["class_error"] <= 0.01
    assert row["class_error_in_float64"] == pytest.approx(row["class_error"], abs=1e-4)
    assert row["iterations"] > 5


def test_the_scale_of_balanced_labels_is_that_of_its_measured_lines(monkeypatch):
    results = ROOT / "benchmarks" / "results" / "transport_scale.json"
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    scale = script("benchmarks/transport_scale.py")
    text = (ROOT / "docs" / "ops" / "transport.md").read_text()

    assert scale.filled(json.loads(results.read_text()), text) == text
