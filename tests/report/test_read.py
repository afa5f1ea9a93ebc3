"""A folder is read into values; whatever is broken becomes a note."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from unshuffle.report.read import read_arrays, read_run
from unshuffle.types import Figure


def test_results_and_figures_come_back_as_written(tmp_path, result, write_lines):
    figure = Figure("map", "map.npz", "A map", "Of things")
    write_lines(tmp_path, [result, figure, result._replace(seed=1)])

    run = read_run(tmp_path)

    assert run.results == [result, result._replace(seed=1)]
    assert run.figures == [figure]
    assert run.notes == []


def test_a_cut_line_and_unknown_records_are_skipped_and_counted(tmp_path, result, write_lines):
    write_lines(tmp_path, [result, '{"record": "prophecy"}', "[1, 2]", '{"record": "result", "task": "pro'])

    run = read_run(tmp_path)

    assert run.results == [result]
    cut, unknown = run.notes
    assert cut.startswith("1 line of results.jsonl could not be read")
    assert unknown.startswith("2 lines of results.jsonl")


@pytest.mark.parametrize("line", ['{"record": "result", "task": "probe"}', "\0", "[" * 100_000, "1e", '"\\ud800'])
def test_no_line_can_stop_the_reading(tmp_path, result, write_lines, line):
    write_lines(tmp_path, [line, result])

    assert read_run(tmp_path).results == [result]


def test_a_result_with_an_impossible_number_is_counted_as_broken(tmp_path, result, write_lines):
    broken = json.dumps({"record": "result", **result._asdict(), "value": None})
    write_lines(tmp_path, [broken, broken.replace("null", "1" + "0" * 400)])

    run = read_run(tmp_path)

    assert run.results == []
    assert run.notes[0].startswith("2 lines")


def test_the_last_line_that_names_a_picture_wins(tmp_path, write_lines):
    old, new = Figure("map", "m.npz", "Old", ""), Figure("map", "m.npz", "New", "")
    write_lines(tmp_path, [old, new])

    assert read_run(tmp_path).figures == [new]


def test_metrics_become_series_without_their_empty_cells(full_run):
    own, digits, notes = read_run(full_run).metrics

    assert (own.name, digits.name, notes.name) == ("", "digits", "notes")
    assert list(own.series) == [
        ("loss", "train"),
        ("loss", "holdout"),
        ("partial_ranks", "holdout"),
        ("seconds", "train"),
    ]
    np.testing.assert_array_equal(own.series["loss", "train"], [[1, 2], [2.5, 2.0]])
    np.testing.assert_array_equal(own.series["partial_ranks", "holdout"], [[2], [0.4]])


def test_half_a_last_row_of_metrics_is_left_out_and_noted(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,epoch,split,loss\n1,0,train,2.5\n2,0,train,19")

    run = read_run(tmp_path)

    np.testing.assert_array_equal(run.metrics[0].series["loss", "train"], [[1], [2.5]])
    assert run.notes == ["metrics.csv: the last line is cut short and was skipped."]


@pytest.mark.parametrize("text", ["", "step,loss\n", "epoch,loss\n1,2\n", "\0\n\0\n", "step,loss\n1,2,3,4\nx,y\n\n5\n"])
def test_odd_metrics_are_no_error(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)

    assert read_run(tmp_path).results == []


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_broken_recipe_is_noted_and_the_folder_gives_the_title(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)

    run = read_run(tmp_path)

    assert run.recipe == {}
    assert run.title == tmp_path.name
    assert run.notes[0].startswith("recipe.json")


def test_the_title_of_the_current_folder_is_its_name(full_run, monkeypatch):
    monkeypatch.chdir(full_run / "digits")

    assert read_run(".").title == "digits"


@pytest.mark.errors
@pytest.mark.parametrize(("name", "reason"), [("empty", "has none of them"), ("absent", "is no folder")])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path, name, reason):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ValueError, match=rf"recipe.json, results.jsonl, metrics.csv; got '.*{name}', which {reason}"):
        read_run(tmp_path / name)


@pytest.mark.parametrize("prefix", ["", "figures/"])
def test_arrays_are_found_below_figures(full_run, arrays, prefix):
    found = read_arrays(full_run, Figure("map", f"{prefix}map.npz", "", ""))

    np.testing.assert_array_equal(found["xy"], arrays["map"]["xy"])


@pytest.mark.errors
@pytest.mark.parametrize("file", ["../secret.npz", "/etc/passwd", "figures/../../secret.npz"])
def test_arrays_outside_the_run_are_refused(full_run, file):
    np.savez(full_run / "secret.npz", x=np.zeros(1))

    with pytest.raises(ValueError, match="outside"):
        read_arrays(full_run, Figure("map", file, "", ""))


class _Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle ran",)


@pytest.mark.errors
def test_pickles_never_run(full_run):
    (full_run / "figures" / "bare.npz").write_bytes(pickle.dumps(_Trap()))
    np.savez(full_run / "figures" / "wrapped.npz", x=np.array([_Trap()], dtype=object))

    for file in ("bare.npz", "wrapped.npz"):
        with pytest.raises(ValueError, match="pickled objects, which are never loaded"):
            read_arrays(full_run, Figure("map", file, "", ""))


@pytest.mark.errors
def test_a_bare_array_is_refused(full_run):
    with open(full_run / "figures" / "bare.npz", "wb") as file:
        np.save(file, np.zeros(3))

    with pytest.raises(ValueError, match=r"must be an \.npz of named arrays"):
        read_arrays(full_run, Figure("map", "bare.npz", "", ""))
