"""One voice for argument errors: function, argument, what is accepted, what was given, what to do."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Explained(Exception):
    """An error whose message alone tells a user what happened and what to do; no traceback is needed."""


def floating(function: str, name: str, value: Tensor) -> None:
    """Refuses tensors that are not floating point."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: `{name}` must be a torch.Tensor; got {type(value).__name__}.")
    if not value.is_floating_point():
        raise TypeError(f"{function}: `{name}` must be floating point; got {value.dtype}. Call `{name}.float()` first.")


def integral(function: str, name: str, value: Tensor) -> None:
    """Refuses tensors that are not integers (booleans are not)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: `{name}` must be a torch.Tensor; got {type(value).__name__}.")
    if value.is_floating_point() or value.is_complex() or value.dtype is torch.bool:
        raise TypeError(f"{function}: `{name}` must hold integers; got {value.dtype}. Call `{name}.long()` first.")


def positive(function: str, name: str, value: float) -> None:
    """Refuses numbers that are not above zero (NaN included)."""
    if not value > 0:
        raise ValueError(f"{function}: `{name}` must be positive; got {value}.")


def not_negative(function: str, name: str, value: float) -> None:
    """Refuses numbers below zero (and NaN)."""
    if not value >= 0:
        raise ValueError(f"{function}: `{name}` must be 0 or more; got {value}.")


def share(function: str, name: str, value: float) -> None:
    """Refuses numbers that are no share of a whole."""
    if not 0 <= value <= 1:
        raise ValueError(f"{function}: `{name}` must be from 0 to 1; got {value}.")


def interval(
    function: str, name: str, value: tuple[float, float], *, least: float = -math.inf, most: float = math.inf
) -> None:
    """Refuses pairs of bounds that are in the wrong order or go too far."""
    if len(value) != 2 or not least <= value[0] <= value[1] <= most:
        raise ValueError(
            f"{function}: `{name}` must be two numbers from {least} to {most}, the smaller first; got {value}."
        )


def one_of(function: str, name: str, value: object, accepted: tuple[str, ...]) -> None:
    """Refuses words outside a closed list."""
    if value not in accepted:
        raise ValueError(f"{function}: `{name}` must be one of {', '.join(map(repr, accepted))}; got {value!r}.")


def axis(function: str, value: Tensor, dim: int, name: str = "dim") -> None:
    """Refuses an axis that the tensor does not have."""
    if not -value.ndim <= dim < value.ndim:
        raise ValueError(f"{function}: `{name}` must name an axis of a {value.ndim}-D tensor; got {dim}.")


def same_shape(function: str, name: str, value: Tensor, other: str, reference: Tensor) -> None:
    """Refuses two tensors of different shapes."""
    if value.shape != reference.shape:
        raise ValueError(
            f"{function}: `{name}` must have the shape of `{other}`, {tuple(reference.shape)}; "
            f"got {tuple(value.shape)}."
        )


def mask(function: str, value: Tensor, other: str, reference: Tensor) -> None:
    """Refuses masks that are not boolean, or that do not broadcast to the shape of what they mask."""
    if not isinstance(value, Tensor) or value.dtype is not torch.bool:
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{function}: `mask` must be a boolean tensor, True where an item is present; got {given}.")
    fits = value.ndim <= reference.ndim and all(
        size in (1, whole) for size, whole in zip(reversed(value.shape), reversed(reference.shape))
    )
    if not fits:
        raise ValueError(
            f"{function}: `mask` must broadcast to the shape of `{other}`, {tuple(reference.shape)}; "
            f"got {tuple(value.shape)}."
        )
