"""The Fenchel-Young loss of perturbed ranks: convex in the scores, its gradient is expected minus true ranks.

The public ports of the original return ``|y_eps - y|^2`` as its value, whose derivative is another; here the value is
the loss itself, so its numerical and its analytic gradient agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unshuffle import _check
from unshuffle.ops import _native
from unshuffle.ops.noise import NamedNoise, Noise, named, resolve
from unshuffle.ops.perturbed import in_parts

# In units of the noise. Two scores this far apart are never exchanged, in any dtype.
_FAR = 1000.0


def fenchel_young(
    scores: Float[Tensor, "*batch n"],
    ranks: Float[Tensor, "*batch n"],
    *,
    sigma: float = 1.0,
    noise: NamedNoise = "gaussian",
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Measures exactly how far the perturbed ranks of ``scores`` are from ``ranks``; no sampling.

    .. math:: E_Z\big[\max_r \langle r, \theta + \sigma Z \rangle\big] - E_Z \langle y, \sigma Z \rangle -
              \langle y, \theta \rangle
              = \langle \mathrm{rank}(\theta) - y, \theta \rangle + \sum_{i<j} h(|\theta_i - \theta_j|)

    where r runs over all rankings and y are the true ranks. The first term of the right side is what the hard ranks are
    wrong by; the second is the price of the noise, with
    :math:`h(d) = \sqrt2 \sigma \, (\varphi(x) - x \Phi(-x))`, :math:`x = d / \sqrt2 \sigma` for Gaussian noise and
    :math:`h(d) = \sigma \log(1 + e^{-d / \sigma})` for Gumbel noise. (The noise's own mean, which is not 0 for Gumbel
    noise, is taken out by the term with y.) All terms are positive, so small losses are exact too. The gradient is
    ``perturbed_rank(scores, sigma=sigma, noise=noise) - ranks``.

    Args:
        scores: (..., n) real numbers. Infinite ones stand at the ends and get gradient 0; if one stands at the wrong
            place, the loss is infinite.
        ranks: (..., n) true ranks, ascending from 1; ties share their average.
        sigma: scale of the noise, positive, in the units of ``scores``. Shuffle to Learn uses 0.1.
        noise: the law of the independent perturbations.
        mask: True where an item is present; broadcasts to ``scores``. Absent slots get gradient 0 and change nothing,
            whatever they and their ``ranks`` hold; those of the present items count from 1 without them.

    Returns:
        One value a sample, in the wider dtype of the two, solved in float64. For ranks without ties it is at least 0
        and tends to 0 as the scores fall apart in the right order. For tied ranks the same holds up to a constant
        (their entropy term), which has no gradient. A set that holds NaN costs NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: the shapes differ, ``sigma`` is not positive, ``noise`` is unknown or has no closed form, or
            ``mask`` does not broadcast.

    Example:
        >>> fenchel_young(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), sigma=0.1).round(decimals=4)
        tensor(0.)

    Source: Berthet et al. 2020, section 4; Shuffle to Learn, Appendix A.1. The closed form is ours: a rank vector sums
    pairwise comparisons, and E max of two Gaussians is known (Clark 1961), as is that of two Gumbels.
    """
    _check.floating("fenchel_young", "scores", scores, meta=True)
    _check.has_axis("fenchel_young", "scores", scores)
    _check.real("fenchel_young", "ranks", ranks, meta=True)
    _check.same_shape("fenchel_young", "ranks", ranks, "scores", scores)
    _check.positive("fenchel_young", "sigma", sigma)
    _check.finite("fenchel_young", "sigma", sigma)
    if mask is not None:
        _check.mask("fenchel_young", mask, "scores", scores)
        mask = mask.expand_as(scores)
    return _exact_loss(scores, ranks, float(sigma), named("fenchel_young", noise), mask)


def _exact_loss(scores: Tensor, ranks: Tensor, sigma: float, noise: NamedNoise, mask: Tensor | None) -> Tensor:
    """The loss of sets on the last axis, (..., n) to (...), in the wider dtype of the two."""
    dtype = torch.promote_types(scores.dtype, ranks.dtype)
    wider = dtype if dtype in (torch.float32, torch.float64) else torch.float64
    wide, true = scores.to(wider), ranks.to(wider)
    if not true.requires_grad and _native.takes(wide) and _native.takes(true):
        loss = _NativeLoss.apply(wide, true, sigma, noise, mask)
        assert isinstance(loss, Tensor)  # `apply` has no return type
        return loss.to(dtype)
    return _exact_loss_in_pytorch(scores, ranks, sigma, noise, mask)


