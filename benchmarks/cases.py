"""What `ops.py` measures: the cases, their inputs, and whether two implementations compute the same function.

Outputs and gradients are compared in float64 before any timing; a peer whose outputs differ is not timed, one whose
gradients differ is timed without them. How far the float32 answers of both are from our float64 one is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import peers
from unshuffle import losses, ops

Operator = Callable[[Tensor], Tensor]

SIZES = ((32, 10), (512, 9), (128, 128), (16, 1024), (4, 16384), (1, 1_000_000))
L2_TARGETS = (1.8, 2.0, 2.0, 2.5, 2.5, 2.5)
KL_TARGETS = (2.5, 2.5, 2.5, 2.5, 2.5, 1.5)
OTHER_TARGET = 5.0  # SoftTorch and fast-soft-sort
MONTE_CARLO_TARGET = 1.5
PAIRS = ((512, 9), (32, 100), (8, 1000))
SWEEP = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

_LAWS: dict[str, Callable[[int], float]] = {
    "normal": lambda n: 1.0,
    "dense": lambda n: n / 8,
    "mixed": lambda n: n / 4,
    "spread": lambda n: 4.0 * n,
}

# Relative to the largest magnitude of our float64 answer.
_SAME_VALUE, _SAME_GRADIENT = 1e-8, 1e-6
_OUR_FLOAT32 = 2e-6
# Monte Carlo peers: standard errors of the mean over repeats, plus what so few draws never see.
_REPEATS, _DRAWS, _DEVIATIONS, _UNSEEN = 32, 1000, 6.0, 1e-3
_MOST_DRAWN = 500_000  # numbers a repeat


@dataclass(frozen=True)
class Case:
    """One line of the table: an operator and a peer, at one size."""

    operator: str
    peer: str
    batch: int
    n: int
    strength: float = 1.0
    """Regularisation strength, or sigma."""
    law: str = "mixed"
    """Distinct draws from a normal law of deviation 1 (normal), n / 8 (dense), n / 4 (mixed) or 4 n (spread)."""
    target: float | None = None

    def inputs(self) -> Tensor:
        """(batch, n) float32 numbers, distinct in every row: at ties a sort has no gradient to compare."""
        torch.manual_seed(self.n)
        rows = (_LAWS[self.law](self.n) * torch.randn(self.batch, 2 * self.n + 8)).unbind()
        distinct = (row.unique() for row in rows)
        return torch.stack([row[torch.randperm(len(row))[: self.n]] for row in distinct])

    def ours(self) -> Operator:
        """Our operator with this case's options."""
        if self.operator in ("perturbed_rank", "crossover"):
            return partial(ops.perturbed_rank, sigma=self.strength)
        if self.operator == "fenchel_young":
            return partial(losses.fenchel_young, ranks=self._true_ranks(), sigma=self.strength)
        kind, regularization = self.operator.rsplit("_", 1)
        function = {"soft_rank": ops.soft_rank, "soft_sort": ops.soft_sort}[kind]
        return partial(function, regularization=regularization, regularization_strength=self.strength)

    def theirs(self) -> Operator:
        """The peer's, for the same function (or, by Monte Carlo, for its estimate)."""
        if self.operator in ("perturbed_rank", "crossover"):
            return partial(peers.monte_carlo_rank, sigma=self.strength)
        if self.operator == "fenchel_young":
            return partial(peers.monte_carlo_loss, ranks=self._true_ranks(), sigma=self.strength)
        return peers.soft(self.operator, self.peer, self.strength, self.n)

    def _true_ranks(self) -> Tensor:
        return torch.arange(1.0, self.n + 1).repeat(self.batch, 1)


