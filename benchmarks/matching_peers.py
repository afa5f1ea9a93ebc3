"""The peers of the operators that match and transport, each as its users call it, in its fastest form.

Tables that a peer can make beforehand are made beforehand. A peer that is not installed raises ImportError when called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

Answer = tuple[Tensor, ...]
Function = Callable[[Tensor], Answer]

ITERATIONS = 20
POWER = 25.0


# ------------------------------------------------------------------------------------------------------------ networks


@cache
def _their_network(network: str, n: int, dtype: torch.dtype) -> Any:
    from diffsort.networks import get_sorting_network

    # Its tables are cast to the values' dtype in every layer of every call; cast beforehand, that costs nothing.
    return [[table.to(dtype) for table in layer] for layer in get_sorting_network(network, n, torch.device("cpu"))]


def diffsort(values: Tensor, *, network: str) -> Answer:
    from diffsort.functional import sort

    return sort(_their_network(network, values.shape[-1], values.dtype), values, steepness=1.0, distribution="cauchy")


def diffsort_then_sum(values: Tensor, *, places: int) -> Answer:
    """What a group-ordering loss needs: by item, the sum over the last places."""
    return (diffsort(values, network="odd_even")[1][..., -places:].sum(-1, keepdim=True),)


# ------------------------------------------------------------------------------------------------------------ Sinkhorn


def unrolled(scores: Tensor) -> Answer:
    """As the scripts have it: two logsumexp an iteration, differentiated through."""
    for _ in range(ITERATIONS):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return (scores.exp(),)


def pot_batch(scores: Tensor, *, method: str) -> Answer:
    from ot.batch import solve_batch

    marginals = scores.new_full(scores.shape[:2], 1 / scores.shape[1])
    found = solve_batch(
        -scores, 1.0, a=marginals, b=marginals, max_iter=ITERATIONS, tol=0.0, method=method, grad="autodiff"
    )
    return (found.plan * scores.shape[1],)


# ---------------------------------------------------------------------------------------------------------- assignment


def scipy(scores: Tensor) -> Answer:
    from scipy.optimize import linear_sum_assignment

    return (torch.from_numpy(np.stack([linear_sum_assignment(s, maximize=True)[1] for s in scores.numpy()])),)


def lapx(scores: Tensor) -> Answer:
    import lap

    found = [lap.lapjv(cost, return_cost=False)[0] for cost in (-scores).double().numpy()]
    return (torch.from_numpy(np.stack(found)).long(),)


def lapjv(scores: Tensor) -> Answer:
    import lapjv

    found = [lapjv.lapjv(cost)[0] for cost in (-scores).numpy()]
    return (torch.from_numpy(np.stack(found)).long(),)


# ----------------------------------------------------------------------------------------------------------- transport


def numpy_loop(log_probabilities: Tensor) -> Answer:
    """Sinkhorn-Knopp in float64 as self-labelling's code has it: classes, samples; labels of the scaled matrix."""
    matrix = np.array(log_probabilities, dtype=np.float64)
    matrix -= matrix.max(1, keepdims=True)
    matrix *= POWER
    np.exp(matrix, out=matrix)
    samples, classes = matrix.shape
    c = np.full((samples, 1), 1 / samples)
    for _ in range(ITERATIONS):
        r = (1 / classes) / (matrix.T @ c)
        c = (1 / samples) / (matrix @ r)
    matrix *= r.T
    return labels_and_offsets(torch.from_numpy(matrix.argmax(1)), torch.from_numpy(np.log(r[:, 0])))


def pot(log_probabilities: Tensor) -> Answer:
    """POT's Sinkhorn in float64, whose scaling domain needs the rows' maxima removed as well."""
    import ot

    cost = np.array(log_probabilities, dtype=np.float64)
    cost -= cost.max(1, keepdims=True)
    cost *= -POWER
    samples, classes = cost.shape
    a, b = np.full(samples, 1 / samples), np.full(classes, 1 / classes)
    plan, log = ot.sinkhorn(a, b, cost, reg=1.0, numItermax=ITERATIONS, stopThr=0.0, warn=False, log=True)
    return labels_and_offsets(torch.from_numpy(plan.argmax(1)), torch.from_numpy(np.log(log["v"])))


def labels_and_offsets(labels: Tensor, offsets: Tensor) -> Answer:
    """Labels, and the logarithms of the class scalings, which are given up to a constant."""
    return labels, offsets.double() - offsets.double().mean()
