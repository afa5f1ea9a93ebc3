import csv

from unshuffle.train.metrics import Metrics

HEAD = "step,epoch,split,seconds,lr,loss\n"


def written(path, steps, *, upto=0):
    metrics = Metrics(path, upto=upto)
    for step in steps:
        metrics.write(step, 0, "train", 1.5, 0.1, {"loss": step / 10})


def steps(path):
    with open(path, newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_a_row_holds_what_was_logged(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = Metrics(path, upto=0)
    metrics.write(10, 2, "train", 1.23456, 1e-3, {"loss": 0.1234567, "partial_ranks": 0.5})
    metrics.write(10, 2, "holdout", 2.0, None, {"loss": 3.0, "unknown": 1.0})
    assert path.read_text().splitlines() == [
        "step,epoch,split,seconds,lr,loss,partial_ranks",
        "10,2,train,1.235,0.001,0.123457,0.5",
        "10,2,holdout,2.000,,3,",
    ]


def test_a_row_is_on_disk_at_once(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv", upto=0)
    for step in (1, 2):
        metrics.write(step, 0, "train", 0.0, 0.1, {"loss": 1.0})
        assert steps(tmp_path / "metrics.csv")[-1] == step


def test_rows_of_later_steps_are_cut_back(tmp_path):
    path = tmp_path / "metrics.csv"
    written(path, [1, 2, 3, 4])
    written(path, [3, 4, 5], upto=2)
    assert steps(path) == [1, 2, 3, 4, 5]
    assert path.read_text().count("step") == 1


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    for torn in ("3", "3,0,tr", "3,0,train,1.5,0.1"):
        path.write_text(HEAD + "1,0,train,1.5,0.1,0.5\n2,0,train,1.5,0.1,0.5\n" + torn)
        Metrics(path, upto=9)
        assert steps(path) == [1, 2]


def test_a_torn_first_line_is_no_file(tmp_path):
    path = tmp_path / "metrics.csv"
    for torn in ("", "step,epo", HEAD[:10]):
        path.write_text(torn)
        written(path, [1])
        assert path.read_text() == HEAD + "1,0,train,1.500,0.1,0.1\n"


def test_cutting_back_to_the_start_leaves_the_columns(tmp_path):
    path = tmp_path / "metrics.csv"
    written(path, [1, 2])
    Metrics(path, upto=0)
    assert path.read_text().splitlines() == [HEAD.strip()]
