"""Group ordering against layers of dense matrices, the authors' numbers, and what the formula says of two items."""

import math

import pytest
import torch
from torch import Tensor

from unshuffle.losses import full_order, group_order
from unshuffle.ops import sorting_network

F64 = torch.float64
CONFIGURATIONS = ["2v_b16", "2v_b16_nostop", "4v_b16", "mc_4aug2pos_b16", "2v_b32_top5_s8", "3v_b12_top10_s4"]

both_networks = pytest.mark.parametrize("network", ["odd_even", "bitonic"])
both_orientations = pytest.mark.parametrize("orientation", ["paper", "code"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def dense_odd_even(values: Tensor, beta: float) -> Tensor:
    """Oracle: section 3.3.1 with one dense matrix a layer, items on rows, for one list (equations 2 and 3)."""
    n, now = len(values), values
    whole = torch.eye(n, dtype=F64)
    for step in range(n):
        layer = torch.eye(n, dtype=F64)
        for i in range(step % 2, n - 1, 2):
            keep = torch.atan(beta * (now[i + 1] - now[i])) / math.pi + 0.5
            layer[i, i] = layer[i + 1, i + 1] = keep
            layer[i, i + 1] = layer[i + 1, i] = 1 - keep
        whole, now = whole @ layer, now @ layer
    return whole


def dense_loss(matrix: Tensor, positive: Tensor) -> Tensor:
    """Oracle: equation 5 with both of its halves; ``positive`` says which items, and so which positions, are such."""
    among, target = matrix[:, positive].sum(-1), positive.double()
    bce = torch.nn.functional.binary_cross_entropy
    others = matrix[:, ~positive].sum(-1)
    return (bce(among.clamp(0, 1), target) + bce(others.clamp(0, 1), 1 - target)) / 2


# ---------------------------------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 2), (1, 10), (3, 10), (2, 10), (4, 3)])
@pytest.mark.parametrize("beta", [0.25, 1.0, 8.0])
def test_the_papers_loss_is_that_of_dense_layers(k, n, beta):
    positives, negatives = draw(5, k, seed=k), draw(5, n, seed=n + 20)

    loss = group_order(positives, negatives, inverse_temperature=beta)

    lists = torch.cat([positives.sort(-1).values, negatives.sort(-1).values], -1)
    expected = [dense_loss(dense_odd_even(row, beta), torch.arange(k + n) < k) for row in lists]
    torch.testing.assert_close(loss, torch.stack(expected))


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 10), (2, 3), (2, 10)])
def test_the_codes_loss_is_that_of_dense_layers_of_similarities_negatives_first(k, n):
    positives, negatives = draw(5, k, seed=k), draw(5, n, seed=n + 20)

    loss = group_order(positives, negatives, orientation="code")

    lists = torch.cat([(-negatives).sort(-1).values, (-positives).sort(-1).values], -1)
    expected = [dense_loss(dense_odd_even(row, 1.0), torch.arange(k + n) >= n) for row in lists]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_the_two_orientations_differ_where_the_number_of_items_is_odd_and_only_there():
    def apart(k: int, n: int) -> float:
        positives, negatives = draw(8, k), draw(8, n, seed=1)
        paper, code = (group_order(positives, negatives, orientation=o) for o in ("paper", "code"))
        return (paper - code).abs().max().item()

    assert max(apart(2, 10), apart(1, 3)) < 1e-14
    assert min(apart(1, 10), apart(3, 10)) > 1e-3


@pytest.mark.parametrize("beta", [0.5, 1.0, 30.0])
def test_with_one_positive_and_one_negative_it_is_equation_9(beta):
    positive, negative = draw(20, 1), draw(20, 1, seed=1)

    loss = group_order(positive, negative, inverse_temperature=beta)

    gap = (negative - positive).squeeze(-1)
    torch.testing.assert_close(loss, -torch.log(torch.atan(beta * gap) / math.pi + 0.5))


