"""Other ways to the same answers: enumeration, convex programmes, bisection, optimality conditions, matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import isotonic_regression, minimize, nnls
from scipy.special import ndtr


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positions(n: int) -> torch.Tensor:
    return torch.arange(1, n + 1, dtype=torch.float64)


def members(k: int, n: int) -> torch.Tensor:
    """The corner whose permutahedron holds all soft choices of k out of n."""
    return (torch.arange(n) < k).double()


# ---------------------------------------------------------------------------------------------- by enumeration, n <= 6


def projected(point: torch.Tensor, corner: torch.Tensor) -> np.ndarray:
    """The nearest convex combination of all n! orders of ``corner``, a quadratic programme."""
    corners = _corners(corner)
    heavy = 1e4  # weight of "the shares sum to one" beside the squared distance
    system = np.vstack([corners, np.full(corners.shape[1], heavy)])
    shares, _ = nnls(system, np.append(point.numpy(), heavy), maxiter=10_000)
    return corners @ shares


def kl_projected(point: torch.Tensor, corner: torch.Tensor) -> np.ndarray:
    """The convex combination of all n! orders that diverges least from ``exp(point)``, a convex programme."""
    corners = _corners(corner)
    # All combinations have one sum, so a factor on exp(point) changes nothing: the programme stays near one.
    target = point.numpy() - point.numpy().mean()

    def divergence(shares: np.ndarray) -> tuple[float, np.ndarray]:
        mix = np.maximum(corners @ shares, 1e-300)
        excess = np.log(mix) - target
        return float(mix @ (excess - 1)), corners.T @ excess

    count = corners.shape[1]
    found = minimize(
        divergence,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda s: s.sum() - 1, "jac": lambda s: np.ones(count)},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return corners @ found.x


def _corners(corner: torch.Tensor) -> np.ndarray:
    return np.array(sorted(set(itertools.permutations(corner.tolist())))).T


def best_assignment(scores: torch.Tensor) -> torch.Tensor:
    """The permutation matrix, of all n!, that collects the highest score."""
    n = len(scores)
    best = max(itertools.permutations(range(n)), key=lambda places: scores[range(n), places].sum().item())
    return torch.eye(n, dtype=scores.dtype)[list(best)]


# -------------------------------------------------------------------------------------------------------- for any n


def assert_is_the_projection(
    answer: torch.Tensor, point: torch.Tensor, corner: torch.Tensor, *, kl: bool = False
) -> None:
    """The answer lies in the permutahedron of ``corner``, and no corner lies further along the residual.

    The two conditions characterise the minimiser of any convex divergence from ``point``; the residual is its negative
    gradient: ``point - answer`` for the squared distance, ``point - log(answer)`` for the divergence from its exponent.
    """
    residual = point - (answer.log() if kl else answer)
    slack = 1e-9 * (1 + residual.abs().max() * corner.abs().max() * len(corner))
    largest_first = answer.sort(descending=True).values.cumsum(0)
    assert (largest_first <= corner.sort(descending=True).values.cumsum(0) + slack).all()  # majorisation (Rado 1952)
    assert (answer.sum() - corner.sum()).abs() <= slack
    furthest = residual.sort().values @ corner.sort().values  # the rearrangement inequality
    assert furthest - residual @ answer <= slack


def ranked_by_isotonic_regression(values: torch.Tensor, strength: float) -> np.ndarray:
    """Soft ranks (l2) of one set from scipy's isotonic regression, undoing the sort by hand."""
    point = values.numpy() / strength
    order = np.argsort(point)
    ranks = np.empty_like(point)
    ranks[order] = point[order] - isotonic_regression(point[order] - np.arange(1, len(point) + 1), increasing=True).x
    return ranks


def chosen_by_bisection(point: torch.Tensor, k: int, *, kl: bool = False) -> np.ndarray:
    """Soft membership of the k largest: clipped ``point`` (or its exponent), lowered until the sum is k."""
    at = point.numpy()
    if k in (0, len(at)):
        return np.full_like(at, float(k > 0))

    def membership(level: float) -> np.ndarray:
        return np.exp(np.minimum(at - level, 0)) if kl else np.clip(at - level, 0, 1)

    low, high = at.min() - 1, at.max() + np.log(len(at)) + 1  # all are in; less than k are
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if membership(level).sum() > k else (low, level)
    return membership(low)


def balanced_in_logarithms(scores: torch.Tensor, temperature: float, num_iters: int) -> torch.Tensor:
    """Sinkhorn's iterations as they are written down: rows to 1, then columns to n / m, nothing clever; no masks."""
    n, m = scores.shape[-2:]
    log_plan = scores / temperature
    for _ in range(num_iters):
        log_plan = log_plan - log_plan.logsumexp(-1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(-2, keepdim=True) + np.log(n / m)
    return log_plan.exp()


# --------------------------------------------------------------------------------------------------- sorting networks

ALPHA: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "logistic": lambda d, s: 1 / (1 + np.exp(-s * d)),
    "logistic_phi": lambda d, s: 1 / (1 + np.exp(-s * d / (np.abs(d) + 1e-10) ** 0.25)),
    "gaussian": lambda d, s: ndtr(s * d),
    "reciprocal": lambda d, s: 0.5 * (s * d / (2 + np.abs(s * d)) + 1),
    "cauchy": lambda d, s: np.arctan(s * d) / np.pi + 0.5,
    "optimal": lambda d, s: np.where(
        np.abs(s * d) < 0.25,
        s * d + 0.5,
        np.where(s * d > 0, 1 - 1 / np.maximum(16 * s * d, 1), 1 / np.maximum(-16 * s * d, 1)),
    ),
}
"""What share of the first of two values, d below the second, the smaller one keeps."""


def comparators(network: str, n: int) -> list[tuple[int, int]]:
    """All comparators one after the other, as the wires of the smaller and of the larger value."""
    if network == "odd_even":
        return [(wire, wire + 1) for layer in range(n) for wire in range(layer % 2, n - 1, 2)]
    size = 1 << max(n - 1, 0).bit_length()
    left_out = size - n
    return [(low - left_out, high - left_out) for low, high in _bitonic(0, size, True) if min(low, high) >= left_out]


def _bitonic(first: int, size: int, up: bool) -> list[tuple[int, int]]:
    """Batcher's recursion: one half upwards, the other downwards, then merged."""
    if size < 2:
        return []
    half = size // 2
    halves = _bitonic(first, half, True) + _bitonic(first + half, half, False)
    return halves + _merge(first, size, up)


def _merge(first: int, size: int, up: bool) -> list[tuple[int, int]]:
    if size < 2:
        return []
    half = size // 2
    pairs = [(wire, wire + half) for wire in range(first, first + half)]
    met = pairs if up else [(high, low) for low, high in pairs]
    return met + _merge(first, half, up) + _merge(first + half, half, up)


def matrix_of_network(values: np.ndarray, network: str, relaxation: str, steepness: float) -> np.ndarray:
    """The product of one matrix a comparator; items on rows, positions on columns."""
    n = len(values)
    whole, now = np.eye(n), values.astype(np.float64)
    for low, high in comparators(network, n):
        alpha = ALPHA[relaxation](np.array(now[high] - now[low]), steepness)
        swap = np.eye(n)
        swap[[low, low, high, high], [low, high, low, high]] = [alpha, 1 - alpha, 1 - alpha, alpha]
        now, whole = now @ swap, whole @ swap
    return whole
