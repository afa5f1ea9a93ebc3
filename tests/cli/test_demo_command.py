"""``unshuffle demo``: all of it in a reduced size, stopped, gone on with, and refused where it does not belong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
from collections import Counter
from dataclasses import replace
from functools import wraps
from itertools import product
from pathlib import Path

import pytest

from unshuffle.cli import main
from unshuffle.data.arrays import Arrays
from unshuffle.data.samples import Bundle, digits, notes
from unshuffle.nets import SmallConv
from unshuffle.recipes import demo as demo_module
from unshuffle.recipes.demo import LOSSES, PRETRAINED, Demo, run_demo
from unshuffle.report import write_report
from unshuffle.train.folder import RunError
from unshuffle.train.progress import Silent

BROWSER = runpy.run_path(str(Path(__file__).parents[1] / "browser.py"))
FLAGS = ["--effort", "0.01"]
REHEARSAL = Demo(full=False, effort=0.01, seeds=3)
PRETEXT = ("pretext: partial ranks", "pretext: exact order")
PROBES = ("pitch, linear probe", "instrument family, linear probe")


def lines(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "results.jsonl").read_text().splitlines()]


def numbers(place: Path) -> dict[tuple, float]:
    """Every measured value by all that it is about."""
    measured = [line for line in lines(place) if line["record"] == "result"]
    return {(r["task"], r["layer"], r["n"], r["seed"]): r["value"] for r in measured}


def cells(tasks, layers, draws: dict[int, int]) -> dict[tuple, int]:
    """One line of each task, layer, number of labels and draw."""
    return {(t, layer, n, d): 1 for t, layer, n in product(tasks, layers, draws) for d in range(draws[n])}


# ------------------------------------------------------------------------------------------------ as a user calls it


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, str]:
    """A demo of one per cent, and what it printed. Its notes are learnt by a small network: all else is the demo's."""
    place = tmp_path_factory.mktemp("demo") / "demo-1"
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(io.StringIO()) as out:
        patched.setattr(demo_module, "LOSSES", {name: tiny(recipe) for name, recipe in LOSSES.items()})
        assert main(["demo", *FLAGS, "--out", str(place)]) == 0
    return place, out.getvalue()


def test_every_table_is_printed(shown):
    place, out = shown

    for words in ("digit, nearest neighbour", "pitch, linear probe", "instrument family, linear", *PRETEXT):
        assert words in out
    for layer in ("raw pixels", "raw spectrogram", "random embedding", "embedding learnt from order", "chance"):
        assert layer in out
    assert f"page: {place}/report.html  (" in out


def test_there_is_exactly_one_line_of_everything_measured(shown):
    place, _ = shown
    digit_layers = ("raw pixels", "random embedding", "embedding learnt from order", "its single score")
    expected = cells(["digit, nearest neighbour"], digit_layers, {10: 5, 50: 5, 1437: 1})
    expected |= cells(PROBES, ("raw spectrogram", "random embedding", PRETRAINED), {200: 5, 500: 5, 1640: 1})
    expected |= cells(PRETEXT, (PRETRAINED, "chance"), {390: 1})

    measured = [line for line in lines(place) if line["record"] == "result"]

    assert Counter((r["task"], r["layer"], r["n"], r["seed"]) for r in measured) == expected
    assert {(r["data"], r["recipe"]) for r in measured} == {("digits", "order_digits"), ("notes", "shuffle_notes")}
    assert numbers(place)["pretext: partial ranks", "chance", 390, 0] == pytest.approx(0.1)
    assert numbers(place)["pretext: exact order", "chance", 390, 0] == pytest.approx(1 / 3628800)


def test_all_pictures_are_there_and_on_the_page(shown):
    place, _ = shown
    figures = {line["file"]: line["kind"] for line in lines(place) if line["record"] == "figure"}

    assert figures == {
        "sets.npz": "sets", "map-digits.npz": "map", "puzzles.npz": "puzzle", "map-pitch.npz": "map",
        "map-family.npz": "map",
    }  # fmt: skip
    assert {p.name for p in (place / "figures").iterdir()} == set(figures)
    page = (place / "report.html").read_text()
    assert page.count("<table>") == 5
    assert page.count("<img ") >= 5 + 3
    assert "could not be drawn" not in page
    assert "learns to read digits from the order of sets of five" in page


def test_the_recipe_says_how_it_was_made(shown):
    told = json.loads((shown[0] / "recipe.json").read_text())

    assert told["recipe"] == {"type": "Demo", "full": False, "effort": 0.01, "seeds": 3}
    assert {"title", "summary", "versions", "revision"} <= told.keys()
    assert "torch" in told["versions"]


