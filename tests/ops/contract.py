"""What every operator of ``ops.ALL`` promises, written down once: the suite beside this file runs over ``CASES``.

A case is an operator with options. It promises all of ``CLAIMS`` but those it ``lacks``: the tests of such a claim
leave it out, and the suite reports the reason once. To join, an operator adds its entry to ``_CONTRACTS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from matrix_contract import CONTRACTS as _MATRIX_CONTRACTS
from torch import Tensor

from unshuffle import ops
from unshuffle.ops.blackbox import blackbox_rank
from unshuffle.ops.ot_rank import ot_rank
from unshuffle.ops.perturbed import perturbed_rank
from unshuffle.ops.perturbed_sort import perturbed_sort
from unshuffle.ops.relaxed_sort import neural_sort, soft_sort_matrix
from unshuffle.ops.soft_rank import soft_rank, soft_sort
from unshuffle.ops.soft_topk import soft_topk
from unshuffle.ops.sorting_network import sorting_network, sorting_network_apply
from unshuffle.permutations import to_ranks

Claim = Literal[
    "derivative",  # the gradient is that of the value, to finite differences
    "second derivative",  # and so is the second one
    "forward mode",  # jacfwd gives what jacrev gives
    "hard limit",  # a vanishing strength gives the hard answer
    "zero strength",  # strength 0 is accepted, and gives the hard answer
    "flat limit",  # an unbounded strength tells no items apart
    "equal values",  # equal values, or one alone, have the flat answer
    "relabelling",  # names of items carry no meaning, so that ties share an answer
    "ascending",  # softly sorted values ascend
    "total",  # the answer's total is that of the flat one
    "range",  # no answer lies beyond the hard ones
    "units",  # values and strength in other units tell nothing new
    "huge values",  # neighbours are told apart beside values of any magnitude
    "infinities",  # infinite values take the ends, with gradient 0
    "far values",  # a value far from all others is as good as infinite
    "mask",  # takes a mask of present items
    "choice",  # an option of the operator is one word of a list
    "limit of size",  # large sets are solved in another way, and transforms refuse them
    "thousands",  # sets of thousands are nothing special
    "a million",  # a million items are quick, and as exact in float32 as in float64
    "native",  # runs in C as well as in PyTorch
]
CLAIMS: tuple[Claim, ...] = get_args(Claim)


@dataclass(frozen=True)
class Kind:
    """What an answer is: ranks, sorted values, memberships, or a matrix of items by positions."""

    shuffled: Callable[[Tensor, Tensor], Tensor]
    """The answer for ``values[p]``, from the answer for ``values`` and ``p``."""
    span: Callable[[Tensor], tuple[Any, Any]]
    """The least and the largest entry that an answer may have."""
    moves: float
    """By how much an answer moves when all values move by one."""
    axes: int = 1
    """How many axes of the answer one set takes."""

    def of_present(self, answer: Tensor, present: Tensor) -> Tensor:
        """What one set's answer says of the items that are present."""
        return answer[present] if self.axes == 1 else answer[present][:, present]


RANKS = Kind(lambda answer, p: answer[p], lambda values: (1, values.shape[-1]), 0)
MEMBERSHIPS = Kind(lambda answer, p: answer[p], lambda values: (0, 1), 0)
SORTED = Kind(lambda answer, p: answer, lambda values: (values.min(), values.max()), 1)
MATRIX = Kind(lambda answer, p: answer[p], lambda values: (0, 1), 0, axes=2)
KINDS = (RANKS, MEMBERSHIPS, SORTED, MATRIX)


