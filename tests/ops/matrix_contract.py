"""What every operator on score matrices promises, written down once: ``test_matrix_contract.py`` runs over ``CASES``.

A case is an operator with options. It promises all of ``CLAIMS`` but those it ``lacks``: the tests of such a claim
leave it out, and the suite reports the reason once. To join, an operator adds its entry to ``CONTRACTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unshuffle.ops.assignment import assign
from unshuffle.ops.neighbours import arrange_by_neighbours
from unshuffle.ops.ordering import arrange_by_costs, order_by_costs
from unshuffle.ops.sinkhorn import gumbel_sinkhorn, sinkhorn
from unshuffle.ops.transport import transport
from unshuffle.permutations import invert, to_matrix

Claim = Literal[
    "derivative",  # there is a gradient, and it is that of the value, to finite differences
    "second derivative",  # and so is the second one
    "forward mode",  # jacfwd gives what jacrev gives
    "alone",  # a matrix is answered in a batch as it is alone
    "batches",  # any axes in front
    "nothing",  # sizes of 0
    "names",  # the order of items and of positions means nothing
    "offsets",  # adding a number to all scores of a row changes nothing
    "units",  # scores and strength in other units tell nothing new
    "strength",  # there is one
    "hard limit",  # a vanishing strength gives the best assignment
    "flat limit",  # an unbounded strength tells no pairs apart
    "columns",  # columns sum to n / m, whatever the scores
    "rectangles",  # n and m may differ
    "dtype",  # the answer has the dtype of the scores
    "NaN",  # a matrix that holds NaN comes back NaN whole
    "infinities",  # minus infinity is a masked pair
    "huge scores",  # scores of any magnitude beside each other
    "mask",  # takes a mask of allowed pairs
    "choice",  # an option of the operator is one word of a list
    "compile",  # torch.compile, without graph breaks
    "vmap",  # torch.func.vmap
    "native",  # runs in C as well as in PyTorch
]
CLAIMS: tuple[Claim, ...] = get_args(Claim)


@dataclass(frozen=True)
class Kind:
    """What an answer is: a plan, items on rows and positions on columns, or the position of each item."""

    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """The shape of the answer, from that of the scores."""
    relabelled: Callable[[Tensor, Tensor, Tensor], Tensor]
    """The answer for ``scores[p][:, q]``, from the answer for ``scores``, and p and q."""
    plan: Callable[[Tensor], Tensor]
    """The answer for one square matrix, hard, as a permutation matrix."""
    compared: Callable[[Tensor, Tensor], Tensor] = lambda scores, answer: answer
    """What two right answers for the same scores have in common."""


def total(scores: Tensor, places: Tensor) -> Tensor:
    """How many items are placed, how many of them with score infinity, and the total score of the others."""
    placed = places >= 0
    if not scores.numel():
        return placed.sum(-1)
    picked = scores.gather(-1, places.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    certain = placed & (picked == torch.inf)
    finite = torch.where(placed & ~certain, picked, 0.0)
    return torch.stack([placed.sum(-1), certain.sum(-1), finite.sum(-1)])


PLAN = Kind(lambda shape: shape, lambda answer, p, q: answer[p][:, q], lambda answer: answer.round())
PLACES = Kind(
    lambda shape: shape[:-1],
    lambda answer, p, q: invert(q)[answer[p]],
    lambda answer: to_matrix(invert(answer)).double(),
    compared=total,
)


@dataclass(frozen=True)
class Case:
    """One operator with options, and what the suite cannot know by itself."""

    name: str
    operator: Callable[..., Tensor]
    kind: Kind = PLAN
    strength: str = "temperature"
    """The keyword whose small values are sharp; empty where there is none."""
    options: Mapping[str, object] = field(default_factory=dict)
    settled: Mapping[str, object] = field(default_factory=dict)
    """Further options, with which an iteration has converged at small strengths."""
    choice: str = ""
    """The option that is one word of a list."""
    usual: float = 0.7
    """A strength at which the answer is neither hard nor flat for standard normal scores."""
    lacks: Mapping[Claim, str] = field(default_factory=dict)
    """Claims that do not hold, with the reason."""

    def __call__(self, scores: Tensor, *, strength: float | None = None, **more: Any) -> Tensor:
        at = {self.strength: self.usual if strength is None else strength} if self.strength else {}
        return self.operator(scores, **{**at, **self.options, **more})

    @property
    def function(self) -> str:
        """The name that the operator's errors begin with."""
        return self.name.partition("[")[0]


def seeded_gumbel_sinkhorn(scores: Tensor, **options: Any) -> Tensor:
    """The same draw in every call."""
    return gumbel_sinkhorn(scores, generator=torch.Generator(scores.device).manual_seed(0), **options)


_SINKHORN = Case(
    name="sinkhorn[unrolled]",
    operator=sinkhorn,
    options={"gradient": "unrolled"},
    settled={"num_iters": 200},
    choice="gradient",
)
_DRAWN: dict[Claim, str] = {
    "alone": "every matrix has a draw of its own",
    "names": "the draw stays where it is",
    "units": "the noise has units of its own",
    "hard limit": "the noise decides too",
    "compile": "a generator does not enter a compiled graph",
    "forward mode": "jacfwd is a vmap",
    "vmap": "vmap asks for its own argument `randomness`",
}