def all_cases() -> list[Case]:
    """Every case, in the order of the table."""
    cases = []
    for operator, law, targets in (("soft_rank_l2", "mixed", L2_TARGETS), ("soft_rank_kl", "normal", KL_TARGETS)):
        cases += [Case(operator, "torchsort", *size, law=law, target=t) for size, t in zip(SIZES, targets)]
    for law in ("normal", "spread"):
        cases += [
            Case("soft_rank_l2", "torchsort", *size, law=law, target=t) for size, t in zip(SIZES[2:4], L2_TARGETS[2:4])
        ]
    for peer in ("softtorch", "fast-soft-sort"):
        cases += [Case("soft_rank_l2", peer, *size, target=OTHER_TARGET) for size in SIZES]
        sizes = SIZES[2:3] if ("soft_rank_kl", peer) in peers.DIFFERS else SIZES
        cases += [Case("soft_rank_kl", peer, *size, law="normal", target=OTHER_TARGET) for size in sizes]
    for operator, law in (("soft_sort_l2", "mixed"), ("soft_sort_kl", "dense")):
        cases += [Case(operator, "torchsort", *size, law=law) for size in SIZES]
    for sigma in (0.1, 1.0):
        targets = (MONTE_CARLO_TARGET, MONTE_CARLO_TARGET, None)
        cases += [Case("perturbed_rank", "monte-carlo", *size, sigma, "normal", t) for size, t in zip(PAIRS, targets)]
    for sigma in (0.1, 1.0):
        cases += [Case("fenchel_young", "monte-carlo", *size, sigma, "normal") for size in PAIRS]
    for sigma in (0.1, 1.0):
        cases += [Case("crossover", "monte-carlo", max(1, 8192 // n), n, sigma, "normal") for n in SWEEP]
    return cases


OPERATORS = tuple(dict.fromkeys(case.operator for case in all_cases()))


def value_and_gradient(operator: Operator, values: Tensor, lever: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """An operator's answer at ``values``, and the gradient of its product with ``lever`` (drawn once a shape)."""
    values = values.detach().requires_grad_()
    answer = operator(values)
    (gradient,) = torch.autograd.grad(answer, values, pull(answer) if lever is None else lever)
    return answer.detach(), gradient


def pull(answer: Tensor) -> Tensor:
    """A random incoming gradient, the same for every answer of this shape."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(answer.shape, generator=generator, dtype=torch.float32).to(answer.dtype)


def compare(case: Case, values: Tensor) -> dict[str, object]:
    """Compares ours and the peer's, before timing.

    Returns:
        ``verdict`` ("agree", "values agree", "differ" or "our float32 is off"), and the errors behind it: largest
        absolute ones of the values and of the gradients, relative to the largest magnitude of ours in float64.
    """
    if case.peer == "monte-carlo":
        return _compare_in_expectation(case, values)
    truth = value_and_gradient(case.ours(), values.double())
    found = {
        "ours_float32": _errors(case.ours(), values, truth),
        "peer_float32": _errors(case.theirs(), values, truth),
        "peer_float64": _errors(case.theirs(), values.double(), truth),
    }
    blocks = _blocks(case, values[:1].double(), truth[0][:1])
    return {"verdict": _verdict(**found), "errors": found, "blocks": blocks}


def _verdict(ours_float32: list[float], peer_float32: list[float], peer_float64: list[float]) -> str:
    """What (value, gradient) errors amount to; comparisons with NaN are false."""
    if not all(error <= _OUR_FLOAT32 for error in ours_float32):
        return "our float32 is off"
    if not peer_float64[0] <= _SAME_VALUE:
        return "differ"
    same_gradients = peer_float64[1] <= _SAME_GRADIENT and math.isfinite(peer_float32[1])
    return "agree" if same_gradients else "values agree"


def _errors(operator: Operator, values: Tensor, truth: tuple[Tensor, Tensor]) -> list[float]:
    found = value_and_gradient(operator, values)
    return [float(f"{_relative(mine, true):.1e}") for mine, true in zip(found, truth)]


def _relative(found: Tensor, true: Tensor) -> float:
    scale = true.abs().max().item()
    error = (found.double() - true).abs().max().item()
    return error / scale if scale else error


def _blocks(case: Case, row: Tensor, answer: Tensor) -> int:
    """How many blocks the first row falls into: 1 when all is pooled, n when the answer is hard."""
    if case.operator.startswith("soft_rank"):
        fit = row / case.strength - (answer.log() if case.operator.endswith("kl") else answer)
    else:
        fit = torch.arange(1, case.n + 1, dtype=row.dtype) / case.strength - answer
    return 1 + int((fit.sort(dim=-1).values.diff() > 1e-7).sum())


def _compare_in_expectation(case: Case, values: Tensor) -> dict[str, object]:
    """Whether the mean of many Monte Carlo answers is ours, on the first row; of the loss, only its gradient."""
    single = Case(case.operator, case.peer, 1, case.n, case.strength, case.law)
    sampled = partial(single.theirs(), num_samples=min(_DRAWS, _MOST_DRAWN // case.n))
    truth = value_and_gradient(single.ours(), values[:1].double())
    ours_float32 = [float(f"{_relative(mine, true):.1e}") for mine, true in zip(_float32(single, values), truth)]
    draws = [value_and_gradient(sampled, values[:1]) for _ in range(_REPEATS)]
    parts = (1,) if case.operator == "fenchel_young" else (0, 1)
    agree = all(_meets(torch.stack([draw[part] for draw in draws]).double(), truth[part]) for part in parts)
    exact = all(error <= _OUR_FLOAT32 for error in ours_float32)
    verdict = "our float32 is off" if not exact else "agree" if agree else "differ"
    return {"verdict": verdict, "errors": {"ours_float32": ours_float32}}


def _float32(case: Case, values: Tensor) -> tuple[Tensor, Tensor]:
    return value_and_gradient(case.ours(), values[:1])


def _meets(draws: Tensor, true: Tensor) -> bool:
    error = draws.std(0) / math.sqrt(len(draws))
    allowed = _DEVIATIONS * error + _UNSEEN * true.abs().max()
    return bool(((draws.mean(0) - true).abs() <= allowed).all())
