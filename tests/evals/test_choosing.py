"""A setting is chosen on the labelled rows alone, by folds that are even within every class."""

import numpy as np
import pytest

from unshuffle.evals.choosing import choose, deal

ROWS, NAMES = np.arange(12.0)[:, None], np.arange(12) % 2


def right_for(*best):
    """A learner that is right for some settings and wrong for the others."""

    def fit(jobs, settings):
        return [[NAMES[job.others[:, 0].astype(int)] ^ (s not in best) for s in settings] for job in jobs]

    return fit


def test_folds_are_even_within_every_class():
    labels = np.repeat([0, 1, 2], [9, 6, 4])
    fold_of = deal(labels, "classification", 3, seed=0)
    counts = np.array([np.bincount(fold_of[labels == c], minlength=3) for c in range(3)])
    assert (counts.max(1) - counts.min(1) <= 1).all()


def test_the_best_setting_is_taken():
    options = {"task": "classification", "seed": 0, "folds": 3}
    assert choose(right_for(10.0), ROWS, NAMES, (0.1, 1.0, 10.0), default=1.0, **options) == 10.0


@pytest.mark.parametrize(("default", "expected"), [(2.0, 1.0), (0.02, 0.01), (50.0, 10.0)])
def test_of_equally_good_settings_the_nearest_to_the_default_is_taken(default, expected):
    settings = (0.01, 0.1, 1.0, 10.0)
    options = {"task": "classification", "seed": 0, "folds": 3}
    assert choose(right_for(*settings), ROWS, NAMES, settings, default=default, **options) == expected


def test_numbers_are_judged_by_their_squared_error():
    def fit(jobs, settings):
        return [[job.others[:, 0] + s for s in settings] for job in jobs]

    options = {"task": "regression", "seed": 0, "folds": 4}
    assert choose(fit, ROWS, ROWS[:, 0], (3.0, 0.5, 1.0), default=3.0, **options) == 0.5


def test_every_row_is_held_out_once_and_never_seen_meanwhile():
    asked = []

    def fit(jobs, settings):
        asked.extend(jobs)
        return [[job.others[:, 0] for _ in settings] for job in jobs]

    choose(fit, ROWS, ROWS[:, 0], (1.0, 2.0), default=1.0, task="regression", seed=0, folds=5)
    assert sorted(np.concatenate([job.others[:, 0] for job in asked])) == ROWS[:, 0].tolist()
    for job in asked:
        assert not set(job.features[:, 0]) & set(job.others[:, 0])
        assert (job.features[:, 0] == job.targets).all()


def test_where_nothing_can_be_held_out_the_default_is_taken_unasked():
    def fit(jobs, settings):
        raise AssertionError("asked")

    options = {"task": "classification", "seed": 0, "folds": 3}
    assert choose(fit, ROWS[:3], np.arange(3), (0.1, 10.0), default=1.0, **options) == 1.0