@dataclass(frozen=True)
class Case:
    """One operator with options, and what the suite cannot know by itself."""

    name: str
    operator: Callable[..., Tensor]
    kind: Kind
    strength: str
    """The keyword whose small values are sharp."""
    hard: Callable[[Tensor], Tensor]
    """The answer in the limit of no strength, ties shared."""
    flat: Callable[[Tensor], Tensor]
    """The answer in the limit of unbounded strength."""
    options: Mapping[str, object] = field(default_factory=dict)
    total: Callable[[Tensor], Tensor] = lambda answer: answer.sum(-1)
    """What every answer for the same values has in common with the flat one."""
    lacks: Mapping[Claim, str] = field(default_factory=dict)
    """Claims that do not hold, with the reason."""
    turned: Mapping[str, object] = field(default_factory=dict)
    """Options that turn the answer round, beside those of the name."""
    unit: Literal["values", "inverse values", "none"] = "values"
    """What the strength is measured in."""
    usual: float = 0.7
    """A strength at which the answer is neither hard nor flat for standard normal values."""
    inverse: bool = False
    """The keyword takes one over the strength."""

    def __call__(self, values: Tensor, *, strength: float | None = None, dim: int = -1, **more: Any) -> Tensor:
        strength = self.usual if strength is None else strength
        if self.inverse:
            strength = 1 / strength if strength else math.inf
        return self.operator(values, dim=dim, **{self.strength: strength, **self.options, **more})

    def in_units(self, strength: float, unit: float) -> float:
        """The strength for values that are ``unit`` times as large."""
        return {"values": strength * unit, "inverse values": strength / unit, "none": strength}[self.unit]

    @property
    def function(self) -> str:
        """The name that the operator's errors begin with."""
        return self.name.partition("[")[0]


# ------------------------------------------------------------------------------------------- hard answers, flat answers


def chosen(values: Tensor) -> Tensor:
    """Membership of the three largest; those that tie for the last places share them."""
    k = min(3, values.shape[-1])
    last = values.sort(dim=-1, descending=True).values[..., k - 1 : k] if k else values
    above, level = values > last, values == last
    share = (k - above.sum(-1, keepdim=True)) / level.sum(-1, keepdim=True)
    return (above + level * share).to(values.dtype)


def placed(values: Tensor) -> Tensor:
    """The permutation matrix, items on rows and positions on columns; tied items share their positions."""
    same = (values.unsqueeze(-1) == values.sort(dim=-1).values.unsqueeze(-2)).to(values.dtype)
    return same / same.sum(-2, keepdim=True)


def ascending(values: Tensor) -> Tensor:
    return values.sort(dim=-1).values


def middle(values: Tensor) -> Tensor:
    """All ranks (n + 1) / 2."""
    return torch.full_like(values, (values.shape[-1] + 1) / 2)


def even_chance(values: Tensor) -> Tensor:
    """All memberships k / n."""
    n = values.shape[-1]
    return torch.full_like(values, min(3, n) / max(n, 1))


def mean(values: Tensor) -> Tensor:
    return values.mean(-1, keepdim=True).expand_as(values)


def exponential_sum(values: Tensor) -> Tensor:
    """Sum of the exponents of the negated values: what ascending KL sorting keeps."""
    return (-values).exp().sum(-1)


def exponential_mean(values: Tensor) -> Tensor:
    """The value whose negated exponent is the mean of all."""
    return (math.log(max(values.shape[-1], 1)) - (-values).logsumexp(-1, keepdim=True)).expand_as(values)


def column_sums(matrix: Tensor) -> Tensor:
    """What each position holds in all: one item."""
    return matrix.sum(-2)


def anywhere(values: Tensor) -> Tensor:
    """Every item at every position alike."""
    n = values.shape[-1]
    return torch.full((*values.shape, n), 1 / max(n, 1), dtype=values.dtype)


# -------------------------------------------------------------------------------------------------------- the contracts


def three_of_them(values: Tensor, *, dim: int = -1, **options: Any) -> Tensor:
    """Soft top-k of three items, or of all where there are fewer."""
    there = -values.ndim <= dim < values.ndim
    return soft_topk(values, min(3, values.shape[dim]) if there else 0, dim=dim, **options)


def sorted_by_network(values: Tensor, **options: Any) -> Tensor:
    return sorting_network(values, **options).values


def matrix_of_network(values: Tensor, **options: Any) -> Tensor:
    return sorting_network(values, **options).matrix