@pytest.mark.browser
def test_a_browser_shows_the_page(shown):
    if BROWSER["find_browser"]() is None:
        if os.environ.get("UNSHUFFLE_NEED_BROWSER") == "1":
            pytest.fail("no Chromium found")
        pytest.skip("no Chromium found")

    found = BROWSER["check_page"](shown[0] / "report.html", min_images=8, min_tables=5)

    assert len(found["tables"]) == 5


@pytest.mark.errors
def test_another_effort_does_not_pass_a_rehearsal_off_as_the_demo(shown, call):
    before = (shown[0] / "results.jsonl").read_bytes()

    done = call("demo", "--out", shown[0])

    assert done.status == 1
    assert "holds another demo, Demo(full=False, effort=0.01, seeds=3)" in " ".join(done.err.split())
    assert (shown[0] / "results.jsonl").read_bytes() == before


# -------------------------------------------------------------------------------------------------- on thinned-out data


def thin(bundle: Bundle, step: int) -> Bundle:
    """Every so many samples."""
    train, test = (Arrays(p.items[::step], p.labels[::step], name=p.name) for p in (bundle.train, bundle.test))
    targets = {k: (a[::step], b[::step]) for k, (a, b) in bundle.targets.items()}
    return bundle._replace(train=train, test=test, targets=targets)


def tiny(recipe):
    """The recipe with a network that learns little and fast."""
    return wraps(recipe)(lambda: replace(recipe(), backbone=SmallConv(4), patch_features=8, hidden=16))


@pytest.fixture
def small(monkeypatch) -> None:
    """The same demo on less of everything; and no checkpoint is left out."""
    bundles = thin(digits(), 6), thin(notes(), 8)
    monkeypatch.setattr(demo_module, "digits", lambda: bundles[0])
    monkeypatch.setattr(demo_module, "notes", lambda: bundles[1])
    monkeypatch.setattr(demo_module, "LOSSES", {name: tiny(recipe) for name, recipe in LOSSES.items()})
    monkeypatch.setattr(demo_module, "DIGIT_LABELS", (20,))
    monkeypatch.setattr(demo_module, "NOTE_LABELS", (40,))
    monkeypatch.setattr(demo_module, "MACHINE", replace(demo_module.MACHINE, save_every=0.0))


@pytest.mark.usefixtures("small")
def test_the_same_command_again_trains_nothing_and_measures_the_same(tmp_path, call):
    first = call("demo", *FLAGS, "--out", tmp_path)
    made = [
        p for name in ("encoder.safetensors", "checkpoints/last.pt", "metrics.csv") for p in tmp_path.glob(f"*/{name}")
    ]
    before, measured, count = [p.stat().st_mtime_ns for p in made], numbers(tmp_path), len(lines(tmp_path))
    assert (first.status, len(made)) == (0, 6)

    again = call("demo", *FLAGS, "--out", tmp_path)

    assert [p.stat().st_mtime_ns for p in made] == before
    assert numbers(tmp_path) == measured
    assert len(lines(tmp_path)) == count
    assert again.out.split("page:")[0] == first.out.split("page:")[0]
    assert again.err.count("finished before") == 2


@pytest.mark.usefixtures("small")
def test_the_full_demo_has_a_row_for_every_loss_and_the_raw_input_once(tmp_path):
    results = run_demo(tmp_path, Demo(full=True, effort=0.01, seeds=2), reporter=Silent())

    counts = Counter((r.task, r.layer) for r in results)
    for task in PROBES:
        assert counts[task, "raw spectrogram"] == 5  # draws; the raw input knows no seed
        assert counts[task, "random embedding"] == 5 * 2
        assert {counts[task, loss] for loss in LOSSES} == {5 * 2}
        layers = list(dict.fromkeys(r.layer for r in results if r.task == task))
        assert layers == ["raw spectrogram", "random embedding", *LOSSES]
        measured = {loss: tuple(r.value for r in results if (r.task, r.layer) == (task, loss)) for loss in LOSSES}
        assert len(set(measured.values())) == len(LOSSES)  # each was trained on its own
    for task in PRETEXT:  # the puzzles of the fixed set are others, and easier
        assert {layer: k for (t, layer), k in counts.items() if t == task} == {
            **dict.fromkeys([name for name in LOSSES if "fixed" not in name], 2), "chance": 1,
        }  # fmt: skip
    assert counts["digit, nearest neighbour", "raw pixels"] == 5
    assert counts["digit, nearest neighbour", "its single score"] == 5 * 2
    assert len(list(tmp_path.glob("*/encoder.json"))) == 2 * (len(LOSSES) + 1)
    assert len([line for line in lines(tmp_path) if line["record"] == "figure"]) == 5
    assert write_report(tmp_path).read_text().count("<table>") == 5


