"""What samples are ordered by: numbers and dates as they are, words by an order that is told.

An order of words is a list, weak to strong, of groups that tie: ``[["TallBuilding"], ["InsideCity", "Street"]]``. A
JSON file holds one for each attribute.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timezone
from typing import Any

import numpy as np

from unshuffle.data.match import composed

Order = tuple[tuple[str, ...], ...]
"""Groups of words, weak to strong; the words of a group tie."""

_EXIF = re.compile(r"(\d{4}):(\d\d):(\d\d)(?:[ T](.+))?")
_FACTS = ("order_weak_to_strong", "orders")
"""Keys below which a file may keep its orders beside other facts."""


def read_orders(text: str, name: str) -> dict[str, Order]:
    """Reads a JSON file of orders, attribute by attribute.

    Args:
        text: an object from attributes to lists, weak to strong, of words or lists of words that tie; or an object
            that holds such a one as ``order_weak_to_strong`` or ``orders``.
        name: of the file, for messages.

    Raises:
        ValueError: it is something else.

    Example:
        >>> read_orders('{"open": ["Forest", ["Coast", "Highway"]]}', "orders.json")
        {'open': (('Forest',), ('Coast', 'Highway'))}
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} cannot be read as JSON: {str(error).splitlines()[0]}.") from error
    if isinstance(told, dict):
        told = next((told[key] for key in _FACTS if key in told), told)
    if not isinstance(told, dict) or not told or not all(isinstance(order, list) for order in told.values()):
        raise ValueError(
            f'{name!r} must map attributes to orders, weak to strong, such as {{"open": ["Forest", ["Coast", '
            '"Highway"]]}.'
        )
    return {attribute: _order(order, f"{name!r}, {attribute!r}") for attribute, order in told.items()}


def _order(groups: list[Any], where: str) -> Order:
    """The groups of one attribute.

    Raises:
        ValueError: they hold something else than words, or a word twice.
    """
    order = tuple(tuple(group) if isinstance(group, list) else (group,) for group in groups)
    words = [composed(word) if isinstance(word, str) else word for group in order for word in group]
    if not words or not all(isinstance(word, str) for word in words) or not all(order):
        raise ValueError(f"{where}: an order is a list of words, or of lists of words that tie; got {groups!r:.80}.")
    if len(set(words)) < len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise ValueError(f"{where}: {twice!r} stands in the order twice; leave one.")
    return order


def chosen_order(orders: dict[str, Order], target: str | None, name: str) -> Order:
    """The order of one attribute; of the only one, where there is one only.

    Raises:
        ValueError: there is no such attribute, or several and none is named.
    """
    if target is None and len(orders) == 1:
        return next(iter(orders.values()))
    if target not in orders:
        asked = "several attributes" if target is None else f"no attribute {target!r}"
        raise ValueError(f"{name!r} has {asked}: name one (--target); it has {', '.join(orders)}.")
    return orders[target]


def rank_words(words: Sequence[str], order: Order, where: str) -> np.ndarray:
    """The number of each word's group, from 0: words of a group tie.

    Raises:
        ValueError: a word is not in the order.

    Example:
        >>> rank_words(["Coast", "Forest"], (("Forest",), ("Coast", "Highway")), "photos").tolist()
        [1.0, 0.0]
    """
    place = {composed(word): number for number, group in enumerate(order) for word in group}
    missing = sorted({word for word in words if composed(word) not in place})
    if missing:
        raise ValueError(
            f"{where}: {missing[0]!r} and {len(missing) - 1} others are not in the order, which has "
            f"{', '.join(place)}: add them, or leave their files out."
        )
    return np.array([place[composed(word)] for word in words], dtype=np.float64)


def rank_values(values: Sequence[object], where: str, *, place: Callable[[int], str] | None = None) -> np.ndarray:
    """Numbers as they are, and dates in seconds since 1970 (a date without a zone is taken as UTC).

    Args:
        values: all numbers, or all dates: ISO 8601 (``2019-07-01``, ``2019-07-01 12:30``, with or without a zone), as
            cameras write it (``2019:07:01 12:30:00``), or Python's own.
        where: they come from, for messages.
        place: of a value by its number, for messages; None: only ``where`` is known.

    Raises:
        ValueError: they are neither, or mixed.

    Example:
        >>> rank_values(["3", "0.5"], "scores.csv").tolist()
        [3.0, 0.5]
        >>> rank_values(["1970-01-02", "1970:01:01 00:00:01"], "dates.csv").tolist()
        [86400.0, 1.0]
    """
    for read in (_number, _seconds):
        found = [read(value) for value in values]
        if None not in found:
            return np.array(found, dtype=np.float64)
    numbers, seconds = ([read(value) is not None for value in values] for read in (_number, _seconds))
    odd = next((k for k, pair in enumerate(zip(numbers, seconds)) if not any(pair)), None)
    if odd is None:
        odd = numbers.index(not numbers[0])
        what = f"some values are numbers and some are dates: {values[0]!r} and {values[odd]!r}"
    else:
        what = f"{values[odd]!r} is neither a number nor a date"
    if "," in str(values[odd]):
        what += ", a decimal point is written as a point"
    raise ValueError(
        f"{where if place is None else place(odd)}: {what}. Words need an order (--class-orders), dates are written "
        "2019-07-01 12:30:00."
    )


def _number(value: object) -> float | None:
    """A finite number, also one that is written out."""
    if isinstance(value, (date, datetime)):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _seconds(value: object) -> float | None:
    """A date as seconds."""
    if isinstance(value, str):
        value = _date(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    known = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    return (known - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()


def _date(text: str) -> datetime | None:
    """The date that a text writes. Python 3.10 takes no ``Z`` for UTC."""
    if match := _EXIF.fullmatch(text):
        text = f"{match[1]}-{match[2]}-{match[3]}" + (f" {match[4]}" if match[4] else "")
    try:
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        return None
