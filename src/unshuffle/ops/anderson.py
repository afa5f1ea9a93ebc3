"""Fewer steps of an iteration that nears its end slowly, from what its latest steps had in common.

An iteration ``x -> x + residual(x)`` that is slow goes almost the same way again and again. Where the residual were
linear, the combination of the latest points whose residual is the least would be known without another evaluation: that
is where the next step begins. Nothing is asked of the problem but its residuals.

Source: Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 1965; Walker & Ni, "Anderson
acceleration for fixed-point iterations", SIAM J. Numer. Anal. 2011, whose unconstrained least squares this solves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MUCH_WORSE = 2.0
"""From which growth of the merit on the latest steps are given up: near the end it falls, but not at every step."""
_RIDGE = 1e-10  # of the mean square: steps that are nearly the same are told apart no further


class Anderson:
    """Where an iteration goes next. What it keeps is two vectors a step of its history."""

    def __init__(self, weights: Tensor, *, history: int, furthest: float) -> None:
        """Residuals are measured in squares times ``weights``; 0 steps of history leave the iteration as it is.

        ``furthest`` bounds what extrapolation adds to any number: where two residuals hardly differ, the line through
        them leads very far, and out of what it is true of.
        """
        self.weights, self.history, self.furthest = weights, history, furthest
        self.points: list[Tensor] = []
        self.residuals: list[Tensor] = []
        self.merit = math.inf

    def step(self, point: Tensor, residual: Tensor, merit: float) -> Tensor:
        """The next point.

        Args:
            point: (K,) where the iteration is; :meth:`step` said so, or it is the first.
            residual: (K,) the plain step from there.
            merit: falls along the plain iteration. Where it has grown much the latest step was bad: the next one is the
                plain one from the point before.
        """
        if self.points and merit > _MUCH_WORSE * self.merit:
            back = self.points[-1] + self.residuals[-1]
            self.points, self.residuals, self.merit = [], [], math.inf
            return back
        self.merit = merit
        self.points, self.residuals = (
            [*kept, new][-self.history - 1 :] for kept, new in ((self.points, point), (self.residuals, residual))
        )
        return point + residual - self._common()

    def _common(self) -> Tensor:
        """What the least residual that a combination of the latest points promises changes of the plain step."""
        if len(self.points) < 2:
            return torch.zeros_like(self.weights)
        moves, changes = (torch.stack(kept, 1).diff(dim=1) for kept in (self.points, self.residuals))
        weighted = changes.T * self.weights
        square = weighted @ changes
        ridge = _RIDGE * square.trace() + torch.finfo(square.dtype).tiny  # where nothing changes any more, too
        square += ridge * torch.eye(len(square), dtype=square.dtype)
        common = (moves + changes) @ torch.linalg.solve(square, weighted @ self.residuals[-1])
        size = float(common.abs().max())
        return common if size <= self.furthest else common * (self.furthest / size)
