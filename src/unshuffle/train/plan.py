"""What the engine asks of a recipe, and what a recipe builds."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import nn

from unshuffle import _check
from unshuffle.losses import Objective


class Plan(NamedTuple):
    """What a recipe builds for items of one shape: a method, the transform that feeds it, its encoder's network."""

    method: nn.Module
    transform: Any
    net: nn.Module
    net_value: Any
    objective: Objective | None

    @property
    def least(self) -> int:
        """Samples that a batch must have for the method to make anything of it."""
        return max(getattr(part, "least", 1) for part in (self.transform, self.method))


@runtime_checkable
class Recipe(Protocol):
    """A frozen value that says everything that decides what is learned."""

    @property
    def optim(self) -> Any:
        """An optimiser with ``build`` and ``rate``, or ``schedule`` where the rate follows batch and epochs.

        Where it has a ``clip`` above 0, the gradients' norm is clipped.
        """
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all processes."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        ...

    @property
    def holdout(self) -> float:
        """Share of the data that is kept out of training, to see whether the task generalises."""
        ...

    @property
    def seed(self) -> int:
        """Of everything."""
        ...

    def build(self, item_shape: tuple[int, ...], net: nn.Module | None = None) -> Plan:
        """Builds the method for items of this shape; ``net`` is a backbone of the user's own."""
        ...


def check(recipe: Recipe) -> None:
    """Refuses a recipe of which not one step can be made.

    Raises:
        ValueError: too few samples a step, no epoch, or nothing left to train on.
    """
    name = type(recipe).__name__
    _check.positive(name, "epochs", recipe.epochs)
    if recipe.batch_size < 2:
        raise ValueError(f"{name}: `batch_size` must be at least 2 samples; got {recipe.batch_size}.")
    if not 0 <= recipe.holdout < 1:
        raise ValueError(f"{name}: `holdout` must be a share, from 0 to below 1; got {recipe.holdout}.")


def enough(batch_size: int, samples: int, processes: int) -> None:
    """Refuses processes that cannot share a step, before any of them is started.

    Raises:
        ValueError: a process would have fewer than two samples of a step.
    """
    size = min(batch_size, samples)
    if size < 2 * processes:
        raise ValueError(
            f"{processes} processes cannot share {size} samples a step; each needs two. Use a larger --batch-size, "
            "more samples, or fewer --devices."
        )
