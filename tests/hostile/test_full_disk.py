"""A disk that is full from any call on stops a run with that error; when there is room, it goes on bit for bit."""

import errno
import random

import pytest
import torch
from hostile_runs import LONG, forked, injected, tiny

TRIES = 150 if LONG else 6


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    tiny.job(out)
    return tiny.remains(out)


def full(run, at):
    """Runs a job on a disk that is full from some call on; 0 if it said so."""

    def job():
        injected(run.parent, at, "full")
        try:
            tiny.job(run)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error  # noqa: PT017
            return
        raise AssertionError(f"the run did not notice that the disk was full from call {at} on")

    return forked(job)


def test_a_full_disk_stops_the_run_and_loses_nothing(expected, tmp_path):
    for at in sorted({0, 3, *random.Random(1).sample(range(150), TRIES)}):
        run = tmp_path / str(at) / "run"
        run.parent.mkdir()
        assert full(run, at) == 0, at
        assert not list(run.rglob("*.part")), at

        tiny.job(run, resume=(run / "recipe.json").exists())

        assert tiny.equal(tiny.remains(run), expected), at
