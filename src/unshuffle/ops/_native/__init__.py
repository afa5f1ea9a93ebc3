"""The door to the operators' hot loops in C (:mod:`unshuffle._compiled` says what a door is)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from unshuffle import _compiled
from unshuffle._compiled import disabled as disabled
from unshuffle._compiled import traced as traced
from unshuffle._compiled import transformed as transformed

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / _compiled.NAME
MOST_ITEMS = 2**31 - 1  # slots are 31-bit numbers
KINDS = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""How C knows what a matrix holds; the last two only where it widens rows itself."""

_pointer, _long, _int, _double = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double
_ROWS = (_pointer, _pointer, _long, _long, _long, _long, _int)
_SIGNATURES = {
    "unshuffle_project": (*_ROWS, _int, _int, _double, _double, _long, _pointer, _pointer, _pointer, _long),
    "unshuffle_differentiate": (
        *(*_ROWS, _int, _int, _double, _double, _long),
        *(_pointer, _pointer, _pointer, _pointer, _long),
    ),
    "unshuffle_perturb": (*_ROWS, _int, _double, _pointer, _pointer, _pointer, _long),
    "unshuffle_perturb_slope": (*_ROWS, _int, _double, _pointer, _pointer, _long),
    "unshuffle_network_sort": (*_ROWS, _int, _int, _double, _pointer, _pointer, _long),
    "unshuffle_network_sort_slope": (*_ROWS, _int, _int, _double, _pointer, _pointer, _pointer, _long),
    "unshuffle_network_carry": (*_ROWS, _int, _int, _double, _long, _int, _pointer, _pointer, _long),
    "unshuffle_network_carry_slope": (
        *(*_ROWS, _int, _int, _double, _long, _int),
        *(_pointer, _pointer, _pointer, _pointer, _long),
    ),
    "unshuffle_assign": (_pointer, _pointer, _long, _long, _long, _int, _pointer, _pointer, _long),
    "unshuffle_sinkhorn": (
        *(_pointer, _pointer, _long, _long, _long, _int, _long, _long, _double, _double),
        *(_pointer, _pointer, _pointer, _pointer, _long),
    ),
    "unshuffle_transport": (
        *(_pointer, _long, _long, _long, _int, _double, _pointer, _pointer),
        *(_pointer, _pointer, _pointer, _pointer, _pointer, _pointer, _pointer, _long),
    ),
    "unshuffle_auction": (
        *(_pointer, _long, _long, _long, _int, _double, _double, _pointer, _pointer, _pointer, _pointer, _pointer),
        *(_pointer, _pointer, _double, _pointer, _long, _pointer, _long, _pointer, _long),
    ),
}


@cache
def _load(path: Path = LIBRARY) -> ctypes.CDLL | None:
    """The library, or None with a warning where there is one that does not fit."""
    return _compiled.load(path, FOLDER, _SIGNATURES)


def available() -> bool:
    """Whether operators on the CPU run in C here: the library was built, fits, and is not switched off.

    ``UNSHUFFLE_NATIVE=0`` in the environment switches it off.
    """
    return _compiled.enabled and _load() is not None


def takes(values: Tensor, *, halves: bool = False) -> bool:
    """Whether ``values`` may go through this door: plain CPU data, eager, outside transforms.

    With ``halves``, numbers of 16 bits may, too, and the function behind the door widens them.
    """
    return (
        _compiled.plain(values)
        and values.dtype in (KINDS if halves else (torch.float32, torch.float64))
        and values.numel() <= MOST_ITEMS
        and _load() is not None
    )


def call(name: str, *arguments: object, work: int) -> None:
    """Runs a function of the library on as many threads as its ``work``, in items, is worth.

    Raises:
        MemoryError: there was no room for its scratch space.
    """
    if getattr(_load(), name)(*arguments, _compiled.threads_for(work)) != 0:
        raise MemoryError(f"unshuffle: no memory for {name}.")


def slope_in_pytorch(function: Callable[[Tensor], Tensor], values: Tensor, slope: Tensor) -> Tensor:
    """The product of ``slope`` with the Jacobian of ``function``, for a backward pass that C cannot do.

    That is one which is differentiated or transformed itself: second derivatives, batched gradients.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        at = values if again else values.detach().requires_grad_()
        return torch.autograd.grad(function(at), at, slope, create_graph=again)[0]


class Layout:
    """A tensor's sets as dense or strided rows: ``dim`` moved last, all other axes folded into one."""

    __slots__ = ("n", "rows", "shape", "strides", "values")

    def __init__(self, values: Tensor, dim: int) -> None:
        if dim in (-1, values.ndim - 1) and values.is_contiguous():
            self.values, self.shape, self.n = values, None, values.shape[-1]
            self.strides = (self.n, 1)
        else:
            moved = values.movedim(dim, -1)
            self.shape, self.n = moved.shape, moved.shape[-1]
            self.values = moved.reshape(-1, self.n) if values.numel() else moved
            self.strides = tuple(self.values.stride()[-2:]) if values.numel() else (0, 0)
        self.rows = values.numel() // self.n if self.n else 0

    def arguments(self, mask: Tensor | None) -> tuple[object, ...]:
        """What the C functions take as ``Rows``; a mask as :meth:`dense` made it."""
        assert mask is None or (mask.dtype == torch.bool and mask.is_contiguous())
        hidden = None if mask is None else mask.data_ptr()
        wide = self.values.dtype == torch.float64
        return self.values.data_ptr(), hidden, self.rows, self.n, *self.strides, wide

    def dense(self, other: Tensor, dim: int) -> Tensor:
        """Another tensor of the same shape, its sets dense rows in the same order.

        It holds numbers of the same dtype, or is a mask.

        Raises:
            ValueError: its shape, dtype or device is another; C would read beyond its end.
        """
        dense = other.contiguous() if self.shape is None else other.movedim(dim, -1).contiguous()
        values, shape = self.values, self.values.shape if self.shape is None else self.shape
        if dense.shape != shape or not dense.is_cpu or dense.dtype not in (torch.bool, values.dtype):
            raise ValueError(
                f"unshuffle: expected {tuple(shape)} of {values.dtype} or torch.bool on the CPU; got "
                f"{tuple(dense.shape)} of {dense.dtype} on {dense.device}."
            )
        return dense

    def empty(self) -> Tensor:
        """Room for an answer, in dense rows."""
        if self.shape is None:
            return torch.empty_like(self.values)
        return torch.empty(self.shape, dtype=self.values.dtype, device="cpu")

    def restore(self, answer: Tensor, dim: int) -> Tensor:
        """An answer in the axes of the caller."""
        return answer if self.shape is None else answer.movedim(-1, dim)