class Interrupter(Silent):
    """Ctrl-C in the middle of the second act: while it trains, or just before it probes."""

    def __init__(self, when: str) -> None:
        self.when, self.acts = when, 0

    def say(self, text: str) -> None:
        self.acts += text.startswith("Act")
        if self.when == "probing" and text.startswith("probing"):
            raise KeyboardInterrupt

    def advance(self, done: int, logs: dict[str, float]) -> None:
        if self.when == "training" and self.acts == 2 and done == 2:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("when", ["training", "probing"])
def test_a_demo_that_was_stopped_goes_on_and_measures_what_it_would_have(tmp_path, when):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_demo(whole, REHEARSAL, reporter=Silent())

    with pytest.raises(KeyboardInterrupt):
        run_demo(broken, REHEARSAL, reporter=Interrupter(when))
    assert not (broken / "results.jsonl").exists()
    assert (broken / "notes-perturbed-0" / "encoder.json").exists() == (when == "probing")
    first = (broken / "digits-0" / "encoder.safetensors").stat().st_mtime_ns
    run_demo(broken, REHEARSAL, reporter=Silent())

    assert numbers(broken) == numbers(whole)
    assert (broken / "digits-0" / "encoder.safetensors").stat().st_mtime_ns == first
    for name in ("digits-0", "notes-perturbed-0"):
        ends = [(place / name / "encoder.safetensors").read_bytes() for place in (whole, broken)]
        assert ends[0] == ends[1]


@pytest.mark.usefixtures("small")
@pytest.mark.errors
def test_a_training_of_another_version_is_not_mixed_in(tmp_path, monkeypatch):
    run_demo(tmp_path, REHEARSAL, reporter=Silent())
    newer = {name: wraps(r)(lambda r=r: replace(r(), dropout=0.3)) for name, r in demo_module.LOSSES.items()}
    monkeypatch.setattr(demo_module, "LOSSES", newer)

    with pytest.raises(RunError, match=r"notes-perturbed-0 was made by another version of its recipe"):
        run_demo(tmp_path, REHEARSAL, reporter=Silent())


# ----------------------------------------------------------------------------------------------- around the demo itself


def stopped(*_, **__):
    raise KeyboardInterrupt("stopped after step 3 of 9; go on with: unshuffle train --resume somewhere")


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "again"),
    [
        ([], ""),
        (["--full"], "--full "),
        (["--full", "--seeds", "2", "--effort", "0.5"], "--full --seeds 2 --effort 0.5 "),
    ],
)
def test_ctrl_c_tells_the_command_that_goes_on(tmp_path, call, monkeypatch, flags, again):
    monkeypatch.setattr(demo_module, "run_demo", stopped)

    done = call("demo", *flags, "--out", tmp_path / "my demo")

    assert done.status == 130
    assert done.err.endswith(f"the demo was stopped; go on with: unshuffle demo {again}--out '{tmp_path}/my demo'.\n")


def test_without_a_folder_the_next_free_one_is_taken(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo-1").mkdir(parents=True)
    monkeypatch.setattr(demo_module, "run_demo", stopped)

    assert "--out runs/demo-2." in call("demo").err


@pytest.mark.errors
@pytest.mark.parametrize("content", ["recipe.json", "photo.png", "results.jsonl"])
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, call, content):
    told = {"recipe": {"type": "AdamW", "lr": 1.0}, "machine": {"type": "Machine"}}
    (tmp_path / content).write_text(json.dumps(told))

    done = call("demo", "--out", tmp_path)

    assert (done.status, done.out) == (1, "")
    assert "holds something else than a demo; give another --out." in " ".join(done.err.split())
    assert [p.name for p in tmp_path.iterdir()] == [content]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--effort", "0"], "--effort must be above 0 and at most 1,000; got 0.0"),
        (["--effort", "nan"], "--effort must be above 0 and at most 1,000; got nan"),
        (["--full", "--seeds", "0"], "--seeds must be from 1 to 1,024; got 0"),
    ],
)
def test_a_demo_of_nothing_is_refused_before_anything_is_made(tmp_path, call, flags, words):
    done = call("demo", *flags, "--out", tmp_path / "new")

    assert done.status == 2
    assert words in done.err
    assert not (tmp_path / "new").exists()


@pytest.mark.errors
def test_a_file_is_no_folder(tmp_path, call):
    (tmp_path / "file").touch()

    done = call("demo", "--out", tmp_path / "file")

    assert done.status == 1
    assert "is a file; give another --out" in " ".join(done.err.split())
