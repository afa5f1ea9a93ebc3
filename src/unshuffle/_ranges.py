"""Accepted ranges of numeric fields, declared in their types and checked when a value is made.

A field says its range in its annotation, ``hidden: Size = 512`` or ``lr: Annotated[float, Range(0, 10)] = 0.1``; the
range holds for every number of a tuple and for the number of an optional field. :func:`ranged` makes a dataclass
refuse anything else before its own ``__post_init__`` runs, which is left with conditions on several fields. The
command line makes its values with :func:`postponed` checks and asks :func:`refusals` afterwards, so that it can name
the flag of every refused number.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple, TypeVar

T = TypeVar("T")
_POSTPONED: ContextVar[bool] = ContextVar("postponed", default=False)


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from ``low`` to ``high``.

    Args:
        low: least number.
        high: greatest number.
        open_low: ``low`` itself is refused.
        open_high: ``high`` itself is refused.
        infinite: infinity is accepted as well, as a limit.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    infinite: bool = False

    def __contains__(self, number: float) -> bool:
        """Whether the number is accepted; NaN never is."""
        if self.infinite and number == math.inf:
            return True
        low = self.low < number if self.open_low else self.low <= number
        return low and (number < self.high if self.open_high else number <= self.high)

    def __str__(self) -> str:
        """The range in words, to follow "must be"."""
        low, high = (f"{limit:,}" if isinstance(limit, int) else f"{limit:g}" for limit in (self.low, self.high))
        last = f"{high}, or inf" if self.infinite else high
        if not self.open_low:
            return f"from {low} to {'below ' if self.open_high else ''}{last}"
        return f"above {low} and {'below' if self.open_high else 'at most'} {last}"


Fraction = Annotated[float, Range(0, 1)]
"""A part of a whole, or a probability."""
FractionBelowOne = Annotated[float, Range(0, 1, open_high=True)]
"""The same where 1 would leave nothing: dropout, momentum, a part held out."""
Positive = Annotated[float, Range(0, 1_000_000, open_low=True)]
"""A rate, a temperature, a factor."""
NonNegative = Annotated[float, Range(0, 1_000_000)]
"""The same, where 0 means something."""
Finite = Annotated[float, Range(-1_000_000, 1_000_000)]
"""Any number of usual size, such as a mean."""
Seed = Annotated[int, Range(0, 2**63 - 1)]
"""Seed of a recipe."""
SmallSeed = Annotated[int, Range(0, 2**32 - 1)]
"""Seed that scikit-learn is given too."""
Size = Annotated[int, Range(1, 65_536)]
"""Channels or units of a layer."""
Pixels = Annotated[int, Range(1, 16_384)]
"""Pixels on a side."""
Margin = Annotated[int, Range(0, 16_384)]
"""Pixels that may be none."""
Few = Annotated[int, Range(1, 1_024)]
"""Rows, columns, heads, devices: a number of parts, of which every one costs time or memory."""
MaybeFew = Annotated[int, Range(0, 1_024)]
"""The same, where there may be none."""
Count = Annotated[int, Range(1, 1_000_000_000)]
"""Samples, classes, entries of an axis: whatever the data have."""
MaybeCount = Annotated[int, Range(0, 1_000_000_000)]
"""The same, where there may be none."""
Many = Annotated[int, Range(1, 1_000_000)]
"""Rounds of an inner loop, or draws."""
MaybeMany = Annotated[int, Range(0, 1_000_000)]
"""The same, where there may be none."""
Epochs = Annotated[int, Range(1, 10_000_000)]
"""Passes over the data."""
Minibatch = Annotated[int, Range(2, 1_000_000)]
"""Samples in a training step."""


class Refusal(NamedTuple):
    """A field whose value is refused, and why: words to follow the field's name."""

    field: str
    reason: str
    error: type[Exception] = ValueError


def ranged(cls: type[T]) -> type[T]:
    """Make a dataclass refuse numbers outside the ranges that its fields declare.

    Raises:
        ValueError: on construction, a number is out of range.
        TypeError: on construction, a number is of another type.
    """
    name = "__post_init__" if hasattr(cls, "__post_init__") else "__init__"
    original: Callable[..., None] = getattr(cls, name)

    @wraps(original)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if name == "__init__":
            original(self, *args, **kwargs)
        if _POSTPONED.get():
            return
        for refusal in refusals(self):
            raise refusal.error(f"{type(self).__name__}: `{refusal.field}` {refusal.reason}")
        if name == "__post_init__":
            original(self)

    setattr(cls, name, checked)
    return cls


@contextmanager
def postponed() -> Iterator[None]:
    """Let dataclasses be made unchecked; who asks for this calls :func:`refusals` and ``__post_init__`` afterwards."""
    token = _POSTPONED.set(True)
    try:
        yield
    finally:
        _POSTPONED.reset(token)


def refusals(value: Any) -> list[Refusal]:
    """Find the fields of a dataclass whose numbers are outside their declared ranges, its members' own aside."""
    found = []
    for field, hint in _declared(type(value)):
        refusal = _refused(hint, getattr(value, field))
        if refusal is not None:
            reason, error = refusal
            found.append(Refusal(field, reason, error))
    return found


def undeclared(cls: type) -> list[str]:
    """Name the numeric fields of a dataclass that declare no range."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if _is_bare_number(hints[f.name])]


@cache
def _declared(cls: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass that declare a range, with their annotations."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    return tuple((name, hints[name]) for name in names if _has_range(hints[name]))


def _has_range(hint: Any) -> bool:
    if _range_of(hint) is not None:
        return True
    return any(_has_range(part) for part in typing.get_args(hint))


def _range_of(hint: Any) -> Range | None:
    return next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Range)), None)


def _is_bare_number(hint: Any) -> bool:
    if hint in (int, float):
        return True
    if _range_of(hint) is not None or typing.get_origin(hint) is typing.Literal:
        return False
    return any(_is_bare_number(part) for part in typing.get_args(hint))


def _refused(hint: Any, value: Any) -> tuple[str, type[Exception]] | None:
    """Why a value does not fit its annotation; None where it does."""
    accepted = _range_of(hint)
    if accepted is not None:
        return _refused_number(typing.get_args(hint)[0], accepted, value)
    if hasattr(hint, "__metadata__"):  # extras of others, such as the command line's
        return _refused(typing.get_args(hint)[0], value)
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        fitting = [kind for kind in kinds if _has_range(kind)]
        return None if value is None and type(None) in kinds else _refused(fitting[0], value)
    return _refused_tuple(kinds, value)


def _refused_tuple(kinds: tuple[Any, ...], values: Any) -> tuple[str, type[Exception]] | None:
    if not isinstance(values, (tuple, list)):
        return f"must be a tuple of numbers; got {values!r}.", TypeError
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(values)
    elif len(values) != len(kinds):
        return f"must be {len(kinds)} numbers; got {len(values)}.", ValueError
    for kind, value in zip(kinds, values):
        if (refusal := _refused(kind, value)) is not None:
            reason, error = refusal
            return reason.replace("must be", "must hold numbers", 1), error
    return None


def _refused_number(kind: type, accepted: Range, value: Any) -> tuple[str, type[Exception]] | None:
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return f"must be {'a whole number' if whole else 'a number'} {accepted}; got {value!r}.", TypeError
    return None if float(value) in accepted else (f"must be {accepted}; got {value}.", ValueError)
