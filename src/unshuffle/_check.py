"""One voice for argument errors: function, argument, what is accepted, what was given, what to do."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_INTEGERS = frozenset(
    {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64}
)
# Counts above this are mistakes: C counts iterations in 32 bits, and no memory holds as many draws.
_MAX_COUNT = 2**31 - 1


class Explained(Exception):
    """An error whose message alone tells a user what happened and what to do; no traceback is needed."""


def tensor(function: str, name: str, value: Tensor, *, meta: bool = False) -> None:
    """Refuses what is no dense tensor, and tensors without data unless only shapes matter (``meta``)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: `{name}` must be a torch.Tensor; got {type(value).__name__}.")
    if torch.compiler.is_compiling():  # which takes no others, and may not be asked within a backward pass
        return
    if value.layout is not torch.strided:
        raise TypeError(f"{function}: `{name}` must be dense; got {value.layout}. Call `{name}.to_dense()` first.")
    if value.is_nested:
        raise TypeError(
            f"{function}: `{name}` must be dense; got a nested tensor. Call `{name}.to_padded_tensor(0.0)` first."
        )
    if not meta and value.is_meta:
        raise TypeError(f"{function}: `{name}` must hold data; got a tensor on the meta device, which has none.")


def floating(function: str, name: str, value: Tensor, *, meta: bool = False) -> None:
    """Refuses tensors that are not floating point, of 16, 32 or 64 bits, and dense."""
    tensor(function, name, value, meta=meta)
    if value.dtype not in _FLOATS:
        accepted = "float16, bfloat16, float32 or float64" if value.is_floating_point() else "floating point"
        raise TypeError(f"{function}: `{name}` must be {accepted}; got {value.dtype}. Call `{name}.float()` first.")


def integral(function: str, name: str, value: Tensor) -> None:
    """Refuses tensors that are not dense integers (booleans are not)."""
    tensor(function, name, value)
    if value.dtype not in _INTEGERS:
        raise TypeError(f"{function}: `{name}` must hold integers; got {value.dtype}. Call `{name}.long()` first.")


def real(function: str, name: str, value: Tensor, *, meta: bool = False) -> None:
    """Refuses tensors that are not dense real numbers, of any integer or floating dtype; booleans are 0 and 1."""
    tensor(function, name, value, meta=meta)
    if value.dtype not in _FLOATS and value.dtype not in _INTEGERS and value.dtype is not torch.bool:
        raise TypeError(f"{function}: `{name}` must hold real numbers; got {value.dtype}. Call `{name}.float()` first.")


def has_axis(function: str, name: str, value: Tensor, least: int = 1) -> None:
    """Refuses tensors of fewer axes, such as single numbers where sets are asked for."""
    if value.ndim < least:
        raise ValueError(
            f"{function}: `{name}` must have {least} or more axes; got the shape {tuple(value.shape)}. "
            f"Call `{name}.unsqueeze(0)` for one item."
        )


def permutation(function: str, name: str, value: Tensor) -> None:
    """Refuses integers (..., n) that are not 0, ..., n - 1 in some order, where their values can be seen.

    Inside ``torch.compile``, ``torch.func`` and fake tensors nothing may depend on the values: they pass there.
    """
    integral(function, name, value)
    has_axis(function, name, value)
    if type(value) is not Tensor or torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return
    if torch._C._are_functorch_transforms_active():
        return
    n = value.shape[-1]
    order = value.long()
    # Each value once: n counters, and every one of them is set.
    seen = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
    seen.scatter_(-1, order.clamp(0, max(n - 1, 0)), True)
    if not bool((seen & (order >= 0) & (order < n)).all()):
        raise ValueError(
            f"{function}: `{name}` must hold permutations, each of 0 to n - 1 once along the last axis (n = {n}); "
            f"got {_first_wrong(order)}. `scores.argsort(-1)` makes one."
        )


def _first_wrong(order: Tensor) -> list[int]:
    rows = order.reshape(-1, order.shape[-1])
    wrong = (rows.sort(dim=-1).values != torch.arange(order.shape[-1], device=order.device)).any(-1)
    return rows[wrong.nonzero()[0, 0]].tolist()[:10]


def number(function: str, name: str, value: float, *, learned: bool = False) -> None:
    """Refuses what is no real number: NaN is one; booleans, words and None are not.

    A tensor of one number passes as such; with ``learned``, also one that requires a gradient.
    """
    if type(value) is float or type(value) is int:
        return
    if isinstance(value, Tensor):
        tensor(function, name, value)
        if value.numel() != 1 or value.dtype is torch.bool or value.is_complex():
            raise TypeError(
                f"{function}: `{name}` must be one number; got {value.dtype} of shape {tuple(value.shape)}."
            )
        if value.requires_grad and not learned:
            raise TypeError(
                f"{function}: `{name}` must be a number, by which nothing is differentiated; got a tensor that "
                f"requires a gradient. Call `{name}.item()` first, or scale the scores."
            )
        return
    symbolic = isinstance(value, torch.SymInt | torch.SymFloat)
    if isinstance(value, bool) or not (symbolic or isinstance(value, numbers.Real)):
        raise TypeError(f"{function}: `{name}` must be a number; got {_shown(value)}.")


