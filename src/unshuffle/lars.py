"""Layer-wise adaptive rates: steps in proportion to the weights that they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from unshuffle import _check

ADAPT = "adapt"
"""Key of a parameter group: False for plain momentum, as biases and normalisation layers are often given."""


class LARS(torch.optim.Optimizer):
    r"""Stochastic gradients with momentum, each tensor's step scaled to its own length.

    .. math:: v \leftarrow \mu v + \eta \frac{\lVert w \rVert}{\lVert g \rVert + \lambda \lVert w \rVert + \epsilon}
        (g + \lambda w), \qquad w \leftarrow w - \text{lr} \, v

    Large batches train with it at rates at which one rate for all layers diverges. A tensor of zeros, or without a
    gradient, takes its gradient as it is and no decay.

    Args:
        params: as of every optimiser; a group with ``"adapt": False`` is not scaled.
        lr: learning rate.
        momentum: :math:`\mu`, share of the last step that goes on.
        weight_decay: :math:`\lambda`.
        trust: :math:`\eta`, length of a step in units of the weights' length, at rate 1.
        eps: keeps the quotient finite.
        clip: never scale up a step: the factor is held to that of plain momentum at this rate.

    Raises:
        ValueError: an option is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimiser = LARS([weight], lr=1.0, trust=0.1)
        >>> weight.grad = torch.tensor([0.0, 100.0])
        >>> optimiser.step()
        >>> weight.data
        tensor([3.0000, 3.5000])

    Source: You, Gitman & Ginsburg, "Large batch training of convolutional networks", 2017; with ``clip``, and in what
    happens at zero, as apex's LARC, which GroCo's code trains its baselines and linear probes with.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        eps: float = 1e-8,
        clip: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay), ("eps", eps)):
            _check.not_negative("LARS", name, value)
        _check.positive("LARS", "trust", trust)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "eps": eps}
        super().__init__(params, {**defaults, "clip": clip, ADAPT: True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all tensors that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    direction = self._momentum(weight, _direction(weight, weight.grad, group), group["momentum"])
                    weight.sub_(direction, alpha=group["lr"])
        return loss

    def _momentum(self, weight: Tensor, direction: Tensor, momentum: float) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = direction.clone()
        else:
            state["momentum_buffer"].mul_(momentum).add_(direction)
        return state["momentum_buffer"]


def _direction(weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """The gradient with its decay, at the length that the tensor's own length allows."""
    decayed = gradient + group["weight_decay"] * weight
    if not group[ADAPT]:
        return decayed
    size, slope = weight.norm(), gradient.norm()
    scale = group["trust"] * size / (slope + group["weight_decay"] * size + group["eps"])
    if group["clip"]:
        scale = (scale / group["lr"]).clamp(max=1) if group["lr"] else torch.ones_like(scale)
    # Chosen on the device: a branch would wait for it, tensor by tensor.
    return torch.where((size > 0) & (slope > 0), decayed * scale, gradient)
