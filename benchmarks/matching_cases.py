"""What `matching.py` measures: the operators that sort by networks, match and transport, each beside its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

import matching_peers as peers
from matching_peers import ITERATIONS, POWER, Answer, Function
from unshuffle import ops


@dataclass(frozen=True)
class Case:
    """One line of the table: an operator beside a peer, on one kind of input."""

    operator: str
    size: str
    law: str
    peer: str
    inputs: Callable[[], Tensor]
    ours: Function
    theirs: Function
    target: float | None = None
    without_compiler: float | None = None
    """The ratio wanted of our PyTorch path."""
    answer: Literal["values", "positions", "labels"] = "values"
    """Values have gradients; of positions the total score counts, as ties have several optima; labels have offsets."""
    large: bool = False
    """Calls of seconds: few rounds."""


def all_cases() -> list[Case]:
    """Every case, in the order of the table."""
    return [*_networks(), *_networks_with_vectors(), *_sinkhorn(), *_assignment(), *_transport()]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------------ networks


def _our_sum(values: Tensor, *, places: int) -> Answer:
    last = (torch.arange(values.shape[-1]) >= values.shape[-1] - places).to(values.dtype).unsqueeze(-1)
    return (ops.sorting_network_apply(values, last, vectors_of="positions"),)


def _networks() -> list[Case]:
    return [
        Case(
            operator="sorting_network",
            size=f"{batch} × {n}",
            law=network.replace("_", "–"),
            peer="diffsort",
            inputs=partial(drawn, batch, n),
            ours=partial(ops.sorting_network, network=network),
            theirs=partial(peers.diffsort, network=network),
            target=7.0,
        )
        for network in ("odd_even", "bitonic")
        for batch, n in ((1024, 9), (1024, 11), (512, 16), (256, 32))
    ]


def _networks_with_vectors() -> list[Case]:
    return [
        Case(
            operator="sorting_network_apply",
            size=f"{batch} × {n}",
            law="odd–even",
            peer="diffsort, then the sum",
            inputs=partial(drawn, batch, n),
            ours=partial(_our_sum, places=places),
            theirs=partial(peers.diffsort_then_sum, places=places),
            target=target,
            without_compiler=plain,
            large=n > 64,
        )
        for batch, n, places, target, plain in ((1024, 11, 1, 12.0, 3.0), (128, 128, 16, 100.0, 20.0))
    ]


# ------------------------------------------------------------------------------------------------------------ Sinkhorn


def _our_sinkhorn(scores: Tensor) -> Answer:
    return (ops.sinkhorn(scores, num_iters=ITERATIONS),)


def _sinkhorn() -> list[Case]:
    beside: list[tuple[str, Function, float, float | None]] = [
        ("unrolled logsumexp", peers.unrolled, 6.0, 2.0),
        ("POT batch, scaling", partial(peers.pot_batch, method="sinkhorn"), 5.0, None),
        ("POT batch, logarithms", partial(peers.pot_batch, method="log_sinkhorn"), 5.0, None),
    ]
    return [
        Case(
            operator="sinkhorn",
            size=f"{batch} × {n} × {n}",
            law="normal",
            peer=peer,
            inputs=partial(drawn, batch, n, n),
            ours=_our_sinkhorn,
            theirs=function,
            target=target,
            without_compiler=plain,
            large=n > 1000,
        )
        for batch, n in ((256, 9), (64, 64), (1, 1024))
        for peer, function, target, plain in beside
    ]


# ---------------------------------------------------------------------------------------------------------- assignment


def _our_assignment(scores: Tensor) -> Answer:
    return (ops.assign(scores),)


def _normal_scores(batch: int, n: int) -> Tensor:
    return drawn(batch, n, n)


def _whole_scores(batch: int, n: int) -> Tensor:
    """Few levels, many ties."""
    return (4 * drawn(batch, n, n)).round()


def _distances(batch: int, n: int) -> Tensor:
    """Minus the distances between points of the plane and the same points disturbed, in another order."""
    points = drawn(batch, n, 2)
    moved = (points + 0.1 * drawn(batch, n, 2, seed=1))[
        :, torch.randperm(n, generator=torch.Generator().manual_seed(0))
    ]
    return -torch.cdist(points, moved)


def _assignment() -> list[Case]:
    beside: list[tuple[str, Function]] = [
        ("scipy, a loop", peers.scipy),
        ("lapx, a loop", peers.lapx),
        ("lapjv, a loop", peers.lapjv),
    ]
    targets = {9: 2.0, 64: 1.0, 1024: 1.0}
    laws = {"normal": _normal_scores, "whole numbers": _whole_scores, "distances": _distances}
    return [
        Case(
            operator="assign",
            size=f"{batch} × {n} × {n}",
            law=law,
            peer=peer,
            inputs=partial(make, batch, n),
            ours=_our_assignment,
            theirs=function,
            target=targets[n] if function is peers.scipy else None,
            answer="positions",
        )
        for batch, n in ((512, 9), (64, 64), (1, 1024))
        for law, make in laws.items()
        for peer, function in beside
    ]


# ----------------------------------------------------------------------------------------------------------- transport


def _log_probabilities(samples: int, classes: int) -> Tensor:
    scores = drawn(samples, classes)
    return scores.sub_(scores.logsumexp(-1, keepdim=True))


def _first_offsets(log_probabilities: Tensor) -> Tensor:
    """Class offsets after the peers' first step: they scale the classes first, from equal samples."""
    total = torch.zeros(log_probabilities.shape[1], dtype=torch.float64)
    for rows in log_probabilities.split(1024):
        total += (POWER * (rows.double() - rows.amax(-1, keepdim=True))).exp().sum(0)
    return -total.log()


def our_transport(log_probabilities: Tensor, *, spare_memory: bool) -> Answer:
    """Labels and class scalings, after as many iterations as the peers make."""
    found = ops.transport(
        log_probabilities, power=POWER, tolerance=0.0, max_iters=ITERATIONS, spare_memory=spare_memory
    )
    return peers.labels_and_offsets(found.labels, found.class_offsets)


def from_their_start(log_probabilities: Tensor) -> Answer:
    """The very iterations of the peers, which begin with the other step: the first of theirs is our start."""
    start = _first_offsets(log_probabilities)
    found = ops.transport(log_probabilities, power=POWER, tolerance=0.0, max_iters=ITERATIONS - 1, start=start)
    return peers.labels_and_offsets(found.labels, found.class_offsets)


def _transport() -> list[Case]:
    beside: list[tuple[str, bool, Function, float | None]] = [
        ("normal", False, peers.numpy_loop, 1.5),
        ("normal", False, peers.pot, 4.0),
        ("normal, `spare_memory`", True, peers.pot, None),
    ]
    return [
        Case(
            operator="transport",
            size=f"{samples:,} × {classes:,}",
            law=law,
            peer="POT" if function is peers.pot else "numpy, float64",
            inputs=partial(_log_probabilities, samples, classes),
            ours=partial(our_transport, spare_memory=spare_memory),
            theirs=function,
            target=target,
            answer="labels",
            large=True,
        )
        for samples, classes in ((50_000, 128), (100_000, 3_000))
        for law, spare_memory, function, target in beside
    ]