def _shown(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


def count(function: str, name: str, value: int, *, least: int = 1, most: int = _MAX_COUNT) -> int:
    """Refuses what is no whole number from ``least`` to ``most``, and returns it as an int."""
    if type(value) is not int and not isinstance(value, torch.SymInt):
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(value)
        except (TypeError, RuntimeError):
            raise TypeError(f"{function}: `{name}` must be a whole number; got {_shown(value)}.") from None
    if value < least:
        accepted = {0: "0 or more", 1: "positive"}.get(least, f"{least} or more")
        raise ValueError(f"{function}: `{name}` must be {accepted}; got {value}.")
    if value > most:
        raise ValueError(f"{function}: `{name}` must be at most {most}; got {value}.")
    return value


def lengths(function: str, name: str, value: Sequence[int]) -> tuple[int, ...]:
    """Refuses what is no sequence of whole numbers, 0 or more, and returns them as a tuple."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        found = tuple(value)
    except (TypeError, RuntimeError):
        raise TypeError(
            f"{function}: `{name}` must be one length for each axis, such as (2, 3); got {_shown(value)}."
        ) from None
    return tuple(count(function, name, length, least=0) for length in found)


def flag(function: str, name: str, value: bool) -> None:
    """Refuses what is neither True nor False (0 and 1 stand for them)."""
    if value is True or value is False:
        return
    if not isinstance(value, numbers.Integral) and type(value).__name__ != "bool":  # NumPy's is no number
        raise TypeError(f"{function}: `{name}` must be True or False; got {_shown(value)}.")
    if value not in (0, 1):
        raise ValueError(f"{function}: `{name}` must be True or False; got {value}.")


def random_source(function: str, generator: torch.Generator | None, name: str = "generator") -> None:
    """Refuses what is neither a generator nor None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"{function}: `{name}` must be a torch.Generator or None; got {_shown(generator)}. "
            "Make one: `torch.Generator().manual_seed(0)`."
        )


def function_of(function: str, name: str, value: object) -> None:
    """Refuses what cannot be called."""
    if not callable(value):
        raise TypeError(f"{function}: `{name}` must be a function; got {_shown(value)}.")


def positive(function: str, name: str, value: float, *, learned: bool = False) -> None:
    """Refuses numbers that are not above zero (NaN included), and what is no number."""
    number(function, name, value, learned=learned)
    if not value > 0:
        raise ValueError(f"{function}: `{name}` must be positive; got {value}.")


def finite(function: str, name: str, value: float) -> None:
    """Refuses infinity."""
    if not isinstance(value, Tensor) and math.isinf(value):
        raise ValueError(f"{function}: `{name}` must be finite; got {value}.")


def not_negative(function: str, name: str, value: float) -> None:
    """Refuses numbers below zero (and NaN), and what is no number."""
    number(function, name, value)
    if not value >= 0:
        raise ValueError(f"{function}: `{name}` must be 0 or more; got {value}.")


def share(function: str, name: str, value: float) -> None:
    """Refuses numbers that are no share of a whole."""
    number(function, name, value)
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
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{function}: `{name}` must be one of {', '.join(map(repr, accepted))}; got {value!r}.")


def axis(function: str, value: Tensor, dim: int, name: str = "dim", of: str = "") -> None:
    """Refuses an axis that the tensor, whose name is ``of``, does not have; a single number has none."""
    if type(dim) is not int:
        number(function, name, dim)
        if not isinstance(dim, numbers.Integral):
            raise TypeError(f"{function}: `{name}` must be a whole number; got {_shown(dim)}.")
    if not -value.ndim <= dim < value.ndim:
        single = "" if value.ndim or not of else f" Call `{of}.unsqueeze(0)` for one item."
        raise ValueError(f"{function}: `{name}` must name an axis of a {value.ndim}-D tensor; got {dim}.{single}")


def both_hold_data(function: str, name: str, value: Tensor, other: str, reference: Tensor) -> None:
    """Refuses two tensors of which one is on the meta device and the other is not."""
    if not torch.compiler.is_compiling() and value.is_meta != reference.is_meta:
        raise TypeError(
            f"{function}: `{name}` and `{other}` must both hold data; got one on the meta device, which has none."
        )


def same_dtype(function: str, name: str, value: Tensor, other: str, reference: Tensor) -> None:
    """Refuses two tensors of different dtypes, where they are multiplied as matrices."""
    if value.dtype != reference.dtype:
        raise TypeError(
            f"{function}: `{name}` must have the dtype of `{other}`, {reference.dtype}; got {value.dtype}. "
            f"Call `{name}.to({other}.dtype)` first."
        )


def same_shape(function: str, name: str, value: Tensor, other: str, reference: Tensor) -> None:
    """Refuses two tensors of different shapes, and what is no dense tensor."""
    tensor(function, name, value, meta=True)
    tensor(function, other, reference, meta=True)
    both_hold_data(function, name, value, other, reference)
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
    tensor(function, "mask", value, meta=True)
    both_hold_data(function, "mask", value, other, reference)
    fits = value.ndim <= reference.ndim and all(
        size in (1, whole) for size, whole in zip(reversed(value.shape), reversed(reference.shape))
    )
    if not fits:
        raise ValueError(
            f"{function}: `mask` must broadcast to the shape of `{other}`, {tuple(reference.shape)}; "
            f"got {tuple(value.shape)}."
        )
