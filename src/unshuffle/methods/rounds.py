"""When samples are labelled anew, and what is looked at then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unshuffle import _check
from unshuffle._ranges import MaybeFew, MaybeMany
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Rounds:
    """The timetable of the labellings: often at first, more and more seldom later.

    Source: Asano, Rupprecht & Vedaldi 2020 (SeLa), appendix A.1: t_i = (i / (M - 1))² of all epochs. The paper counts i
    from 1; its code also labels before the first step, so that nothing is learnt from the random labels.
    """

    count: MaybeMany = 100
    """M. 0: the random labels of the beginning stay."""
    spacing: Literal["quadratic", "even"] = "quadratic"
    """quadratic: ever longer gaps, the paper's. even: equal gaps, as in its code for CIFAR."""
    at_start: bool = True
    """Label before the first step, too, as the code does (i = 0)."""
    views: MaybeFew = 1
    """Random views of each sample, whose log-probabilities are averaged: the paper's E_t; its code has one. 0: no
    random one, but the plain form."""
    as_trained: bool = True
    """Look with dropout and with the batch's own statistics, which go on moving, as the code does; else as when
    embedding."""
    in_turn: bool = False
    """Label one head a round, one after the other, as the code does for CIFAR."""

    def __post_init__(self) -> None:
        _check.one_of("Rounds", "spacing", self.spacing, ("quadratic", "even"))

    @property
    def times(self) -> tuple[float, ...]:
        """When, in shares of the whole training; the last round follows the last step.

        Example:
            >>> Rounds(count=3).times, Rounds(count=3, spacing="even", at_start=False).times
            ((0.0, 0.25, 1.0), (0.5, 1.0))
        """
        power = 2 if self.spacing == "quadratic" else 1
        first = 0 if self.at_start or self.count == 1 else 1
        return tuple((i / max(1, self.count - 1)) ** power for i in range(first, self.count))
