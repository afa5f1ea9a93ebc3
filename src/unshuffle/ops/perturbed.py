"""Ranks averaged over random perturbations of the scores (Berthet et al., 2020).

An item's rank is one plus the number of items below it, so its expected rank is a sum of pairwise probabilities. For
Gaussian and for Gumbel noise these are known in closed form: the expectation that the paper samples is exact here, at
O(n^2), with zero variance. The sampled form stays for comparison, and for n so large that n^2 does not fit.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unshuffle import _check

Noise = Literal["gaussian", "gumbel"]

# In units of the noise. Probabilities this far out are 0 and 1 in any dtype, and their derivatives 0.
_FAR = 1000.0


def perturbed_rank(
    scores: Float[Tensor, "..."],
    *,
    sigma: float = 1.0,
    noise: Noise = "gaussian",
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
    dim: int = -1,
) -> Float[Tensor, "..."]:
    r"""Expected ranks of randomly perturbed scores, ascending from 1.

    .. math:: E_Z\big[\mathrm{rank}(\theta + \sigma Z)\big]_i = \tfrac12 + \sum_j P(\theta_i + \sigma Z_i > \theta_j +
              \sigma Z_j)

    where the sum runs over all j, i included with probability one half. For Gaussian noise the probability is
    :math:`\Phi((\theta_i - \theta_j) / \sqrt2 \sigma)`, for Gumbel noise the logistic function of
    :math:`(\theta_i - \theta_j) / \sigma`.

    Args:
        scores: (..., n, ...) real numbers; n items along ``dim``. Infinite ones take the end ranks, with gradient 0.
        sigma: scale of the noise, positive, in the units of ``scores``. Small is sharp.
        noise: the law of the independent perturbations.
        num_samples: None for the exact expectation; a number for the mean over that many draws.
        generator: source of the draws.
        dim: the axis that holds the items.

    Returns:
        Expected ranks with the shape and dtype of ``scores``; they sum to n (n + 1) / 2. Exact ones have exact
        derivatives of every order; sampled ones the unbiased first derivative of Berthet et al. (Proposition 3.1) and
        no second. A set that holds NaN is NaN whole.

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: ``sigma`` or ``num_samples`` is not positive, ``noise`` is unknown, or there is no such axis.

    Example:
        >>> perturbed_rank(torch.tensor([5.0, 1.0, 2.0]), sigma=0.1)
        tensor([3., 1., 2.])

    Source: Berthet et al., "Learning with Differentiable Perturbed Optimizers", NeurIPS 2020; Shuffle to Learn,
    Appendix A.1 (which samples: sigma 0.1, 10 draws).
    """
    _check.floating("perturbed_rank", "scores", scores)
    _check.positive("perturbed_rank", "sigma", sigma)
    _check.one_of("perturbed_rank", "noise", noise, ("gaussian", "gumbel"))
    _check.axis("perturbed_rank", scores, dim)
    last = scores.movedim(dim, -1).to(torch.promote_types(scores.dtype, torch.float32))
    if num_samples is None:
        ranks = 0.5 + win_probability(_gaps(last), sigma=sigma, noise=noise).sum(-1)
    else:
        _check.positive("perturbed_rank", "num_samples", num_samples)
        ranks = _sampled_rank(last, sigma, noise, num_samples, generator)
    return ranks.movedim(-1, dim).to(scores.dtype)


def win_probability(gap: Float[Tensor, "*pairs"], *, sigma: float, noise: Noise) -> Float[Tensor, "*pairs"]:
    """Probability that the first of two perturbed scores, ``gap`` above the second, is the larger."""
    if noise == "gumbel":
        return torch.sigmoid((gap / sigma).clamp(-_FAR, _FAR))
    return torch.special.ndtr((gap / (math.sqrt(2) * sigma)).clamp(-_FAR, _FAR))


def _gaps(scores: Tensor) -> Tensor:
    """All differences of two scores, [..., i, j]; that of two equal infinities, which is NaN, is a tie."""
    first, second = scores.unsqueeze(-1), scores.unsqueeze(-2)
    return (first - second).masked_fill((first == second) & first.isinf(), 0.0)


def _sampled_rank(
    scores: Tensor, sigma: float, noise: Noise, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    """Mean rank over draws; its gradient is the score-function estimate, ranks times the noise's own score."""
    draws, score = _draw(noise, (num_samples, *scores.shape), scores, generator)
    ranks = (scores.detach() + sigma * draws).argsort(dim=-1).argsort(dim=-1).to(scores.dtype) + 1
    centre = (scores.shape[-1] + 1) / 2  # a baseline: it changes no expectation and lowers the variance
    # Zero in value, and in gradient <score, d theta> / sigma: the derivative of the density behind each draw.
    change = (scores - scores.detach()).masked_fill(scores.isinf(), 0.0)
    lever = (score * change).sum(-1, keepdim=True) / sigma
    return (ranks + (ranks - centre) * lever).mean(0)


def _draw(
    noise: Noise, shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draws noise, and the derivative of its negative log-density there."""
    if noise == "gaussian":
        z = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        return z, z
    uniform = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
    z = -(-uniform.clamp_min(torch.finfo(like.dtype).tiny).log()).clamp_min(torch.finfo(like.dtype).tiny).log()
    return z, 1 - (-z).exp()
