"""A run that is killed before any call that changes its folder goes on, and ends bit for bit like one that was not."""

import random

import pytest
import torch
from hostile_runs import LONG, forked, injected, tiny

TRIES = 200 if LONG else 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What is left of a run that nobody disturbed, and how many calls it makes."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    counted = folder.parent / "calls"
    watch = lambda count: counted.write_text(str(count))  # noqa: E731
    assert forked(lambda: (injected(folder, 10**9, "kill", then=watch), tiny.job(folder / "run"))) == 0
    return tiny.remains(folder / "run"), int(counted.read_text())


def places(calls: int) -> list[int]:
    """The first calls, the last, and some in between."""
    drawn = random.Random(0).sample(range(calls), min(TRIES, calls))
    return sorted({0, 1, calls - 1, *drawn})


def test_a_run_that_is_killed_at_any_call_goes_on(whole, tmp_path):
    expected, calls = whole
    assert calls > 100
    for at in places(calls):
        run = tmp_path / str(at) / "run"
        run.parent.mkdir()
        assert forked(lambda: (injected(run.parent, at, "kill"), tiny.job(run))) == 9, at  # noqa: B023

        tiny.job(run, resume=(run / "recipe.json").exists())

        assert tiny.equal(tiny.remains(run), expected), at
        assert not list((run / "checkpoints").glob(".unshuffle-*")), at


def test_a_run_that_is_killed_again_and_again_goes_on(whole, tmp_path):
    expected, calls = whole
    run, step = tmp_path / "run", calls // 4
    for at in range(step, 6 * step, step):
        resume = (run / "recipe.json").exists()
        if forked(lambda: (injected(tmp_path, at // 2, "kill"), tiny.job(run, resume=resume))) == 0:  # noqa: B023
            break

    tiny.job(run, resume=True)

    assert tiny.equal(tiny.remains(run), expected)
