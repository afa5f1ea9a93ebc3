"""The tables in the documentation are those of the measured lines, to the last digit."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def measured(name: str) -> list[dict[str, Any]]:
    """The lines of a results file."""
    return [json.loads(line) for line in (ROOT / "benchmarks" / "results" / name).read_text().splitlines()]


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
    lines = measured("shuffle_to_learn.jsonl")
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
        "full/sela 128x1/0": 0.5, "full/sela 128x1/1": 0.6, "full/supervised/0": 0.7,
        "full/supervised/0 @ 50000 images, 5 epochs, width 16": 0.9,
    }  # fmt: skip
    lines = [{**shared, "cell": cell, "value": share} for cell, share in shares.items()]
    lines += [{"record": "cost", "cell": "full/sela 128x1/0", "cpu_seconds": 120.0}]

    made = sela.SECTIONS["table 8"](lines)

    assert "| full: SeLa [128 × 1] | 55.0 ± 7.1 (-15.0) | not run |" in made
    assert "| full: supervised | 70.0 | not run |" in made
    assert "8,000 images, 5 epochs, width 16, 2 minutes of one core." in made
    assert "--cells 'full/supervised/*' 'full/k-means 128x1/*' 'full/sela 128x1/*' 'light/supervised/*'" in made


def test_the_papers_differences_that_are_not_those_of_its_numbers_are_told(sela):
    made = sela.SECTIONS["table 8 recomputed"]([])

    assert "| full: k-means [128 × 1] | 64.7 (-27.4; printed -17.4) | 19.3 (-4.7) | 77.5 (-12.7) |" in made
    assert "| heavy: SeLa [128 × 1] | 67.6 (-19.1; printed -9.1) | 26.7 (+4.1; printed +3.9) | 77.2 (-9.6) |" in made
    assert "10 of the 24 differences" in made


def test_self_labelling_is_as_the_page_says(sela):
    lines = measured("sela.jsonl")

    def share(cell: str, metric: str = sela.LINEAR, layer: str = "trained") -> float:
        (value,) = sela._values(lines, cell, metric, layer=layer)
        return value

    for kind in ("full", "light", "heavy"):
        assert share(f"{kind}/sela 128x1/0") > share(f"{kind}/k-means 128x1/0")
    for metric in (sela.LINEAR, sela.KNN):
        none, few, often = (share(f"table1/{count} labellings/0", metric) for count in (0, 4, 60))
        assert none < share("full/random/0", metric) < min(few, often)
        assert share("full/sela 128x10/0", metric, sela.AGAIN["alexnet"]) > share("full/sela 128x10/0", metric) - 0.01
        assert share("table4/resnet 128x1/0", metric, sela.AGAIN["resnet"]) > share("full/sela 128x1/0", metric)
    for metric in ("NMI", "adjusted NMI", "purity"):
        ours, theirs = (share(f"full/{name} 128x1/0", metric, sela.NEW_LABELS) for name in ("sela", "k-means"))
        assert ours > theirs


def test_curves_are_those_of_one_cell(sela):
    points = {"full/sela 128x1/0": [[0.0, 0.1], [1.0, 0.2]], "full/sela 128x1/1": [[0.0, 0.9]]}
    lines = [
        {"record": "curve", "cell": cell, "curve": "NMI with classes", "points": known}
        for cell, known in points.items()
    ]  # fmt: skip

    assert sela.curve_points(lines, sela.OWN, "NMI with classes") == [(0.0, 0.1), (1.0, 0.2)]
    assert "0.100 (epoch 0.0) | 0.200 (epoch 1.0) | 0.200 (epoch 1.0)" in sela.SECTIONS["labels over time"](lines)


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


def test_the_gaps_and_starts_of_labellings_are_those_of_their_measured_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    labelling = script("benchmarks/labelling.py")
    text = (ROOT / "docs" / "methods" / "sela.md").read_text()

    assert "at the last offsets" in text
    assert labelling.filled(json.loads(labelling.RESULTS.read_text()), text) == text


def test_the_scale_of_balanced_labels_is_that_of_its_measured_lines(monkeypatch):
    results = ROOT / "benchmarks" / "results" / "transport_scale.json"
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    scale = script("benchmarks/transport_scale.py")
    text = (ROOT / "docs" / "ops" / "transport.md").read_text()

    assert scale.filled(json.loads(results.read_text()), text) == text
