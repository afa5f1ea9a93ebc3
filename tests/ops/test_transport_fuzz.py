"""Random transport problems of every kind of number: all that is told is what numpy finds in double precision."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import numbers
from scipy.special import logsumexp
from torch import Tensor

from unshuffle.ops import _native, transport
from unshuffle.ops.transport import Transport

KINDS = {"float64": torch.float64, "float32": torch.float32, "half": torch.float16, "brain": torch.bfloat16}
SCALES = (0.0, 3e-7, 1.0, 30.0, 2e4)
"""Of the numbers: all alike, denormal halves, logarithms of probabilities, sharp ones, near the largest half."""
LAYOUTS = ("dense", "apart", "moved", "every other class", "one row for all")


class Problem(NamedTuple):
    """What is given to ``transport``, and in which way it is solved."""

    scores: Tensor
    options: dict[str, Any]
    in_c: bool


class Told(NamedTuple):
    """What numpy says of some offsets: the plan, of rows that are there, and what it is off by."""

    plan: np.ndarray
    levels: np.ndarray
    target: np.ndarray
    rough: float
    """Digits that single precision leaves a logarithm of these sizes."""

    @property
    def missed(self) -> np.ndarray:
        return np.abs(self.plan.sum(0) - self.target)


def laid_out(rows: int, classes: int, layout: str, scale: float, seed: int) -> Tensor:
    """Numbers of both signs, up to twice as large as the largest of these kinds allows; rows lie as asked."""
    drawn = {
        "dense": lambda: numbers(rows, classes, seed=seed),
        "apart": lambda: numbers(rows, classes + 3, seed=seed),
        "moved": lambda: numbers(rows * classes + 1, seed=seed),
        "every other class": lambda: numbers(rows, 2 * classes, seed=seed),
        "one row for all": lambda: numbers(1, classes, seed=seed),
    }[layout]()
    return (scale * drawn).clamp(-65504, 65504)


def viewed(stored: Tensor, rows: int, classes: int, layout: str) -> Tensor:
    """The matrix in what was stored."""
    if layout == "moved":  # the first number lies beside what a machine likes to load
        return stored[1:].view(rows, classes)
    return stored.expand(rows, -1)[:, :: 2 if layout == "every other class" else 1][:, :classes]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Of 1 to 70 rows and 1 to 33 classes, some closed and some pairs forbidden, that have an answer or are stopped."""
    rows, classes = draw(st.integers(1, 70)), draw(st.sampled_from([1, 2, 3, 15, 16, 17, 33]))
    kind, layout, seed = draw(st.sampled_from(list(KINDS))), draw(st.sampled_from(LAYOUTS)), draw(st.integers(0, 10**6))
    stored = laid_out(rows, classes, layout, draw(st.sampled_from(SCALES)), seed).to(KINDS[kind])
    scores = viewed(stored, rows, classes, layout)
    closed = classes > 1 and draw(st.booleans())
    if layout != "one row for all" and draw(st.booleans()):
        holes = numbers(rows, classes, seed=seed + 1) < -0.5
        holes[0] = False  # every class may have a sample, and every sample a class that is not closed
        holes[torch.arange(rows), torch.arange(rows) % (classes - closed) + closed] = False
        scores[holes] = -math.inf
    marginals = 0.1 + numbers(classes, seed=seed + 2).abs()
    marginals[0] *= not closed
    weights = (numbers(rows, seed=seed + 3) + 1).clamp(min=0)
    weights[0] = 1.0
    options: dict[str, Any] = {
        "power": draw(st.sampled_from([1e-3, 1.0, 25.0, 1e4])), "tolerance": draw(st.sampled_from([0.0, 1e-3, 0.1])),
        "class_tolerance": draw(st.sampled_from([math.inf, 1e-2])), "max_iters": draw(st.sampled_from([0, 1, 7, 40])),
        "accelerate": draw(st.booleans()), "spare_memory": draw(st.booleans()),
        "class_marginals": marginals if closed or draw(st.booleans()) else None,
        "sample_marginals": weights if draw(st.booleans()) else None,
        "start": 30 * numbers(classes, seed=seed + 4) if draw(st.booleans()) else None,
    }  # fmt: skip
    return Problem(scores, options, draw(st.booleans()))


