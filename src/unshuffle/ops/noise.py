"""Laws of the random perturbations: how to draw one, and the slope of its negative log-density.

The slope is all that a solver's average needs for a gradient: no derivative of the solver is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unshuffle import _check

NamedNoise = Literal["gaussian", "gumbel"]


@dataclass(frozen=True)
class Noise:
    r"""A law of independent perturbations, with a density :math:`p > 0` on the whole line.

    "gaussian" and "gumbel" go by name wherever noise is asked for. Others are two functions; the logistic law:

    Example:
        >>> def draw(shape, like, generator):
        ...     uniform = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
        ...     return uniform.logit(eps=1e-7)
        >>> logistic = Noise(draw, score=lambda z: (z / 2).tanh())
        >>> z = logistic.draw((2, 1000), torch.zeros(()), torch.Generator().manual_seed(0))
        >>> z.shape, bool(logistic.score(z).mean().abs() < 0.1)  # a score has mean 0
        (torch.Size([2, 1000]), True)

    For the Laplace law, whose density is :math:`\exp(-|z|) / 2`, the score is ``torch.sign``.

    Source: Berthet et al., "Learning with Differentiable Perturbed Optimizers", NeurIPS 2020, Proposition 3.1.
    """

    draw: Callable[[tuple[int, ...], Tensor, torch.Generator | None], Tensor]
    """From (shape, like, generator) to draws of that shape, with the dtype and device of ``like``."""
    score: Callable[[Tensor], Tensor]
    r"""From draws to :math:`-(\log p)'` there, entry by entry."""


def resolve(function: str, noise: NamedNoise | Noise) -> Noise:
    """Looks a law up by its name; a :class:`Noise` is its own.

    Raises:
        ValueError: neither a known name nor a :class:`Noise`.
    """
    return noise if isinstance(noise, Noise) else _NAMED[named(function, noise)]


def named(function: str, noise: NamedNoise | Noise) -> NamedNoise:
    """Refuses laws that have no closed form.

    Raises:
        ValueError: not one of the names.
    """
    if isinstance(noise, Noise):
        raise ValueError(
            f"{function}: `noise` must be one of {', '.join(map(repr, _NAMED))} for the exact form; got a Noise. Other "
            "laws are sampled: give `num_samples`, or call `sampled_fenchel_young`."
        )
    try:
        _check.one_of(function, "noise", noise, tuple(_NAMED))
    except ValueError as error:
        raise ValueError(f"{error} Any other law is a Noise(draw, score).") from None
    return noise


def _draw_gaussian(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


def _draw_gumbel(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    tiny = torch.finfo(like.dtype).tiny
    uniform = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
    return -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()


_NAMED: dict[NamedNoise, Noise] = {
    "gaussian": Noise(_draw_gaussian, score=lambda z: z),
    "gumbel": Noise(_draw_gumbel, score=lambda z: 1 - (-z).exp()),
}
