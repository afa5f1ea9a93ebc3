"""The tables in the documentation are those of the measured lines, to the last digit."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from statistics import fmean
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(path: str) -> ModuleType:
    """A program of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["README.md", "docs/reproduce.md"])
def test_no_number_in_a_table_was_typed_by_hand(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    filler = script("scripts/fill_tables.py")
    text = Path(page).read_text()

    marks = filler.MARK.findall(text)

    assert marks
    assert filler.MARK.sub(lambda m: m[1] + "\n" + filler.section(Path(m[2])) + m[3], text) == text


def test_the_comparison_of_operators_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    task = script("benchmarks/ranking_task.py")
    page = ROOT / "docs" / "ops" / "choosing.md"

    filled = task.fill(task.RESULTS, page)

    assert all(f"| {name} |" in filled for name in task.CONTENDERS)
    assert filled == page.read_text()


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


def test_the_tables_of_shuffle_to_learn_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "shuffle_to_learn")
    tables = script("benchmarks/shuffle_to_learn/tables.py")
    lines = tables.read(ROOT / "benchmarks" / "results" / "shuffle_to_learn.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in tables.MARK.findall(text)} == set(tables.SECTIONS)
    assert tables.filled(lines, text) == text


@pytest.fixture
def groco(monkeypatch) -> ModuleType:
    """The tables of GroCo."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "groco")
    return script("benchmarks/groco/groco_tables.py")


def test_the_tables_of_groco_are_those_of_their_measured_lines(groco):
    lines = groco.read(ROOT / "benchmarks" / "results" / "groco.jsonl")
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


def test_the_tables_of_relative_attributes_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/relative_tables.py")
    lines = tables.read(ROOT / "benchmarks" / "results" / "relative_attributes.jsonl")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in tables.MARK.findall(text)} == set(tables.SECTIONS)
    assert tables.filled(lines, text) == text


def test_attributes_are_learnt_as_the_page_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/relative_tables.py")
    lines = tables.read(ROOT / "benchmarks" / "results" / "relative_attributes.jsonl")

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


def test_the_tables_of_restored_patches_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    patches = script("benchmarks/deepperm_patches.py")
    text = (ROOT / "docs" / "reproduce.md").read_text()

    assert {mark[1] for mark in patches.MARK.findall(text)} == set(patches.SECTIONS)
    assert patches.filled(patches.cells.read(patches.RESULTS), text) == text


def test_a_layer_of_permutations_leads_sigmoids_as_the_page_says():
    lines = [json.loads(line) for line in (ROOT / "benchmarks/results/deepperm_patches.jsonl").read_text().splitlines()]
    curves = {line["cell"]: line["partial_ranks"] for line in lines if line["record"] == "curve"}
    naive = curves["naive-sigmoids/3x3/0"]

    def found(task: str, layer: str) -> float:
        return next(v["value"] for v in lines if (v.get("task"), v.get("layer")) == (task, f"{layer}, 3 × 3"))

    for name, layer in (("Sinkhorn-converged", "Sinkhorn, converged"), ("the-authors-layer", "the authors' layer")):
        assert found("pretext: Kendall tau", layer) > found("pretext: Kendall tau", "naive sigmoids")
        ahead = [a >= b for a, b in zip(curves[f"{name}/3x3/0"], naive)]
        assert sum(ahead) >= 0.9 * len(ahead)
        assert found("category", layer) > found("category", "random embedding") + 0.05


def test_on_notes_the_ranking_losses_lead_as_the_page_says():
    lines = [json.loads(line) for line in (ROOT / "benchmarks/results/shuffle_to_learn.jsonl").read_text().splitlines()]
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


def test_views_teach_what_the_page_says():
    lines = [json.loads(line) for line in (ROOT / "benchmarks/results/groco.jsonl").read_text().splitlines()]

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


def test_the_speeds_of_ordering_are_those_of_their_measured_lines(monkeypatch):
    results = ROOT / "benchmarks" / "results" / "ordering.json"
    if not results.is_file():
        pytest.skip("not measured yet")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = script("benchmarks/ordering.py")
    text = (ROOT / "docs" / "ops" / "ordering.md").read_text()

    assert tables.filled(json.loads(results.read_text()), text) == text


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


def test_the_speed_of_views_is_that_of_its_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    views = script("benchmarks/views.py")
    text = (ROOT / "docs" / "guides" / "views.md").read_text()

    assert "DINO, 2 views | 32 → 32" in text
    assert views.filled(json.loads(views.RESULTS.read_text()), text) == text