def solved(problem: Problem) -> Transport:
    with nullcontext() if problem.in_c else _native.disabled():
        return transport(problem.scores, **problem.options)


def told_by_numpy(problem: Problem, offsets: np.ndarray) -> Told:
    """The plan of these offsets, from the numbers as they are in double precision."""
    values, options = problem.scores.double().numpy(), problem.options
    target, weights = (
        np.ones(count) if given is None else given.double().numpy()
        for given, count in zip((options["class_marginals"], options["sample_marginals"]), values.shape[::-1])
    )
    worth = options["power"] * (values - values.max(1, keepdims=True)) + offsets
    levels = logsumexp(worth, axis=1, keepdims=True)
    size = np.abs(worth[np.isfinite(worth)]).max()
    narrow = problem.scores.dtype != torch.float64
    plan = np.exp(worth - levels) * weights[:, None] / weights.sum()
    levels = levels[:, 0] + options["power"] * values.max(1)
    return Told(plan, levels, target / target.sum(), 1e-5 + 1e-6 * size if narrow else 1e-11 + 1e-14 * size)


@settings(max_examples=300)
@given(problems())
def test_all_that_is_told_of_a_plan_is_what_numpy_says_of_its_offsets(problem):
    found, options = solved(problem), problem.options

    assert found.iterations <= options["max_iters"]
    assert found.converged == (found.error <= options["tolerance"] and found.class_error <= options["class_tolerance"])
    assert found.converged or found.iterations == options["max_iters"]
    assert found.class_offsets.max() == 0
    told = told_by_numpy(problem, found.class_offsets.numpy())
    there = told.plan.sum(1) > 0
    assert (found.labels.numpy() >= 0).tolist() == there.tolist()
    assert np.isneginf(found.sample_offsets.numpy()).tolist() == (~there).tolist()
    if told.rough > 0.1:  # beyond the digits of single precision
        return
    open_classes = told.target > 0
    relative = told.missed[open_classes] / told.target[open_classes]
    np.testing.assert_allclose(found.error, 0.5 * told.missed.sum(), rtol=0, atol=5 * told.rough)
    np.testing.assert_allclose(found.class_error, relative.max(), rtol=5 * told.rough, atol=5 * told.rough)
    levels = np.log(told.plan.sum(1)[there]) - told.levels[there]
    np.testing.assert_allclose(found.sample_offsets.numpy()[there], levels, rtol=1e-6, atol=told.rough)
    np.testing.assert_allclose(found.plan().numpy(), told.plan, rtol=1e-5, atol=1e-7)
    held = told.plan[np.arange(len(there)), found.labels.numpy()][there]
    assert (held >= told.plan.max(1)[there] * (1 - 5 * told.rough)).all()


@settings(max_examples=60)
@given(problems())
def test_where_it_converges_the_plan_is_numpys_solution(problem):
    """Sinkhorn's iteration on the numbers in double precision, until nothing moves."""
    gentle = problem._replace(
        scores=(problem.scores.double() / max(1.0, problem.scores[problem.scores.isfinite()].abs().max()))
        .clamp(min=-3.0).to(problem.scores.dtype),
        options=problem.options | {"power": 3.0, "tolerance": 1e-5, "class_tolerance": 1e-4, "max_iters": 500},
    )  # fmt: skip

    found = solved(gentle)

    offsets = np.where(told_by_numpy(gentle, found.class_offsets.numpy()).target > 0, 0.0, -math.inf)
    for _ in range(500):
        told = told_by_numpy(gentle, offsets)
        shares = np.where(told.target > 0, told.plan.sum(0), 1.0)
        offsets = offsets + np.log(np.where(told.target > 0, told.target, 1.0) / shares)
    assert found.converged
    assert np.abs(found.plan().numpy() - told.plan).sum() < 1e-3