def carried_units(
    values: Tensor,
    *,
    vectors_of: Literal["items", "positions"],
    mask: Tensor | None = None,
    dim: int = -1,
    **options: Any,
) -> Tensor:
    """The matrix again, by what unit vectors become."""
    there = -values.ndim <= dim < values.ndim
    units = torch.eye(values.shape[dim] if there else 0, dtype=values.dtype if values.is_floating_point() else None)
    units = units.to(values.device)
    carried = sorting_network_apply(values, units, vectors_of=vectors_of, mask=mask, dim=dim, **options)
    if vectors_of == "positions":
        return carried
    if mask is None:
        return carried.mT
    # In a set with NaN, a vector is NaN whole, whichever items it knows of.
    return carried.mT.where(mask.expand_as(values).movedim(dim, -1).unsqueeze(-1), 0.0)


_NO_MASK: dict[Claim, str] = {"mask": "the operator takes no mask"}
_NO_C: dict[Claim, str] = {"native": "the operator has no loop in C"}
_ALL_PAIRS: dict[Claim, str] = {
    "limit of size": "all pairs of items are compared, whatever their number",
    "a million": "all pairs of items are compared",
}

_SOFT_RANK = Case(
    name="soft_rank[l2]",
    operator=soft_rank,
    kind=RANKS,
    strength="regularization_strength",
    hard=to_ranks,
    flat=middle,
    options={"regularization": "l2"},
    turned={"descending": True},
)
_SOFT_SORT = Case(
    name="soft_sort[l2]",
    operator=soft_sort,
    kind=SORTED,
    strength="regularization_strength",
    hard=ascending,
    flat=mean,
    options={"regularization": "l2"},
    turned={"descending": True},
    unit="inverse values",
    lacks={"far values": "a sum is kept, so that a far value pulls all others along"},
)
_SOFT_TOPK = Case(
    name="soft_topk[l2]",
    operator=three_of_them,
    kind=MEMBERSHIPS,
    strength="regularization_strength",
    hard=chosen,
    flat=even_chance,
    options={"regularization": "l2"},
    turned={"largest": False},
)
_PERTURBED_RANK = Case(
    name="perturbed_rank[gaussian]",
    operator=perturbed_rank,
    kind=RANKS,
    strength="sigma",
    hard=to_ranks,
    flat=middle,
    options={"noise": "gaussian"},
    lacks={
        **_ALL_PAIRS,
        "zero strength": "without noise there is nothing to average",
    },
)
_PERTURBED_SORT = Case(
    name="perturbed_sort[gaussian]",
    operator=perturbed_sort,
    kind=SORTED,
    strength="sigma",
    hard=ascending,
    flat=mean,
    options={"noise": "gaussian"},
    lacks={
        **_NO_MASK,
        **_NO_C,
        **_ALL_PAIRS,
        "zero strength": "without noise there is nothing to average",
        "flat limit": "more noise spreads the order statistics ever further",
        "equal values": "the noise orders them",
        "range": "the noise reaches further",
    },
)
_NEURAL_SORT = Case(
    name="neural_sort",
    operator=neural_sort,
    kind=MATRIX,
    strength="temperature",
    hard=placed,
    flat=anywhere,
    total=column_sums,
    turned={"descending": True},
    lacks={
        **_NO_MASK,
        **_NO_C,
        **_ALL_PAIRS,
        "zero strength": "a softmax has no temperature 0",
        "choice": "the operator has no such option",
    },
)
_OT_RANK = Case(
    name="ot_rank",
    operator=ot_rank,
    kind=RANKS,
    strength="regularization_strength",
    hard=to_ranks,
    flat=middle,
    unit="none",
    usual=0.05,
    lacks={
        **_NO_MASK,
        **_NO_C,
        **_ALL_PAIRS,
        "zero strength": "Sinkhorn's iterations divide by it",
        "choice": "the operator has no such option",
        "huge values": "values are standardised, so that a far one draws all others together",
        "far values": "values are standardised, so that a far one draws all others together",
    },
)
_BLACKBOX_RANK = Case(
    name="blackbox_rank",
    operator=blackbox_rank,
    kind=RANKS,
    strength="interpolation",
    hard=to_ranks,
    flat=middle,
    lacks={
        **_NO_MASK,
        **_NO_C,
        "derivative": "its gradient is a finite difference, by design not that of its piecewise constant value",
        "second derivative": "a difference of two rankings is constant almost everywhere: an error says so",
        "forward mode": "the difference is taken against an incoming gradient, which forward mode has not",
        "zero strength": "a difference has no width 0",
        "flat limit": "its value is hard at any strength",
        "choice": "the operator has no such option",
        "limit of size": "it is one sort at any size",
    },
)
_NETWORK_VALUES = Case(
    name="sorting_network",
    operator=sorted_by_network,
    kind=SORTED,
    strength="steepness",
    hard=ascending,
    flat=mean,
    options={"network": "odd_even"},
    inverse=True,
    lacks={
        "flat limit": "comparators that mix evenly do not mix all items evenly",
        "ascending": "neighbours are mixed with others after they met",
        "relabelling": "the order of the items says who meets whom",
        "far values": "a value that travels far changes who meets whom; an infinite one has no part in it",
        "limit of size": "all layers are gone through, whatever their number",
        "thousands": "a network of n items has up to n layers, and its matrix n * n entries in each",
        "a million": "a network of n items has up to n layers, and its matrix n * n entries in each",
    },
)
_NETWORK_MATRIX = replace(
    _NETWORK_VALUES,
    operator=matrix_of_network,
    kind=MATRIX,
    hard=placed,
    flat=anywhere,
    total=column_sums,
    lacks={
        **_NETWORK_VALUES.lacks,
        "equal values": "comparators that mix evenly do not mix all items evenly",
    },
)


