"""What stands on a backbone while it is trained, and is taken off afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from unshuffle._ranges import Few, Size
from unshuffle.values import register


@register
@dataclass(frozen=True)
class Projector:
    """Linear layers with batch norm and, but for the last one, ReLU: from a representation to what a loss compares.

    No linear layer has a bias: the norm behind it would take it away. The last norm has no weights of its own.

    Source: GroCo, section 4.1 (three layers of 2048), and its code for what the paper leaves open.
    """

    hidden: Size = 2048
    """Units of the layers in between."""
    features: Size = 2048
    """Length of a projection."""
    layers: Few = 3
    """Linear layers."""

    def build(self, inputs: int) -> nn.Sequential:
        """A module from (B, inputs) to (B, features)."""
        widths = (inputs, *(self.hidden,) * (self.layers - 1), self.features)
        made: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            made += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        return nn.Sequential(*made, nn.Linear(*widths[-2:], bias=False), nn.BatchNorm1d(self.features, affine=False))
