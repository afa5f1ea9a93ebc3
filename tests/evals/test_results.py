import errno
import json
import re
import sys

import numpy as np
import pytest

from unshuffle.evals import results, stamp, supersede
from unshuffle.report.read import read_run
from unshuffle.types import Figure, Result

RESULT = Result(
    "pitch", "mse", 51.5, 500, 2, "notes", "test", "pretrained", "shuffle", "unshuffle demo", "2 cores", "2026-11-21"
)
FIGURE = Figure("puzzles", "puzzles.npz", "Puzzles", "before, solved, truth")


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_every_line_is_one_record_with_its_fields(tmp_path):
    supersede(tmp_path, [RESULT, FIGURE])
    assert lines(tmp_path) == [{"record": "result", **RESULT._asdict()}, {"record": "figure", **FIGURE._asdict()}]


def test_what_was_there_stays(tmp_path):
    supersede(tmp_path, [RESULT])
    supersede(tmp_path, [FIGURE])
    assert [line["record"] for line in lines(tmp_path)] == ["result", "figure"]


def test_the_report_reads_what_was_written(tmp_path):
    supersede(tmp_path, [RESULT, FIGURE])
    run = read_run(tmp_path)
    assert (run.results, run.figures, run.notes) == ([RESULT], [FIGURE], [])


def test_numpy_numbers_become_plain_ones(tmp_path):
    supersede(tmp_path, [RESULT._replace(value=np.float32(0.5), n=np.int64(7), seed=np.int32(1))])
    assert [(line["value"], line["n"], line["seed"]) for line in lines(tmp_path)] == [(0.5, 7, 1)]


def test_half_a_line_of_an_interrupted_writer_does_not_swallow_the_next(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"record": "res')
    supersede(tmp_path, [FIGURE])
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[1])["record"] == "figure"


@pytest.mark.errors
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named_and_nothing_is_written(tmp_path, value):
    with pytest.raises(
        ValueError, match=r"supersede: `value` .* got (nan|inf) for the mse of task 'pitch', layer 'pretrained', n 500"
    ):
        supersede(tmp_path, [FIGURE, RESULT._replace(value=value)])
    assert not (tmp_path / "results.jsonl").exists()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    supersede(tmp_path, [RESULT])

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        supersede(tmp_path, [FIGURE])
    assert [line["record"] for line in lines(tmp_path)] == ["result"]


def test_a_second_evaluation_takes_the_place_of_the_first(tmp_path):
    other = RESULT._replace(task="family", metric="accuracy", value=0.4)
    supersede(tmp_path, [RESULT, RESULT._replace(n=200), other, FIGURE])
    supersede(tmp_path, [RESULT._replace(value=45.0), FIGURE._replace(title="Again")])
    told = [(line.get("task"), line.get("value"), line.get("title")) for line in lines(tmp_path)]
    assert told == [("family", 0.4, None), ("pitch", 45.0, None), (None, None, "Again")]


def test_superseding_needs_no_earlier_file(tmp_path):
    supersede(tmp_path, [RESULT])
    assert [line["value"] for line in lines(tmp_path)] == [51.5]


def test_the_command_names_no_folder_of_this_machine(monkeypatch):
    argv = ["/home/me/.venv/bin/unshuffle", "eval", "/home/me/runs/a", "--data=/data/my notes", "--k", "5"]
    monkeypatch.setattr(sys, "argv", argv)
    assert stamp("notes", "test", "shuffle").command == "unshuffle eval a '--data=my notes' --k 5"


def test_a_module_is_named_as_it_is_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/lib/unshuffle/__main__.py", "demo"])
    assert stamp("notes", "test", "shuffle").command == "python -m unshuffle demo"


def test_a_stamp_tells_the_kind_of_machine_and_the_day():
    made = stamp("notes", "test", "shuffle")
    assert re.match(r"\d+ cores?, \w+, torch \d+\.\d+", made.machine)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
