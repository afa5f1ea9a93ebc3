"""A network built from a description that a stranger may have written: nothing is downloaded, and it is no larger than
the weights that come with it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from unshuffle.nets import Timm

MOST_VALUES = 1 << 26
"""Values of one raw item, at the most."""
_SPARE_VALUES, _SPARE_TENSORS = 1 << 24, 4096
_MOST_OUTPUTS = 1 << 28
"""Values that one layer gives for one item, at the most."""


class TooLarge(ValueError):
    """A description of a network that is much larger than its weights."""


def without_downloads(value: Any) -> Any:
    """A frozen value in which no backbone starts from weights that would be downloaded."""
    if isinstance(value, Timm):
        return value.fresh()
    if isinstance(value, tuple):
        return tuple(map(without_downloads, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    changed = {k: new for k, old in fields.items() if (new := without_downloads(old)) != old}
    return dataclasses.replace(value, **changed) if changed else value


def item_shape(sizes: Any) -> tuple[int, ...]:
    """The shape of an item as a description has it.

    Raises:
        ValueError: it is none, or that of an item which no machine could hold.
    """
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"`item_shape` must be a list of positive integers; got {str(sizes)[:80]}")
    if math.prod(sizes) > MOST_VALUES:
        raise ValueError(f"`item_shape` is of more than {MOST_VALUES:,} values: {str(sizes)[:80]}")
    return tuple(sizes)


def build(value: Any, net: nn.Module | None, weights: Mapping[str, Tensor]) -> nn.Module:
    """Builds what ``value`` describes, around ``net`` if that is given, and loads ``weights`` into it.

    It is built without memory first, so that a description of a billion neurons is refused before it takes any.

    Raises:
        TooLarge: the network is much larger than its weights.
        RuntimeError: the weights do not fit.
    """
    with contextlib.suppress(RuntimeError, NotImplementedError, TypeError):  # what cannot be built without memory
        own = None if net is None else copy.deepcopy(net).to("meta")
        with _no_larger_than(weights), torch.device("meta"):
            outline = value.build() if own is None else value.build(own)
        outline.load_state_dict({name: tensor.to("meta") for name, tensor in weights.items()})
    built = cast(nn.Module, value.build() if net is None else value.build(net))
    built.load_state_dict(dict(weights))
    return built


@contextlib.contextmanager
def _no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuses networks whose parameters outgrow ``weights`` while they are made, or that give enormous outputs."""
    values = 2 * sum(tensor.numel() for tensor in weights.values()) + _SPARE_VALUES
    tensors = 4 * len(weights) + _SPARE_TENSORS

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal values, tensors
        tensors -= 1
        values -= 0 if parameter is None else parameter.numel()
        if tensors < 0 or values < 0:
            raise TooLarge("the network that it describes is much larger than its weights")

    def measure(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.numel() > _MOST_OUTPUTS:
            raise TooLarge("the network that it describes makes more of one item than a machine can hold")

    handles = (
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_forward_hook(measure),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