def _choice(case: Case, **changes: Any) -> Case:
    """The same operator with another choice, which its name holds too."""
    (choice,) = changes["options"].values()
    return replace(case, name=f"{case.function}[{choice}]", **changes)


_CONTRACTS = {
    soft_rank: [_SOFT_RANK, _choice(_SOFT_RANK, options={"regularization": "kl"})],
    soft_sort: [
        _SOFT_SORT,
        _choice(
            _SOFT_SORT,
            options={"regularization": "kl"},
            flat=exponential_mean,
            total=exponential_sum,
            lacks={**_SOFT_SORT.lacks, "units": "exponents of the values are mixed"},
        ),
    ],
    soft_topk: [_SOFT_TOPK, _choice(_SOFT_TOPK, options={"regularization": "kl"})],
    perturbed_rank: [_PERTURBED_RANK, _choice(_PERTURBED_RANK, options={"noise": "gumbel"})],
    perturbed_sort: [
        _PERTURBED_SORT,
        _choice(
            _PERTURBED_SORT,
            options={"noise": "gumbel"},
            lacks={**_PERTURBED_SORT.lacks, "total": "Gumbel noise has a mean of its own"},
        ),
    ],
    neural_sort: [_NEURAL_SORT],
    soft_sort_matrix: [replace(_NEURAL_SORT, name="soft_sort_matrix", operator=soft_sort_matrix)],
    ot_rank: [_OT_RANK],
    blackbox_rank: [_BLACKBOX_RANK],
    sorting_network: [
        replace(case, name=f"sorting_network[{network}, {said}]", options={"network": network})
        for case, said in ((_NETWORK_VALUES, "values"), (_NETWORK_MATRIX, "matrix"))
        for network in ("odd_even", "bitonic")
    ],
    sorting_network_apply: [
        replace(
            _NETWORK_MATRIX,
            name=f"sorting_network_apply[{network}, {vectors_of}]",
            operator=partial(carried_units, vectors_of=vectors_of),
            options={"network": network},
        )
        for network, vectors_of in (("odd_even", "items"), ("bitonic", "positions"))
    ],
}

# An operator that joins `ops.ALL` without a contract fails here, at collection.
_without = [operator for operator in ops.ALL if operator not in {**_CONTRACTS, **_MATRIX_CONTRACTS}]
assert not _without, f"operators without a contract: {_without}"
CASES = [case for cases in _CONTRACTS.values() for case in cases]
