"""Hostile calls: every argument of every public operator, loss and permutation function, one at a time.

Each call is right but for one argument. It must end in an answer that is right, or in a TypeError or ValueError that
begins with the function's name and names the argument. Answers are checked where an equivalent good argument exists
(the same numbers in another layout); elsewhere they must hold no number out of nowhere: NaN only where NaN went in.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unshuffle import losses, ops, permutations

pytestmark = pytest.mark.errors


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


MASK = torch.tensor([[True, True, False, True], [True] * 4])
ORDER = torch.tensor([[2, 0, 1, 3], [0, 1, 3, 2]])
RANKS = torch.tensor([[2.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]])
SOFT = {"regularization": "l2", "regularization_strength": 0.5}
SETS = {"mask": MASK, "dim": -1}
DRAWS = {"num_samples": 3, "generator": torch.Generator()}
NETWORK = {"network": "odd_even", "relaxation": "cauchy", "steepness": 2.0, **SETS}
SINKHORN = {"temperature": 1.0, "num_iters": 3, "tolerance": 0.0, "gradient": "unrolled"}
LATTICE = {"costs": drawn(2, 2, 4, 4), "shape": (2, 2)}
DESCENT = {"start": drawn(2, 4, 4), "steps": 2, "step_size": 1.0, "iterations": 2, "update": "alternative"}


@dataclass(frozen=True)
class Call:
    """A good call, all arguments by name."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    name: str = ""

    @property
    def speaks(self) -> str:
        return self.name or self.function.__name__


def named(function: Callable[..., Any], *, name: str = "", **arguments: Any) -> Call:
    return Call(function, arguments, name)


def on_perturbed(*, scores: Tensor, **options: Any) -> Tensor:
    return ops.perturbed(**options)(scores)


def on_blackbox(*, scores: Tensor, **options: Any) -> Tensor:
    return ops.blackbox(**options)(scores)


def on_views(kind: type) -> Callable[..., Tensor]:
    return lambda **given: kind().loss(**given)


