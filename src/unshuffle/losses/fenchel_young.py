"""The Fenchel-Young loss of perturbed ranks: convex in the scores, its gradient is expected minus true ranks.

The public ports of the original return ``|y_eps - y|^2`` as its value, whose derivative is another; here the value is
the loss itself, so its numerical and its analytic gradient agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check


def fenchel_young(
    scores: Float[Tensor, "*batch n"], ranks: Float[Tensor, "*batch n"], *, sigma: float = 1.0
) -> Float[Tensor, "*batch"]:
    r"""Measures exactly how far the perturbed ranks of ``scores`` are from ``ranks``; no sampling.

    .. math:: F_\sigma(\theta) - \langle\theta, y\rangle, \qquad
              F_\sigma(\theta) = \sum_i \theta_i + \sum_{i<j} E \max(\theta_i + \sigma Z_i, \theta_j + \sigma Z_j)

    with standard normal :math:`Z`. The gradient is ``perturbed_rank(scores, sigma=sigma) - ranks``.

    Args:
        scores: (..., n) finite real numbers.
        ranks: (..., n) true ranks, ascending from 1; ties share their average.
        sigma: scale of the noise, positive, in the units of ``scores``. Shuffle to Learn uses 0.1.

    Returns:
        One value a sample. For ranks without ties it is at least 0 and tends to 0 as the scores fall apart in the right
        order. For tied ranks the same holds up to a constant (their entropy term), which has no gradient.

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: the shapes differ, or ``sigma`` is not positive.

    Example:
        >>> fenchel_young(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), sigma=0.1).round(decimals=4)
        tensor(0.)

    Source: Berthet et al. 2020, section 4; Shuffle to Learn, Appendix A.1. The closed form is ours: a rank vector sums
    pairwise comparisons, and E max of two Gaussians is known (Clark 1961).
    """
    _check.floating("fenchel_young", "scores", scores)
    _check.same_shape("fenchel_young", "ranks", ranks, "scores", scores)
    _check.positive("fenchel_young", "sigma", sigma)
    n = scores.shape[-1]
    rows, columns = torch.triu_indices(n, n, 1, device=scores.device)
    wide = scores.double()  # the two sums cancel: single precision would leave nothing of a small loss
    excess = _expected_excess(wide[..., rows] - wide[..., columns], sigma)
    loss = excess.sum(-1) + (((n + 1) / 2 - ranks) * wide).sum(-1)
    return loss.to(torch.promote_types(scores.dtype, ranks.dtype))


def _expected_excess(gap: Tensor, sigma: float) -> Tensor:
    """How far E max(a + sigma Z, b + sigma Z') lies above (a + b) / 2, for a - b = ``gap``; standard normals."""
    scale = math.sqrt(2) * sigma
    x = gap / scale
    density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    return scale * (x * (torch.special.ndtr(x) - 0.5) + density)


def sampled_fenchel_young(
    scores: Float[Tensor, "*batch n"],
    target: Float[Tensor, "*batch n"],
    argmax: Callable[[Tensor], Tensor],
    *,
    sigma: float = 1.0,
    num_samples: int = 10,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Estimates the Fenchel-Young loss of any perturbed optimum from a few draws.

    The gradient is the mean of :math:`y^*(\theta + \sigma Z) - y`; no derivative of ``argmax`` is taken. For a hard
    target the value is an unbiased estimate of the loss itself.

    Args:
        scores: (..., n) finite real numbers.
        target: (..., n) the true optimum, for example ranks from 1.
        argmax: the solver :math:`y^*`, from (samples, ..., n) to the same shape;
            :func:`unshuffle.permutations.to_ranks` ranks.
        sigma: scale of the Gaussian noise, positive.
        num_samples: draws, at least 1.
        generator: source of the draws.

    Returns:
        One value a sample.

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: the shapes differ, or an option is not positive.

    Source: Berthet et al. 2020, section 4; Shuffle to Learn uses sigma 0.1 and 10 draws.
    """
    _check.floating("sampled_fenchel_young", "scores", scores)
    _check.same_shape("sampled_fenchel_young", "target", target, "scores", scores)
    _check.positive("sampled_fenchel_young", "sigma", sigma)
    _check.positive("sampled_fenchel_young", "num_samples", num_samples)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    noise = torch.randn((num_samples, *wide.shape), generator=generator, dtype=wide.dtype, device=wide.device)
    best = argmax((wide + sigma * noise).detach())
    # Mean of <best, scores + sigma noise> less <target, scores>, ordered so that large scores do not cancel.
    loss = ((best.mean(0) - target) * wide).sum(-1) + sigma * (best * noise).sum(-1).mean(0)
    return loss.to(torch.promote_types(scores.dtype, target.dtype))