_ASSIGN = Case(
    name="assign",
    operator=assign,
    kind=PLACES,
    strength="",
    lacks={
        "derivative": "integers have no gradient",
        "second derivative": "integers have no gradient",
        "forward mode": "integers have no gradient",
        "strength": "its answer is hard",
        "units": "there is no strength to measure in them",
        "hard limit": "its answer is the limit",
        "flat limit": "its answer is hard",
        "columns": "its answer is no matrix",
        "dtype": "its answer is int64",
        "NaN": "an error says where it lies",
        "choice": "the operator has no such option",
        "compile": "its branches depend on the numbers: the graph is broken, and goes on behind it",
    },
)


def planned(scores: Tensor, *, temperature: float, max_iters: int = 30) -> Tensor:
    """The plan of a transport of items to positions, in the units of Sinkhorn's answer."""
    found = transport(scores, power=1 / temperature, tolerance=0.0, max_iters=max_iters)
    return scores.shape[0] * found.plan()


_TRANSPORT = Case(
    name="transport",
    operator=planned,
    settled={"max_iters": 200},
    lacks={
        "derivative": "labels are made without a gradient",
        "second derivative": "labels are made without a gradient",
        "forward mode": "labels are made without a gradient",
        "alone": "one matrix of any size at a time",
        "batches": "one matrix of any size at a time",
        "nothing": "without classes there is nothing to label with",
        "strength": "its power counts the other way round",
        "columns": "rows are exact, columns within the tolerance",
        "dtype": "half precision comes back in single",
        "NaN": "an error says in which row it lies",
        "infinities": "plus infinity is refused, and so is a row of minus infinity alone",
        "mask": "minus infinity forbids a pair; a sample of weight 0 is left out",
        "choice": "the operator has no such option",
        "compile": "it iterates until the numbers are right",
        "vmap": "it iterates until the numbers are right",
    },
)


def ordered(costs: Tensor, *, temperature: float, **options: Any) -> Tensor:
    """An order whose steps are as small as the temperature is high; few of them, for they are unrolled."""
    return order_by_costs(costs, step_size=1 / temperature, steps=2, iterations=2, **options)


def arranged(costs: Tensor, *, temperature: float, **options: Any) -> Tensor:
    """The same on a lattice one place wide, along which alone there is something to pay for."""
    there = costs.unsqueeze(-3).expand(*costs.shape[:-2], 2, *costs.shape[-2:]) if costs.ndim > 1 else costs
    shape = (costs.shape[-1] if costs.ndim else 0, 1)
    return arrange_by_costs(there, shape, step_size=1 / temperature, steps=1, iterations=1, **options)


def beside(costs: Tensor, *, temperature: float, **options: Any) -> Tensor:
    """Items in a row by their neighbours, at one temperature; few steps, for they are unrolled."""
    there, n = (costs.unsqueeze(-3), costs.shape[-1]) if costs.ndim > 1 else (costs, 0)
    return arrange_by_neighbours(there, (n,), temperatures=(temperature,) * 2, steps=2, iterations=1, **options)


_ORDERED = Case(
    name="order_by_costs",
    operator=ordered,
    choice="update",
    lacks={
        "names": "the same items stand on rows and columns",
        "offsets": "costs are differences already",
        "strength": "its step size may have either sign",
        "hard limit": "descent on a programme that is not convex",
        "rectangles": "a cost for each pair of items",
        "dtype": "single precision is computed in single precision",
        "infinities": "an infinite cost is no cost: the set is NaN",
        "huge scores": "costs times the step size must be numbers: their norm is 1",
        "mask": "its mask is of items, not of pairs",
    },
)

CONTRACTS = {
    assign: [_ASSIGN],
    order_by_costs: [_ORDERED],
    arrange_by_costs: [
        replace(
            _ORDERED,
            name="arrange_by_costs",
            operator=arranged,
            lacks={**_ORDERED.lacks, "mask": "as many items as places"},
        )
    ],
    arrange_by_neighbours: [
        replace(
            _ORDERED,
            name="arrange_by_neighbours",
            operator=beside,
            choice="",
            lacks={
                **_ORDERED.lacks,
                "offsets": "an item dear beside all others is best put at the end",
                "strength": "it has two temperatures",
                "hard limit": "annealing of a programme that is not convex",
                "huge scores": "sums of costs must be numbers",
                "mask": "as many items as places",
                "choice": "the operator has no such option",
            },
        )
    ],
    transport: [_TRANSPORT],
    sinkhorn: [
        _SINKHORN,
        # The gradient is that of the limit, so the iterations have to get there.
        replace(_SINKHORN, name="sinkhorn[implicit]", options={"gradient": "implicit", "num_iters": 200}),
    ],
    gumbel_sinkhorn: [
        replace(_SINKHORN, name="gumbel_sinkhorn", operator=seeded_gumbel_sinkhorn, lacks=_DRAWN),
    ],
}
CASES = [case for cases in CONTRACTS.values() for case in cases]