CALLS = [
    named(ops.soft_rank, values=drawn(2, 4), descending=True, **SOFT, **SETS),
    named(ops.soft_sort, values=drawn(2, 4), descending=True, **SOFT, **SETS),
    named(ops.soft_topk, values=drawn(2, 4), k=2, largest=True, **SOFT, **SETS),
    named(ops.perturbed_rank, scores=drawn(2, 4), sigma=1.0, noise="gaussian", **SETS),
    named(ops.perturbed_rank, scores=drawn(2, 4), sigma=1.0, noise="gaussian", **DRAWS, **SETS),
    named(ops.perturbed_sort, values=drawn(2, 4), sigma=1.0, noise="gumbel", dim=-1),
    named(ops.perturbed_sort, values=drawn(2, 4), sigma=1.0, noise="gumbel", **DRAWS, dim=-1),
    named(on_perturbed, scores=drawn(2, 4), argmax=permutations.to_ranks, sigma=1.0, noise="gaussian", num_dims=1,
          **DRAWS, name="perturbed"),
    named(on_blackbox, scores=drawn(2, 4), solver=torch.sign, interpolation=1.0, name="blackbox"),
    named(ops.blackbox_rank, scores=drawn(2, 4), interpolation=1.0, dim=-1),
    named(ops.neural_sort, scores=drawn(2, 4), temperature=1.0, descending=True, dim=-1),
    named(ops.soft_sort_matrix, scores=drawn(2, 4), temperature=1.0, power=2.0, descending=True, dim=-1),
    named(ops.ot_rank, values=drawn(2, 4), regularization_strength=0.1, num_iters=3, dim=-1),
    named(ops.sorting_network, values=drawn(2, 4), **NETWORK),
    named(ops.sorting_network_apply, values=drawn(2, 4), vectors=drawn(2, 4, 3), vectors_of="items", **NETWORK),
    named(ops.sinkhorn, scores=drawn(2, 3, 4), mask=torch.ones(2, 3, 4, dtype=torch.bool), **SINKHORN),
    named(ops.gumbel_sinkhorn, scores=drawn(2, 3, 4), noise_scale=1.0, generator=torch.Generator(), **SINKHORN),
    named(ops.assign, scores=drawn(2, 3, 4), mask=torch.ones(2, 3, 4, dtype=torch.bool)),
    named(ops.transport, log_probabilities=drawn(6, 3), power=2.0, tolerance=1e-3, class_tolerance=0.1, max_iters=5,
          accelerate=False, sample_marginals=torch.ones(6), class_marginals=torch.ones(3), start=torch.zeros(3),
          equal_sizes=False, spare_memory=False),
    named(ops.ordering_cost, costs=drawn(2, 4, 4), permutation=drawn(2, 4, 4)),
    named(ops.ordering_gradient, costs=drawn(2, 4, 4), permutation=drawn(2, 4, 4)),
    named(ops.arrangement_cost, permutation=drawn(2, 4, 4), **LATTICE),
    named(ops.order_by_costs, costs=drawn(2, 4, 4), mask=MASK, **DESCENT),
    named(ops.arrange_by_costs, **LATTICE, **DESCENT),
    named(ops.with_unit_norm, costs=drawn(2, 4, 4), mask=MASK),
    named(ops.neighbour_cost, permutation=drawn(2, 4, 4), places=drawn(2, 4, 4), **LATTICE),
    named(ops.neighbour_gradient, permutation=drawn(2, 4, 4), places=drawn(2, 4, 4), **LATTICE),
    named(ops.arrange_by_neighbours, places=drawn(2, 4, 4), steps=2, temperatures=(2.0, 1.0), iterations=2, **LATTICE),
    named(ops.settle_neighbours, start=ORDER, places=drawn(2, 4, 4), most=3, **LATTICE),
    named(losses.fenchel_young, scores=drawn(2, 4), ranks=RANKS, sigma=1.0, noise="gaussian", mask=MASK),
    named(losses.sampled_fenchel_young, scores=drawn(2, 4), target=RANKS, argmax=permutations.to_ranks,
          sigma=1.0, noise="gaussian", **DRAWS),
    named(losses.group_order, positive_distances=drawn(2, 2), negative_distances=drawn(2, 3), inverse_temperature=1.0,
          network="odd_even", preorder=True, orientation="paper"),
    named(losses.full_order, values=drawn(2, 4), ranks=RANKS, inverse_temperature=1.0, network="odd_even"),
    named(losses.soft_spearman, scores=drawn(2, 4), target=RANKS, mask=MASK, **SOFT),
    named(losses.soft_kendall, scores=drawn(2, 4), target=RANKS, mask=MASK, **SOFT),
    *(named(on_views(kind), anchors=drawn(2, 3, 4), candidates=drawn(2, 3, 4), first=0, positives=2,
            name=kind.__name__) for kind in (losses.GroupOrder, losses.InfoNCE, losses.Triplet)),
    named(losses.GroupOrder, inverse_temperature=1.0, network="odd_even", orientation="paper"),
    named(losses.InfoNCE, temperature=0.1, pairs="paper"),
    named(losses.Triplet, margin=1.0),
    named(losses.Negatives, count=3, choice="random", views="same"),
    named(losses.PerturbedFenchelYoung, sigma=0.1, num_samples=3),
    named(losses.FastSoftRanking, regularization_strength=1.0),
    named(losses.PairwiseLogistic, scale=1.0),
    named(losses.AuthorsSinkhorn, regularization=1e-3),
    named(losses.SinkhornCrossEntropy, temperature=1.0, tolerance=1e-6, num_iters=10),
    named(permutations.sample, batch=2, n=3, generator=torch.Generator()),
    named(permutations.invert, perm=ORDER),
    named(permutations.compose, first=ORDER, then=ORDER),
    named(permutations.apply, items=drawn(2, 4), perm=ORDER),
    named(permutations.lay_out, tiles=drawn(1, 4, 1, 2, 2), rows=2, columns=2),
    named(permutations.to_ranks, scores=drawn(2, 4)),
    named(permutations.to_matrix, perm=ORDER),
    named(permutations.rank_matrix, ranks=RANKS),
    named(permutations.spread_out, count=3, n=4, seed=0, pool=50),
    *(named(f, first=RANKS, second=RANKS)
      for f in (permutations.hamming_similarity, permutations.kendall_tau)),
    *(named(f, predicted=RANKS, true=RANKS)
      for f in (permutations.partial_ranks, permutations.exact_order)),
]  # fmt: skip

