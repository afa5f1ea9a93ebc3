"""Sorted values averaged over random perturbations: expected order statistics.

Sorting is piecewise linear, so its sampled average has a gradient by itself. The exact average is one integral for each
position, over the probability that so many items lie below a point: a Poisson-binomial tail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops import _native
from unshuffle.ops.noise import NamedNoise, Noise, named, resolve
from unshuffle.ops.perturbed import in_parts, once_differentiable


def perturbed_sort(
    values: Float[Tensor, "..."],
    *,
    sigma: float = 1.0,
    noise: NamedNoise | Noise = "gaussian",
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
    dim: int = -1,
) -> Float[Tensor, "..."]:
    r"""Expected sorted values of randomly perturbed ones, ascending.

    .. math:: E_Z\big[\mathrm{sort}(\theta + \sigma Z)\big]_k = \theta_{(k)} + \int 1\{x \ge \theta_{(k)}\} -
              P\big(\text{at least } k \text{ of } \theta_i + \sigma Z_i \le x\big) \, dx

    The derivative by :math:`\theta_i` is the probability that item i comes to stand at position k. Large noise spreads
    the answer: it does not tend to the mean, as that of :func:`~unshuffle.ops.soft_sort` does.

    Args:
        values: (..., n, ...) real numbers; n items along ``dim``. Infinite ones stay at the ends, with gradient 0.
        sigma: scale of the noise, positive, in the units of ``values``. Small is the hard sort.
        noise: the law of the independent perturbations: "gaussian", "gumbel", or, to be sampled, any :class:`Noise`.
        num_samples: None for the exact expectation; a number for the mean over that many draws.
        generator: source of the draws.
        dim: the axis that holds the items.

    Returns:
        Expected sorted values with the shape and dtype of ``values``; their sum is that of ``values`` and of the
        noise's means (which is 0 for Gaussian noise, Euler's constant times sigma for Gumbel noise). A set that holds
        NaN is NaN whole.

        Exact ones are solved in float64, to about 1e-12 sigma beside rounding, whatever the magnitude of the values,
        and so are derivatives of every order. The integral is a sum over a uniform grid, which converges exponentially
        for these smooth integrands. There are about :math:`1.4 \sqrt n` points a sigma, along the range of the values
        and of the noise (long empty stretches left out), and each costs O(n^2): 90 points for ten standard normal
        values and sigma 1, 300 for a hundred; for more than a few hundred values, sample. ``torch.compile`` and
        ``torch.func`` cannot see the range and take the widest, at up to n times the cost.

        Sampled ones are unbiased, and so is their first derivative; there is no second.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: ``sigma`` or ``num_samples`` is not positive, ``noise`` is unknown or has no exact form, or there
            is no such axis.
        RuntimeError: a second derivative of the sampled form was asked for.

    Example:
        >>> perturbed_sort(torch.tensor([5.0, 1.0, 2.0]), sigma=0.1)
        tensor([1., 2., 5.])
        >>> perturbed_sort(torch.zeros(2))  # the larger of two standard normals: 1 / sqrt(pi)
        tensor([-0.5642,  0.5642])

    Source: Berthet et al., "Learning with Differentiable Perturbed Optimizers", NeurIPS 2020, for the idea; the exact
    form is ours. Trefethen & Weideman, "The Exponentially Convergent Trapezoidal Rule", SIAM Review 2014.
    """
    _check.floating("perturbed_sort", "values", values)
    _check.positive("perturbed_sort", "sigma", sigma, learned=True)
    _check.finite("perturbed_sort", "sigma", sigma)
    _check.axis("perturbed_sort", values, dim, of="values")
    _check.random_source("perturbed_sort", generator)
    last = values.movedim(dim, -1)
    spoilt = last.isnan().any(-1, keepdim=True)
    last = last.masked_fill(spoilt, 0.0)
    if num_samples is None:
        ordered = _exact_sort(last, sigma, named("perturbed_sort", noise))
    else:
        num_samples = _check.count("perturbed_sort", "num_samples", num_samples)
        ordered = _sampled_sort(last, sigma, resolve("perturbed_sort", noise), num_samples, generator)
    return ordered.masked_fill(spoilt, torch.nan).movedim(-1, dim).to(values.dtype)


def _sampled_sort(
    values: Tensor, sigma: float, noise: Noise, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    wide = once_differentiable(values.to(torch.promote_types(values.dtype, torch.float32)))
    wide = torch.where(wide.isinf(), wide.detach(), wide)
    z = noise.draw((num_samples, *wide.shape), wide, generator)
    return (wide + sigma * z).sort(dim=-1).values.mean(0)


def _exact_sort(values: Tensor, sigma: float, noise: NamedNoise) -> Tensor:
    if values.numel() == 0:
        return values
    ordered = values.double().sort(dim=-1).values
    shift = sigma * _shift(ordered.diff(dim=-1) / sigma, _LAWS[noise])
    return torch.where(ordered.isinf(), ordered.detach(), ordered + shift)


# ----------------------------------------------------------------------------------------- expected order statistics


@dataclass(frozen=True)
class _Law:
    """Standard noise, as the integral sees it."""

    below: Callable[[Tensor], Tensor]
    """The distribution function."""
    lowest: float
    highest: float
    """Outside of these the distribution function is 0 and 1 in double precision."""
    step: Callable[[int], float]
    """Of the grid for n items. The sharpest of n order statistics are 1 / sqrt(n) wide."""


def _gumbel_below(z: Tensor) -> Tensor:
    return torch.exp(-torch.exp(-z.clamp_min(-6.0)))  # exp(-400) there, with all its derivatives


_LAWS: dict[NamedNoise, _Law] = {
    "gaussian": _Law(torch.special.ndtr, lowest=-8.5, highest=8.5, step=lambda n: 0.7 / math.sqrt(n)),
    "gumbel": _Law(_gumbel_below, lowest=-4.0, highest=38.0, step=lambda n: 0.8 / math.sqrt(n + 9)),
}


def _shift(gaps: Tensor, law: _Law) -> Tensor:
    """How far standard noise moves the expectation of each sorted value, from the n - 1 gaps between them, (..., n)."""
    n = gaps.shape[-1] + 1
    # Items further apart than the noise reaches do not meet: wider gaps change nothing. That of two equal infinities,
    # which is NaN, is a tie.
    widest = law.highest - law.lowest
    gaps = gaps.nan_to_num(nan=0.0, posinf=widest).clamp_max(widest)
    place = torch.nn.functional.pad(gaps, (1, 0)).cumsum(-1)
    span = widest * (n - 1) if _native.transformed() else float(place.detach().max())
    step = law.step(n)
    grid = torch.arange(math.ceil((span + widest) / step) + 1, dtype=place.dtype, device=place.device)
    # The first point at or above each place: where the indicator of the formula begins.
    first = ((place.detach() - law.lowest) / step).ceil()

    def missing(points: slice) -> Tensor:
        x = (law.lowest + step * grid[points]).unsqueeze(-1)
        certain = (grid[points].unsqueeze(-1) >= first.unsqueeze(-2)).to(x.dtype)
        return (certain - _at_least(law.below(x - place.unsqueeze(-2)))).sum(-2)

    total = sum(in_parts(missing, len(grid), room=place.numel() * n))
    # The sum of the indicator alone is the integral from half a step below its first point.
    return law.lowest + step * (first - 0.5 + total) - place


def _at_least(probabilities: Tensor) -> Tensor:
    """Probability that at least 1, …, n of n independent events happen (Poisson-binomial tails), (..., n)."""
    tails = probabilities[..., :0]
    for probability in probabilities.unbind(-1):
        without = torch.nn.functional.pad(tails, (0, 1))
        with_it = torch.nn.functional.pad(tails, (1, 0), value=1.0)
        tails = torch.lerp(without, with_it, probability.unsqueeze(-1))
    return tails