class _NativeLoss(torch.autograd.Function):
    """The loss, and with it its derivative, by ``_native/perturbed.c``; a second derivative by PyTorch."""

    @staticmethod
    def forward(ctx, scores: Tensor, ranks: Tensor, sigma: float, noise: NamedNoise, mask: Tensor | None) -> Tensor:
        rows = _native.Layout(scores, -1)
        hidden = None if mask is None else rows.dense(mask, -1)
        true, wrong = rows.dense(ranks, -1), rows.empty()
        loss = torch.zeros(scores.shape[:-1], dtype=scores.dtype, device="cpu")
        arguments = (*rows.arguments(hidden), noise == "gumbel", sigma)
        places = (true.data_ptr(), wrong.data_ptr(), loss.data_ptr())
        _native.call("unshuffle_perturb", *arguments, *places, work=scores.numel() * scores.shape[-1] // 10)
        ctx.save_for_backward(scores, ranks, mask, wrong)
        ctx.sigma, ctx.noise = sigma, noise
        return loss

    @staticmethod
    def backward(ctx, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        scores, ranks, mask, wrong = ctx.saved_tensors
        if torch.is_grad_enabled() or not _native.takes(slope):
            loss = partial(_exact_loss_in_pytorch, ranks=ranks, sigma=ctx.sigma, noise=ctx.noise, mask=mask)
            return _native.slope_in_pytorch(loss, scores, slope), None, None, None, None
        return slope.unsqueeze(-1) * wrong.view_as(scores), None, None, None, None


def _exact_loss_in_pytorch(
    scores: Tensor, ranks: Tensor, sigma: float, noise: NamedNoise, mask: Tensor | None
) -> Tensor:
    """The same, anywhere.

    In ascending order no difference needs an absolute value, whose derivatives at ties would be wrong.
    """
    present = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    spoilt = (scores.isnan() & present).any(-1, keepdim=True)
    scores = scores.masked_fill(spoilt, 0.0)  # so that NaN has gradient 0
    order = _present_ascending(scores, present)
    present = present.gather(-1, order)
    still = torch.where(scores.isinf(), scores.detach(), scores)
    ordered, true = (x.double().gather(-1, order).masked_fill(~present, 0.0) for x in (still, ranks))
    loss = _hard_loss(ordered, true, present) + _price_of_noise(ordered, present, sigma, noise)
    return loss.masked_fill(spoilt.squeeze(-1), torch.nan).to(torch.promote_types(scores.dtype, ranks.dtype))


def _present_ascending(scores: Tensor, present: Tensor) -> Tensor:
    """The order of the present items, ascending; the absent ones come last, after infinity too."""
    order = scores.detach().argsort(dim=-1)
    return order.gather(-1, (~present).gather(-1, order).byte().argsort(dim=-1, stable=True))


def _hard_loss(ordered: Tensor, true: Tensor, present: Tensor) -> Tensor:
    """<rank(theta) - y, theta>, as a sum over neighbours: their distance, times the rank missing above it."""
    position = torch.arange(1, ordered.shape[-1] + 1, dtype=ordered.dtype, device=ordered.device)
    missing = (position * present - true).flip(-1).cumsum(-1).flip(-1)
    steps = _gap(ordered[..., 1:], ordered[..., :-1]).masked_fill(~present[..., 1:], 0.0)
    steps = steps.masked_fill(steps.isinf() & (missing[..., 1:] == 0), 0.0)  # infinitely far apart, and rightly so
    # Ranks miss nothing in total. What other targets miss counts from the lowest score.
    rest = missing[..., :1] * ordered[..., :1].masked_fill(ordered[..., :1].isinf(), 0.0)
    return (steps * missing[..., 1:]).sum(-1) + rest.sum(-1)


def _price_of_noise(ordered: Tensor, present: Tensor, sigma: float, noise: NamedNoise) -> Tensor:
    """Sum over all pairs of what noise adds to the expected larger score."""

    def of_pairs(lower: slice) -> Tensor:
        gap = _gap(ordered[..., None, lower.start :], ordered[..., lower, None])
        price = _expected_excess(gap, sigma, noise).masked_fill(~present[..., None, lower.start :], 0.0)
        return price.triu(1).sum((-2, -1))

    return torch.stack(in_parts(of_pairs, ordered.shape[-1], room=ordered.numel())).sum(0)


def _gap(higher: Tensor, lower: Tensor) -> Tensor:
    """Difference of two scores; that of two equal infinities, which is NaN, is a tie."""
    return (higher - lower).masked_fill((higher == lower) & higher.isinf(), 0.0)


def _expected_excess(gap: Tensor, sigma: float, noise: NamedNoise) -> Tensor:
    """How far E max(a + sigma Z, b + sigma Z') lies above max(a, b) + sigma E Z, for a - b = ``gap`` >= 0."""
    scale = sigma if noise == "gumbel" else math.sqrt(2) * sigma
    x = (gap / scale).clamp(0.0, _FAR)
    if noise == "gumbel":
        return scale * torch.nn.functional.softplus(-x)
    density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    return scale * (density - x * 0.5 * torch.erfc(x / math.sqrt(2)))  # ndtr(-x) is 1e-16 off in its tail


def sampled_fenchel_young(
    scores: Float[Tensor, "*batch n"],
    target: Float[Tensor, "*batch n"],
    argmax: Callable[[Tensor], Tensor],
    *,
    sigma: float = 1.0,
    noise: NamedNoise | Noise = "gaussian",
    num_samples: int = 10,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Estimates the Fenchel-Young loss of any perturbed optimum from a few draws.

    .. math:: E_Z \langle y^*(\theta + \sigma Z) - y, \theta + \sigma Z \rangle

    Its gradient is the mean of :math:`y^*(\theta + \sigma Z) - y`; no derivative of ``argmax`` is taken. For a hard
    target, which the solver could have answered, the value is an unbiased estimate of the loss itself and no draw's is
    negative.

    Args:
        scores: (..., n) real numbers. Infinite ones get gradient 0; where the solver's mean answer differs from
            ``target`` at one, the loss is infinite.
        target: (..., n) the true optimum, for example ranks from 1.
        argmax: the solver :math:`y^*`, from (samples, ..., n) to the same shape; it sees zeros in place of a set that
            holds NaN. :func:`unshuffle.permutations.to_ranks` ranks.
        sigma: scale of the noise, positive, in the units of ``scores``.
        noise: the law of the independent perturbations: "gaussian", "gumbel", or any :class:`Noise`.
        num_samples: draws, at least 1.
        generator: source of the draws.

    Returns:
        One value a sample. A set that holds NaN costs NaN.

    Raises:
        TypeError: ``scores`` is not floating point.
        ValueError: the shapes differ, an option is not positive, or ``noise`` is unknown.

    Source: Berthet et al. 2020, section 4; Shuffle to Learn uses sigma 0.1 and 10 draws.
    """
    _check.floating("sampled_fenchel_young", "scores", scores, meta=True)
    _check.has_axis("sampled_fenchel_young", "scores", scores)
    _check.real("sampled_fenchel_young", "target", target, meta=True)
    _check.function_of("sampled_fenchel_young", "argmax", argmax)
    _check.random_source("sampled_fenchel_young", generator)
    _check.same_shape("sampled_fenchel_young", "target", target, "scores", scores)
    _check.positive("sampled_fenchel_young", "sigma", sigma, learned=True)
    _check.finite("sampled_fenchel_young", "sigma", sigma)
    num_samples = _check.count("sampled_fenchel_young", "num_samples", num_samples)
    law = resolve("sampled_fenchel_young", noise)
    target = target if target.is_floating_point() else target.to(scores.dtype)
    spoilt = scores.isnan().any(-1)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill(spoilt.unsqueeze(-1), 0.0)
    wide = torch.where(wide.isinf(), wide.detach(), wide)
    z = law.draw((num_samples, *wide.shape), wide, generator)
    wrong = argmax((wide + sigma * z).detach()) - target
    # The mean of <wrong, scores + sigma z>, ordered so that large scores do not cancel, and right ones cost nothing.
    mean_wrong = wrong.mean(0)
    loss = (mean_wrong * wide).masked_fill(mean_wrong == 0, 0.0).sum(-1) + sigma * (wrong * z).sum(-1).mean(0)
    return loss.masked_fill(spoilt, torch.nan).to(torch.promote_types(scores.dtype, target.dtype))