# Arguments for which None is a choice of its own.
OPTIONAL = {"mask", "generator", "start", "places", "positives", "sample_marginals", "class_marginals", "count"}


class _Refused:
    """The call must be refused."""


class _Free:
    """The call may be refused; an answer must hold nothing out of nowhere."""


def hostile_tensors(good: Tensor) -> Iterator[tuple[str, Any, Any]]:
    """Names, values, and what must come of them: a refusal, nothing in particular, or the answer to another value."""
    yield from ((type(x).__name__, x, _Refused) for x in ("abc", b"abc", [1.0, 2.0], {}, 1.5, good.numpy()))
    for layout in ("sparse_coo", "sparse_csr", "sparse_csc"):
        flat = good if good.ndim == 2 or layout == "sparse_coo" else good.reshape(-1, good.shape[-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield layout, flat.to_sparse(layout=getattr(torch, layout)), _Refused
    yield "nested", torch.nested.nested_tensor([good.float()[0], good.float()[0]]), _Refused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(good.float(), 0.1, 0, torch.qint8)
    yield "quantized", quantized, _Refused
    yield "meta", good.to("meta"), "meta"
    yield "complex", good.to(torch.complex64), _Refused
    yield "float8", good.float().to(torch.float8_e4m3fn), _Refused
    if good.dtype is not torch.bool:
        yield "bool", good > 0, _Free
    for dtype in (
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
    ):
        if good.dtype is not dtype:
            yield str(dtype), (good.abs() if good.is_floating_point() else good).to(dtype), _Free
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        if good.dtype is not dtype:
            yield str(dtype), good.to(dtype), _Free
    yield "0-d", good.flatten()[0].clone(), _Free
    yield "empty", good[:0], _Free
    yield "no items", good[..., :0], _Free
    yield "one axis less", good[0], _Free
    yield "one axis more", good[None, None], _Free
    yield "longer", torch.cat([good, good], -1), _Free
    spread = torch.stack([good, good], -1)[..., 0]
    yield "strided", spread, good
    yield "transposed", good.transpose(0, -1).contiguous().transpose(0, -1), good
    if good.is_floating_point():
        for number in (float("nan"), float("inf"), -float("inf"), 1e30, 1e-30, 0.0):
            yield f"all {number}", torch.full_like(good, number), _Free
            one = good.clone()
            one.view(-1)[0] = number
            yield f"one {number}", one, _Free


def hostile_numbers(good: float) -> Iterator[tuple[str, Any, Any]]:
    for x in (
        "1",
        b"1",
        [1.0],
        1j,
        np.ones(3),
        object(),
        torch.ones(2),
        torch.ones(1, device="meta"),
        float("nan"),
        True,
    ):
        yield f"{type(x).__name__} {x!r:.20}", x, _Refused
    for x in (float("inf"), -float("inf"), -1, 0, 0.0, 1e30, 1e-30, 10**12, 2.5):
        yield repr(x), x, _Free
    yield "numpy", type(np.asarray(good).item())(np.float64(good)) if isinstance(good, float) else np.int64(good), good


def hostile_words(good: str) -> Iterator[tuple[str, Any, Any]]:
    yield from ((repr(x)[:20], x, _Refused) for x in ("", "nonsense", good.upper(), b"l2", 1, float("nan"), [good],
                                                      np.array([good, good]), torch.ones(2)))  # fmt: skip


def hostile_flags(_: bool) -> Iterator[tuple[str, Any, Any]]:
    yield from ((repr(x)[:20], x, _Refused) for x in ("no", "", float("nan"), 2, 0.5, [], np.ones(2), torch.ones(2)))


def hostile_values(good: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(good, Tensor):
        yield from hostile_tensors(good)
    elif isinstance(good, bool):
        yield from hostile_flags(good)
    elif isinstance(good, str):
        yield from hostile_words(good)
    elif isinstance(good, int | float):
        yield from hostile_numbers(good)
    elif isinstance(good, tuple):
        yield from (
            (repr(x)[:20], x, _Refused)
            for x in ("22", 4, 1.5, (float("nan"), 2), (0, 4), (-2, -2), ("a", "b"), object())
        )
    else:
        yield from ((repr(x)[:20], x, _Refused) for x in ("0", 3, [], torch.ones(1)))


def cases(call: Call) -> Iterator[tuple[str, str, Any, Any]]:
    for argument, good in call.arguments.items():
        if argument not in OPTIONAL and not (argument == "num_samples" and "argmax" not in call.arguments):
            yield argument, "None", None, _Refused
        for what, value, outcome in hostile_values(good):
            moved = argument in ("items", "tiles") and what in ("quantized", "complex", "float8")  # of any dtype
            yield argument, what, value, _Free if moved else outcome


def tensors_of(answer: Any) -> list[Tensor]:
    if isinstance(answer, ops.Transport):
        return [answer.labels, answer.class_offsets]
    parts = answer if isinstance(answer, tuple) else (answer,)
    return [part for part in parts if isinstance(part, Tensor)]


def holds_nan(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and not value.is_meta
        and bool(value.double().isnan().any())
    )


def made(call: Call, **changes: Any) -> Any:
    arguments = {**call.arguments, **changes}
    if isinstance(arguments.get("generator"), torch.Generator):
        arguments["generator"] = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call.function(**arguments)


def fault(call: Call, argument: str, value: Any, outcome: Any) -> str | None:
    """What is wrong with the call's end, if anything."""
    try:
        answer = made(call, **{argument: value})
    except (TypeError, ValueError) as error:
        message = str(error)
        # A shape that does not fit another argument's may be named from there.
        names = [f"`{argument}"] + ([f"`{other}" for other in call.arguments] if outcome is _Free else [])
        if message.startswith(f"{call.speaks}: ") and any(name in message for name in names):
            return None if isinstance(outcome, type | str) else f"refused: {message[:90]}"
        return f"{type(error).__name__}: {message[:110]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:110]}"
    if outcome is _Refused:
        return "accepted"
    found = tensors_of(answer)
    if outcome == "meta":
        return None if all(part.is_meta for part in found) else "accepted without data"
    if isinstance(outcome, type):
        spoilt = any(holds_nan(part) for part in found)
        allowed = holds_nan(value) or "nan" in call.speaks or undefined(call, argument, value)
        return "NaN out of nowhere" if spoilt and not allowed else None
    expected = tensors_of(made(call, **{argument: outcome}))
    same = all(torch.allclose(a, b, rtol=1e-6, equal_nan=True) for a, b in zip(found, expected, strict=True))
    return None if same else "another answer than to the same numbers"


def undefined(call: Call, argument: str, value: Any) -> bool:
    """Answers that are NaN by definition: correlations of constants, costs of infinite costs, means of nothing."""
    if call.speaks in ("soft_spearman", "soft_kendall", "kendall_tau", "hamming_similarity", "partial_ranks"):
        return True
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return not value.numel() or not bool((value.double().abs() < 1e20).all())


@pytest.mark.parametrize("call", CALLS, ids=[f"{number}-{call.speaks}" for number, call in enumerate(CALLS)])
def test_hostile_calls_are_answered_rightly_or_refused_by_name(call):
    made(call)  # good as it stands
    faults = [
        f"{argument} = {what}: {found}"
        for argument, what, value, outcome in cases(call)
        if (found := fault(call, argument, value, outcome))
    ]
    assert not faults, f"{len(faults)} of {sum(1 for _ in cases(call))}:\n" + "\n".join(faults)


def test_every_public_function_is_called():
    called = {call.speaks for call in CALLS}
    public = {name for name in (*ops.__all__,) if callable(getattr(ops, name)) and name[0].islower()}
    public |= {name for name in losses.__all__ if name[0].islower()}
    assert public <= called
