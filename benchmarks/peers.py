"""The peers that the operators are measured beside, each called in its own way; every one may be absent.

The Monte Carlo peers are ours: Shuffle to Learn's ten draws, in the fastest PyTorch we could write.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

NUM_SAMPLES = 10  # Shuffle to Learn, Appendix A.1
# Up to here comparing all pairs, items first, beats sorting many short rows.
_PAIRS_LIMIT = 32

MODULES = {"torchsort": "torchsort", "softtorch": "softtorch", "fast-soft-sort": "fast_soft_sort.pytorch_ops"}
DIFFERS = {
    ("soft_rank_kl", "softtorch"): "its entropic rank is another function: the logarithmic projection of (1, ..., n) "
    "itself, not the exponential of that of its logarithms",
}


@cache
def absent() -> dict[str, str]:
    """The peers that cannot be imported here, and why."""
    found = {peer: error for peer, module in MODULES.items() if (error := _import_error(module))}
    if "fast-soft-sort" in found:
        found["fast-soft-sort"] += "; the package index has no release of it"
    return found


def _import_error(module: str) -> str:
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return ""


def soft(operator: str, peer: str, strength: float, n: int) -> Callable[[Tensor], Tensor]:
    """A peer's soft ranks or soft sorting, ascending from 1, at the strength that means the same to us."""
    kind, regularization = operator.rsplit("_", 1)
    module = importlib.import_module(MODULES[peer])
    build = {"torchsort": _torchsort, "softtorch": _softtorch, "fast-soft-sort": _fast_soft_sort}[peer]
    return build(module, kind, regularization, strength, n)


def _torchsort(
    module: ModuleType, kind: str, regularization: str, strength: float, n: int
) -> Callable[[Tensor], Tensor]:
    function = getattr(module, kind)
    return lambda values: function(values, regularization=regularization, regularization_strength=strength)


def _softtorch(
    module: ModuleType, kind: str, regularization: str, strength: float, n: int
) -> Callable[[Tensor], Tensor]:
    """Its vertex is (0, ..., n - 1) / (n - 1), shifted for ranks; without that factor the strengths are the same."""
    options: dict[str, Any] = {
        "dim": -1,
        "method": "fast_soft_sort",
        "mode": {"l2": "c0", "kl": "smooth"}[regularization],
        "standardize": False,
    }
    span = max(n - 1, 1)
    if kind == "soft_rank":
        return lambda values: module.rank(values, softness=strength * span, descending=False, **options)
    # Ascending is here descending of the negated, negated: the same for L2, not for KL.
    return lambda values: -module.sort(-values, softness=strength / span, descending=True, **options)[0]


def _fast_soft_sort(
    module: ModuleType, kind: str, regularization: str, strength: float, n: int
) -> Callable[[Tensor], Tensor]:
    function = getattr(module, kind)
    return lambda values: function(values, regularization=regularization, regularization_strength=strength)


def monte_carlo_rank(scores: Tensor, *, sigma: float, num_samples: int = NUM_SAMPLES) -> Tensor:
    """Mean ranks over Gaussian draws, (batch, n); the gradient is that of Berthet et al. 2020, Proposition 3.1."""
    ranks = _MonteCarloRank.apply(scores, sigma, num_samples)
    assert isinstance(ranks, Tensor)  # `apply` has no return type
    return ranks


def monte_carlo_loss(scores: Tensor, ranks: Tensor, *, sigma: float, num_samples: int = NUM_SAMPLES) -> Tensor:
    """The Fenchel-Young loss as public ports have it: sampled gradient; the value is the gradient's square."""
    loss = _MonteCarloLoss.apply(scores, ranks, sigma, num_samples)
    assert isinstance(loss, Tensor)
    return loss


class _MonteCarloRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores: Tensor, sigma: float, num_samples: int) -> Tensor:
        ranks, z, ctx.items = _sampled_ranks(scores, sigma, num_samples)
        ctx.sigma = sigma
        ctx.save_for_backward(ranks, z)
        return _mean(ranks, ctx.items)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        ranks, z = ctx.saved_tensors
        lever = (ranks * _spread(gradient, ctx.items)).sum(ctx.items, keepdim=True)
        return _mean(lever * z, ctx.items) / ctx.sigma, None, None


class _MonteCarloLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores: Tensor, ranks: Tensor, sigma: float, num_samples: int) -> Tensor:
        sampled, _, items = _sampled_ranks(scores, sigma, num_samples)
        wrong = _mean(sampled, items) - ranks
        ctx.save_for_backward(wrong)
        return wrong.square().sum(-1)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (wrong,) = ctx.saved_tensors
        return gradient.unsqueeze(-1) * wrong, None, None, None


def _sampled_ranks(scores: Tensor, sigma: float, num_samples: int) -> tuple[Tensor, Tensor, int]:
    """Ranks of every draw, the draws, and their axis of items: 0 in (n, draws, batch), -1 in (draws, batch, n)."""
    batch, n = scores.shape
    if n <= _PAIRS_LIMIT:
        z = torch.randn(n, num_samples, batch, dtype=scores.dtype)
        shaken = torch.add(_spread(scores, 0), z, alpha=sigma)
        return (shaken.unsqueeze(1) <= shaken.unsqueeze(0)).sum(0, dtype=torch.int32).to(scores.dtype), z, 0
    z = torch.randn(num_samples, batch, n, dtype=scores.dtype)
    order = torch.add(scores, z, alpha=sigma).argsort(-1)
    counted = torch.arange(1, n + 1, dtype=scores.dtype).expand_as(z)
    return torch.empty_like(z).scatter_(-1, order, counted), z, -1


def _spread(rows: Tensor, items: int) -> Tensor:
    return rows.unsqueeze(0) if items == -1 else rows.T.unsqueeze(1)


def _mean(draws: Tensor, items: int) -> Tensor:
    return draws.mean(0) if items == -1 else draws.mean(1).T
