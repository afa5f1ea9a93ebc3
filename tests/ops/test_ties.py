"""Ties: at a kink every path takes the same side, so that values and gradients do not depend on how they are computed.

Scores that are integers, or in half precision, tie often. The paths are the C library, PyTorch with all rows at once,
PyTorch row by row, ``torch.func``, second derivatives and ``torch.compile``.
"""

import math
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unshuffle import _compiled
from unshuffle.ops import isotonic, soft_rank, soft_sort, soft_topk

TRIES = 60 if os.environ.get("UNSHUFFLE_LONG") else 4
# Powers of two and their like: that two fits are equal is then no matter of rounding.
STRENGTHS = [0.0, 1e-3, 0.25, 0.5, 1.0, 2.0, 4.0, 1000.0]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

OPERATORS: dict[str, Callable[..., Tensor]] = {
    "soft_rank": soft_rank,
    "descending soft_rank": lambda values, **options: soft_rank(values, descending=True, **options),
    "soft_sort": soft_sort,
    "descending soft_sort": lambda values, **options: soft_sort(values, descending=True, **options),
    "soft_topk": lambda values, **options: soft_topk(values, min(2, values.shape[-1]), **options),
    "smallest soft_topk": lambda values, **options: soft_topk(values, values.shape[-1] // 2, largest=False, **options),
}
all_operators = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
both_regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])


def tied_values(dtype: torch.dtype, seed: int) -> Tensor:
    """Three sets of up to eight values from few: whole numbers, quarters or two levels; some infinite."""
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, 9, (), generator=generator))
    levels, unit = [(7, 1.0), (7, 0.25), (2, 7.0), (3, 0.5)][seed % 4]
    values = unit * torch.randint(levels, (3, n), generator=generator).double()
    if seed % 3 == 0:
        values[0, 0], values[1, -1] = math.inf, -math.inf
    return values.to(dtype)


def backward(function: Callable[[Tensor], Tensor], values: Tensor, weights: Tensor, **options: bool) -> Tensor:
    leaf = values.clone().requires_grad_()
    return torch.autograd.grad((function(leaf) * weights).sum(), leaf, **options)[0].detach()


def on_every_path(function: Callable[[Tensor], Tensor], values: Tensor, weights: Tensor, monkeypatch) -> dict:
    """Value and gradient of the weighted sum, by path."""
    found = {
        "C": (function(values), backward(function, values, weights)),
        "torch.func": (
            torch.func.vmap(function)(values),
            torch.func.grad(lambda v: (function(v) * weights).sum())(values),
        ),
        "twice differentiable": (function(values), backward(function, values, weights, create_graph=True)),
    }
    with _compiled.disabled():
        found["PyTorch"] = function(values), backward(function, values, weights)
        with monkeypatch.context() as patch:
            patch.setattr(isotonic, "_FASTER_UP_TO", 0)
            found["row by row"] = function(values), backward(function, values, weights)
    return found


@all_operators
@both_regularizations
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_path_takes_the_same_side_of_a_tie(operator, regularization, dtype, monkeypatch):
    bound = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-1}[dtype]
    for seed in range(TRIES):
        values = tied_values(dtype, seed)
        weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for strength in STRENGTHS:
            options = {"regularization": regularization, "regularization_strength": strength}
            found = on_every_path(lambda v, o=options: operator(v, **o), values, weights, monkeypatch)
            expected, slope = found.pop("C")
            size = float(slope.double().abs().max()) if slope.numel() else 0.0
            for path, (value, gradient) in found.items():
                where = f"{path}: {values.tolist()}, {options}"
                torch.testing.assert_close(value, expected, rtol=bound, atol=bound, msg=lambda m, w=where: f"{w}\n{m}")
                torch.testing.assert_close(
                    gradient, slope, rtol=bound, atol=bound * max(1.0, size), msg=lambda m, w=where: f"{w}\n{m}"
                )


@pytest.mark.untyped  # the compiler does not trace the hook
@pytest.mark.parametrize("regularization", ["l2", "kl"])
@pytest.mark.parametrize("operator", [soft_rank, soft_sort, OPERATORS["soft_topk"]], ids=["rank", "sort", "topk"])
def test_compiled_operators_take_the_same_side_of_a_tie(operator, regularization):
    torch.compiler.reset()
    values = torch.tensor([[1.0, 1.0, 0.0, -1.0], [3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    def function(v: Tensor) -> Tensor:
        return operator(v, regularization=regularization, regularization_strength=1.0)

    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)

    torch.testing.assert_close(compiled(values), function(values))
    torch.testing.assert_close(backward(compiled, values, weights), backward(function, values, weights))


@pytest.mark.parametrize("values", [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, -math.inf]])
def test_two_certain_members_that_tie_have_no_gradient_on_any_path(values, monkeypatch):
    """Both are in whatever happens within reach: exp(-1 / strength) is 0, and so is the derivative."""
    weights = torch.tensor([1.0, 2.0, -3.0])

    def members(v: Tensor) -> Tensor:
        return soft_topk(v, 2, regularization="kl", regularization_strength=1e-3)

    for path, (value, gradient) in on_every_path(members, torch.tensor([values]), weights, monkeypatch).items():
        assert value.tolist() == [[float(v == 1.0) for v in values]], path
        assert gradient.tolist() == [[0.0, 0.0, 0.0]], path


def test_three_that_tie_for_two_places_share_them_with_a_gradient_on_every_path(monkeypatch):
    """y = 2 softmax(values / strength): the Jacobian is 2 (diag(s) - s s') / strength with s = 1/3."""
    weights = torch.tensor([1.0, 2.0, -6.0], dtype=torch.float64)

    def members(v: Tensor) -> Tensor:
        return soft_topk(v, 2, regularization="kl", regularization_strength=0.5)

    expected = 4 * (weights / 3 - weights.sum() / 9)
    tied = torch.ones(1, 3, dtype=torch.float64)
    for path, (value, gradient) in on_every_path(members, tied, weights, monkeypatch).items():
        torch.testing.assert_close(value, tied * 2 / 3, msg=path)
        torch.testing.assert_close(gradient, expected.unsqueeze(0), msg=path)
