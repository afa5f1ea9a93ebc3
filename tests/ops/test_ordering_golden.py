"""Permutation-Optimisation beside vectors of its authors' code, in double precision."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from unshuffle.ops import arrange_by_costs, arrangement_cost, order_by_costs, ordering_cost, ordering_gradient
from unshuffle.ops.ordering import with_unit_norm

Vectors = Callable[[str], Tensor]


@pytest.fixture
def vector(golden: Callable[[str], dict[str, np.ndarray]]) -> Vectors:
    """One of the authors' tensors, without their axis of channels where it has but one."""
    data = golden("perm_optim")

    def load(name: str) -> Tensor:
        tensor = torch.tensor(data[name])
        return tensor.squeeze(1) if tensor.ndim > 1 else tensor

    return load


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12)


def test_total_costs_and_their_gradient(vector):
    costs, plan = vector("grad/C"), vector("grad/P")

    assert_same(ordering_cost(costs, plan), vector("grad/cost"))
    assert_same(ordering_gradient(costs, plan), vector("grad/G"))


@pytest.mark.parametrize("step_size", [1.0, 0.7])
@pytest.mark.parametrize("steps", [0, 1, 4, 6])
def test_orders_from_a_uniform_start_and_their_gradients(vector, steps, step_size):
    name, costs = f"po_u/T{steps}_lr{step_size:g}", vector("grad/C").requires_grad_()

    plan = order_by_costs(with_unit_norm(costs), steps=steps, step_size=step_size)

    assert_same(plan, vector(f"{name}/P"))
    if steps:  # without a step nothing depends on the costs
        (slope,) = torch.autograd.grad((plan * vector("po_u/W")).sum(), costs)
        assert_same(slope, vector(f"{name}/dC_of_sum_PW"))


@pytest.mark.parametrize(("steps", "name"), [(0, "T0"), (4, "T4_lr1")])
def test_orders_from_a_linear_start(vector, steps, name):
    """Without a step that is LinAssign."""
    plan = order_by_costs(with_unit_norm(vector("grad/C")), vector("po_la/init"), steps=steps)

    assert_same(plan, vector(f"po_la/{name}/P"))


def test_total_costs_of_a_grid_and_their_gradient(vector):
    costs, plan = vector("grid33/C"), vector("grid33/P").requires_grad_()

    total = arrangement_cost(costs, plan, (3, 3))
    (slope,) = torch.autograd.grad(total.sum(), plan)

    assert_same(total, vector("grid33/cost"))
    assert_same(slope, vector("grid33/G").flatten(-2))


@pytest.mark.parametrize(("name", "started"), [("PO_U", False), ("PO_LA", True)])
def test_placements_on_a_grid(vector, name, started):
    start = vector("grid33/init") if started else None

    plan = arrange_by_costs(with_unit_norm(vector("grid33/C")), (3, 3), start)

    assert_same(plan, vector(f"grid33/T4_lr1_{name}"))
