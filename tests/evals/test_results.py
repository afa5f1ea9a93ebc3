import errno
import json
import multiprocessing
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


@pytest.mark.parametrize("line", ['{"record": "res', "touch ./RAN", "3", "[1]", "[" * 100_000, '"\\ud800', "\x00"])
def test_a_line_that_is_no_json_object_is_left_out_with_a_word(tmp_path, line):
    supersede(tmp_path, [RESULT])
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write(line)
    with pytest.warns(UserWarning, match=r"results.jsonl: left out 1 of 2 lines that are no results"):
        supersede(tmp_path, [FIGURE])
    assert [line["record"] for line in lines(tmp_path)] == ["result", "figure"]


def test_a_line_of_odd_content_stays_as_it_is(tmp_path):
    odd = '{"record": "note", "task": ["a"], "text": "one line \u2028 of a file", "value": NaN}'
    (tmp_path / "results.jsonl").write_text(odd, encoding="utf-8")
    supersede(tmp_path, [FIGURE])
    supersede(tmp_path, [RESULT])
    assert (tmp_path / "results.jsonl").read_text(encoding="utf-8").split("\n")[0] == odd


def test_a_name_that_is_not_utf8_is_written_escaped(tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    supersede(tmp_path, [RESULT._replace(data=name)])
    (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    assert read_run(tmp_path).results[0].data == r"caf\xe9.png"


def test_two_writers_at_once_lose_no_line(tmp_path):
    """Each adds figures of its own, twenty times: read, add, write."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_figures, args=(tmp_path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert {line["file"] for line in lines(tmp_path)} == {f"{name}{k}" for name in "ab" for k in range(20)}


def add_figures(folder, name):
    for k in range(20):
        supersede(folder, [FIGURE._replace(file=f"{name}{k}")])


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
