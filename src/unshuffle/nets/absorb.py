"""Batch norms absorbed by the convolutions before them: the same function with fewer layers."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def absorbed(net: nn.Module) -> nn.Module:
    """A copy whose batch norms, where they follow a convolution, are part of its weights.

    In evaluation a batch norm scales and shifts each channel by fixed numbers, which a convolution can do as well.
    What is left does not change when a probe on top is trained, and costs less.

    Absorbed are neighbours in a chain, and the pairs ``conv1`` and ``bn1``, ``conv2`` and ``bn2``, … of residual
    networks; other norms stay as they are. Where a norm was, an ``Identity`` stands, so that the order remains.

    Args:
        net: any module.

    Returns:
        The copy, in evaluation mode.

    Source: SeLa, appendix A.1: "absorb the batch normalization weights into the preceding convolutions".
    """
    net = copy.deepcopy(net).eval()
    for module in list(net.modules()):
        children = dict(module.named_children())
        names = list(children)
        pairs = pairwise(names) if isinstance(module, nn.Sequential) else _named(names)
        for first, second in list(pairs):
            conv, norm = children[first], children[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())
    return net


def _named(names: list[str]) -> list[tuple[str, str]]:
    """``conv1`` with ``bn1`` and so on."""
    return [(name, f"bn{name[4:]}") for name in names if name.startswith("conv") and f"bn{name[4:]}" in names]