def test_another_network_is_read_by_its_matrix():
    positives, negatives = draw(4, 3), draw(4, 10, seed=1)

    loss = group_order(positives, negatives, network="bitonic", preorder=False)

    matrices = sorting_network(torch.cat([positives, negatives], -1), network="bitonic").matrix
    expected = [dense_loss(matrix, torch.arange(13) < 3) for matrix in matrices]
    torch.testing.assert_close(loss, torch.stack(expected))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_authors_loss_and_shares_come_of_their_lists(golden, name):
    data = golden("groco")
    count, beta = int(data[f"{name}/cfg"][4]), float(data[f"{name}/cfg"][5])
    losses = []
    for anchor in range(1, int(data[f"{name}/cfg"][2]) + 1):
        lists = torch.tensor(data[f"{name}/anchor{anchor}/sims"])
        losses.append(group_order(-lists[:, count:], -lists[:, :count], inverse_temperature=beta, orientation="code"))
        matrices = torch.tensor(data[f"{name}/anchor{anchor}/P"]).double()
        expected = [dense_loss(matrix, torch.arange(lists.shape[1]) >= count) for matrix in matrices]
        torch.testing.assert_close(losses[-1].double(), torch.stack(expected), rtol=1e-6, atol=1e-6)

    torch.testing.assert_close(torch.cat(losses).mean(), torch.tensor(data[f"{name}/loss"]), rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize(
    ("network", "orientation", "preorder"),
    [("odd_even", "paper", True), ("odd_even", "code", False), ("bitonic", "paper", False), ("bitonic", "code", True)],
)
def test_derivatives_agree_with_finite_differences(network, orientation, preorder):
    positives, negatives = draw(1, 2).requires_grad_(), draw(1, 3, seed=1).requires_grad_()

    def loss(positives: Tensor, negatives: Tensor) -> Tensor:
        return group_order(positives, negatives, preorder=preorder, orientation=orientation, network=network)

    assert torch.autograd.gradcheck(loss, (positives, negatives))
    assert torch.autograd.gradgradcheck(loss, (positives, negatives), fast_mode=True)


def test_descending_brings_positives_before_negatives():
    positives, negatives = torch.full((1, 3), 0.5), torch.linspace(-1, 1, 7).unsqueeze(0)
    positives.requires_grad_()

    for _ in range(60):
        (slope,) = torch.autograd.grad(group_order(positives, negatives, inverse_temperature=4.0).sum(), positives)
        positives = (positives - 5.0 * slope).detach().requires_grad_()

    assert positives.max() < negatives.min()


# -------------------------------------------------------------------------------------------------------- behaviour


@both_orientations
def test_pre_ordered_groups_may_come_in_any_order(orientation):
    positives, negatives = draw(4, 3), draw(4, 8, seed=1)

    def loss(positives: Tensor, negatives: Tensor, preorder: bool = True) -> Tensor:
        return group_order(positives, negatives, preorder=preorder, orientation=orientation)

    expected = loss(positives, negatives)
    torch.testing.assert_close(loss(positives.flip(-1), negatives.roll(3, -1)), expected)
    ordered = positives.sort(-1).values, negatives.sort(-1).values
    torch.testing.assert_close(loss(*ordered, preorder=False), expected)
    assert (loss(positives, negatives, preorder=False) - expected).abs().min() > 1e-4


@pytest.mark.parametrize("beta", [1e3, 1e9, math.inf])
def test_the_steepest_networks_cost_finite_amounts_and_slopes(beta):
    positives, negatives = draw(6, 2).requires_grad_(), draw(6, 9, seed=1)

    loss = group_order(positives, negatives, inverse_temperature=beta)

    (slope,) = torch.autograd.grad(loss.sum(), positives)
    assert loss.isfinite().all()
    assert slope.isfinite().all()


def test_small_shares_are_exact_in_single_precision():
    """One less a share near one would have lost them: 1e-9 apart from 1 is no number in single precision."""
    positives, negatives = torch.tensor([[5.0]]), torch.tensor([[-5.0]])

    loss = group_order(positives, negatives, inverse_temperature=1e8)

    torch.testing.assert_close(loss, torch.tensor([math.log(math.pi * 1e9)]))


def test_single_precision_is_double_rounded_and_halves_are_promoted():
    positives, negatives = draw(5, 2).float(), draw(5, 9, seed=1).float()

    assert torch.equal(group_order(positives, negatives), group_order(positives.double(), negatives.double()).float())
    assert group_order(positives.half(), negatives).dtype == torch.float32


def test_an_anchor_with_nan_costs_nan_alone():
    positives, negatives = draw(3, 2), draw(3, 4, seed=1)
    negatives[1, 2] = torch.nan

    assert group_order(positives, negatives).isnan().tolist() == [False, True, False]


def test_it_takes_any_batch():
    positives, negatives = draw(2, 3, 4, 2), draw(2, 3, 4, 5, seed=1)

    loss = group_order(positives, negatives)

    assert loss.shape == (2, 3, 4)
    torch.testing.assert_close(loss[1, 2, 3], group_order(positives[1, 2, 3], negatives[1, 2, 3]))
    assert group_order(positives[:0], negatives[:0]).shape == (0, 3, 4)


# ------------------------------------------------------------------------------------------------- full supervision


@pytest.mark.parametrize("n", [1, 4, 7])
def test_full_supervision_is_the_mean_cross_entropy_of_two_matrices(n):
    values = draw(3, n)
    ranks = draw(3, n, seed=1).argsort(-1).argsort(-1) + 1.0

    loss = full_order(values, ranks.double(), inverse_temperature=2.0)

    true = (ranks.unsqueeze(-1) == torch.arange(1, n + 1)).double()
    bce = torch.nn.functional.binary_cross_entropy
    expected = [bce(dense_odd_even(v, 2.0), t) for v, t in zip(values, true)]
    torch.testing.assert_close(loss, torch.stack(expected))


@both_networks
def test_derivatives_of_full_supervision_agree_with_finite_differences_with_ties_too(network):
    values, ranks = draw(1, 4).requires_grad_(), torch.tensor([[1.0, 2.5, 2.5, 4.0]]).double()

    assert torch.autograd.gradcheck(lambda v: full_order(v, ranks, network=network), values)
    assert torch.autograd.gradgradcheck(lambda v: full_order(v, ranks, network=network), values, fast_mode=True)


def test_tied_items_cost_the_same_whichever_comes_first():
    values, ranks = draw(1, 4), torch.tensor([[1.5, 1.5, 3.0, 4.0]]).double()

    halves = [full_order(values, torch.tensor([r]).double()) for r in ([1.0, 2, 3, 4], [2.0, 1, 3, 4])]
    torch.testing.assert_close(full_order(values, ranks), sum(halves) / 2)


def test_full_supervision_is_least_for_values_in_the_true_order_far_apart():
    ranks = torch.tensor([2.0, 1.0, 3.0])

    right, near, wrong = (full_order(scale * ranks, ranks) for scale in (1e4, 1.0, -1e4))

    assert right < 1e-3 < near < wrong


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("orientation", ["paper", "code"])
def test_positives_without_negatives_are_in_order_and_cost_nothing(orientation):
    positives = torch.tensor([[0.3, 0.1], [torch.inf, -0.5], [torch.nan, 0.2]], requires_grad=True)

    costs = group_order(positives, torch.empty(3, 0), orientation=orientation)

    assert costs[:2].tolist() == [0.0, 0.0]
    assert bool(costs[2].isnan())
    costs[:2].sum().backward()
    assert positives.grad is not None
    assert not positives.grad[:2].any()


@pytest.mark.errors
@pytest.mark.parametrize(("positives", "negatives"), [((2, 0), (2, 3)), ((2, 1), (3, 1)), ((), (1,))])
def test_groups_that_do_not_fit_are_refused(positives, negatives):
    with pytest.raises(ValueError, match=r"group_order: .*K must be at least 1; got \("):
        group_order(torch.zeros(positives), torch.zeros(negatives))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"inverse_temperature": 0.0}, ValueError, "`inverse_temperature` must be positive; got 0.0"),
        ({"network": "bubble"}, ValueError, "`network` must be one of 'odd_even', 'bitonic'"),
        ({"orientation": "up"}, ValueError, "`orientation` must be one of 'paper', 'code'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        group_order(torch.zeros(1), torch.zeros(1), **options)


@pytest.mark.errors
def test_what_is_no_real_number_or_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="`negative_distances` must be floating point"):
        group_order(torch.zeros(1), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="full_order: `ranks` must have the shape of `values`"):
        full_order(torch.zeros(3), torch.zeros(4))
