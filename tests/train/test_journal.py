import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unshuffle.train.journal import Journal


def curve(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, round(event.value, 3)) for event in events.Scalars("train/loss")]


def write(folder, steps, *, upto=0, shift=0.0):
    journal = Journal(folder, upto=upto)
    for step in steps:
        journal.write(step, 0, "train", 1.0, 0.1, {"loss": step + shift})
    journal.close()


def test_tensorboard_shows_what_was_written(tmp_path):
    write(tmp_path, [1, 2, 3])
    assert curve(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 4


def test_tensorboard_forgets_what_a_resumed_run_writes_again(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [2, 3, 4], upto=1, shift=0.5)
    assert curve(tmp_path) == [(1, 1.0), (2, 2.5), (3, 3.5), (4, 4.5)]


def test_points_are_on_disk_before_the_run_ends(tmp_path):
    journal = Journal(tmp_path, upto=0)
    journal.write(1, 0, "train", 1.0, 0.1, {"loss": 7.0})
    assert curve(tmp_path) == [(1, 7.0)]
    journal.close()


def test_without_tensorboard_there_is_the_table(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "unshuffle.train.board", None)
    write(tmp_path, [1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv"]
