import numpy as np
import pytest

from unshuffle.evals import Stamp, Task, compare, label_subsets
from unshuffle.types import Result

STAMP = Stamp("toy", "test", "none", "pytest", "a machine", "2026-11-21")


@pytest.fixture
def representations():
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((60, 3)), rng.standard_normal((20, 3))
    return {"good": (train, test), "noise": (rng.standard_normal((60, 3)), rng.standard_normal((20, 3)))}


@pytest.fixture
def tasks(representations):
    train, test = representations["good"]
    return [
        Task("sign", "classification", (train[:, 0] > 0).astype(int), (test[:, 0] > 0).astype(int)),
        Task("height", "regression", train[:, 1], test[:, 1]),
    ]


def test_a_subset_holds_that_many_different_rows():
    for n, _, rows in label_subsets(50, [10, 20], draws=3, seed=0):
        assert len(set(rows.tolist())) == n
        assert 0 <= rows.min() <= rows.max() < 50


def test_every_draw_is_fresh():
    subsets = label_subsets(1000, [10, 20], draws=3, seed=0)
    assert len({tuple(rows[:10].tolist()) for _, _, rows in subsets}) == 6


def test_draws_depend_on_seed_count_and_draw_alone():
    few = {(n, draw): rows.tolist() for n, draw, rows in label_subsets(50, [10], draws=2, seed=3)}
    many = {(n, draw): rows.tolist() for n, draw, rows in label_subsets(50, [5, 10, 20], draws=4, seed=3)}
    assert few.items() <= many.items()
    assert few != {(n, draw): rows.tolist() for n, draw, rows in label_subsets(50, [10], draws=2, seed=4)}


def test_all_rows_are_taken_once():
    subsets = label_subsets(8, [4, 8, 100], draws=2, seed=0)
    assert [(n, draw) for n, draw, _ in subsets] == [(4, 0), (4, 1), (8, 0)]
    assert subsets[-1].indices.tolist() == list(range(8))


def test_balanced_draws_take_as_many_rows_of_each_class_while_it_has_them():
    classes = np.repeat([3, 5, 7], [2, 10, 20])
    for n, _, rows in label_subsets(32, [6, 12], draws=3, seed=0, classes=classes):
        assert len(set(rows.tolist())) == n
        counts = sorted((classes[rows] == c).sum() for c in (3, 5, 7))
        assert counts == {6: [2, 2, 2], 12: [2, 5, 5]}[n]


@pytest.mark.errors
def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match=r"label_subsets: .* must be at least 1; got 8, 1 and \[0\]"):
        label_subsets(8, [0], draws=1, seed=0)


def test_there_is_one_result_for_each_representation_task_and_subset(representations, tasks):
    results = compare(representations, tasks, [20, 60], draws=2, stamp=STAMP)
    keys = [(r.task, r.layer, r.n, r.seed) for r in results]
    assert len(set(keys)) == len(keys) == 2 * 2 * 3
    assert {(r.task, r.metric) for r in results} == {("sign", "accuracy"), ("height", "mse")}
    assert all(isinstance(r, Result) and r[5:7] == ("toy", "test") and r[8:] == STAMP[2:] for r in results)


def test_every_representation_gets_the_same_rows_and_the_same_probe(representations, tasks):
    seen = []

    def spy(features, targets, test_features, *, task, seed):
        seen.append((task, seed, targets.tolist()))
        return np.zeros(len(test_features))

    compare(representations, tasks, [10, 60], draws=2, seed=5, probe=spy, stamp=STAMP)
    assert seen[::2] == seen[1::2]


def test_features_and_targets_of_a_row_stay_together(tasks):
    def spy(features, targets, test_features, *, task, seed):
        assert (tasks[0].train[features[:, 0]] == targets).all()
        return np.zeros(len(test_features))

    numbered = {"numbered": (np.arange(60)[:, None], np.arange(20)[:, None])}
    compare(numbered, tasks[:1], [10], draws=3, probe=spy, stamp=STAMP)


def test_the_representation_that_holds_the_answer_wins(representations, tasks):
    value = {(r.task, r.layer): r.value for r in compare(representations, tasks, [60], stamp=STAMP)}
    assert value["sign", "good"] >= 0.9 > value["sign", "noise"]
    assert value["height", "good"] < 0.01 < value["height", "noise"]


def test_the_same_seed_gives_the_same_results(representations, tasks):
    first, again = (compare(representations, tasks, [20], draws=2, seed=1, stamp=STAMP) for _ in range(2))
    assert first == again


def test_progress_is_told_before_each_fit(representations, tasks):
    told = []
    compare(representations, tasks, [20, 60], draws=2, stamp=STAMP, progress=told.append)
    assert len(told) == 12
    assert told[0] == "sign: good, 20 labels, draw 1"


@pytest.mark.errors
def test_unequal_numbers_of_rows_are_named(representations, tasks):
    representations["short"] = (np.zeros((59, 3)), np.zeros((20, 3)))
    with pytest.raises(ValueError, match=r"compare: .* representation 'short' 59 and 20, task 'sign' 60 and 20"):
        compare(representations, tasks, [20], stamp=STAMP)
