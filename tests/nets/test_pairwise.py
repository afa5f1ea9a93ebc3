"""Costs of pairs: the layers on concatenated pairs give the same numbers, with all hidden units in memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unshuffle.nets import PairwiseCost, pairs

F64 = torch.float64
SIZES = [(2, 5, 3, 4, 1, False), (1, 7, 1, 16, 1, True), (3, 4, 6, 8, 2, False), (2, 1, 2, 3, 3, True)]
Sizes = tuple[int, int, int, int, int, bool]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class OnPairs(nn.Module):
    """The plain form: every pair concatenated, (B, n, n, 2 d)."""

    def __init__(self, features: int, hidden: int, channels: int, bias_out: bool) -> None:
        super().__init__()
        self.pair, self.cost = nn.Linear(2 * features, hidden), nn.Linear(hidden, channels, bias=bias_out)

    def forward(self, items: Tensor) -> Tensor:
        batch, n, d = items.shape
        both = [items.unsqueeze(2).expand(batch, n, n, d), items.unsqueeze(1).expand(batch, n, n, d)]
        f = self.cost(self.pair(torch.cat(both, -1)).relu())
        return (f - f.transpose(1, 2)).permute(0, 3, 1, 2)


@pytest.fixture(params=["one block", "blocks of rows", "blocks of sets"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of a block, in double precision: all there is, one row, or a few sets."""
    size = {"one block": 2**20, "blocks of rows": 8, "blocks of sets": 8 * 7 * 7 * 16 * 2}[request.param]
    monkeypatch.setitem(pairs._BLOCK, "cpu", size)


def both_forms(sizes: Sizes) -> tuple[PairwiseCost, OnPairs, Tensor]:
    batch, n, d, hidden, channels, bias_out = sizes
    ours = PairwiseCost(d, hidden, channels, bias_out=bias_out).double()
    plain = OnPairs(d, hidden, channels, bias_out).double()
    nn.init.normal_(plain.pair.bias)
    ours.load_state_dict(plain.state_dict())
    return ours, plain, numbers(batch, n, d)


def slopes(net: nn.Module, items: Tensor, levers: Tensor) -> list[Tensor]:
    items = items.clone().requires_grad_()
    return list(torch.autograd.grad(net(items), [items, *net.parameters()], levers))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_costs_and_gradients_are_those_of_the_layers_on_pairs(sizes):
    ours, plain, items = both_forms(sizes)
    expected = plain(items)
    levers = numbers(*expected.shape, seed=1)

    torch.testing.assert_close(ours(items), expected, rtol=1e-12, atol=1e-13)
    for found, right in zip(slopes(ours, items, levers), slopes(plain, items, levers), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [3, 8, 40, 1000])
def test_every_pair_is_in_one_block(size, monkeypatch):
    before = torch.zeros(3, 5, 4)
    monkeypatch.setitem(pairs._BLOCK, "cpu", size * before.element_size())

    seen = torch.zeros(3, 5)
    for sets, rows in pairs._blocks(before):
        seen[sets, rows] += 1

    assert (seen == 1).all()


def test_swapped_items_have_the_opposite_cost_to_the_last_bit():
    costs = PairwiseCost(3, 8, 2)(torch.randn(4, 6, 3))

    assert torch.equal(costs, -costs.mT)


@pytest.mark.usefixtures("blocks")
def test_derivatives_agree_with_finite_differences():
    leaves = tuple(t.requires_grad_() for t in (numbers(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 4, seed=2)))

    assert torch.autograd.gradcheck(pairs.score_pairs, leaves)
    assert torch.autograd.gradgradcheck(pairs.score_pairs, leaves)


def in_a_map(net: PairwiseCost, items: Tensor) -> Tensor:
    return torch.func.vmap(lambda one: net(one.unsqueeze(0)).squeeze(0))(items)


def forwards(net: PairwiseCost, items: Tensor) -> Tensor:
    return torch.func.jvp(net, (items,), (torch.zeros_like(items),))[0]


def compiled(net: PairwiseCost, items: Tensor) -> Tensor:
    return torch.compile(net, fullgraph=True, backend="eager")(items)


def by_batched_gradients(net: PairwiseCost, items: Tensor) -> Tensor:
    """Not the costs: their slopes by the items, for all costs at once."""
    leaf = items.clone().requires_grad_()
    costs = net(leaf).flatten()
    return torch.autograd.grad(costs, leaf, torch.eye(len(costs), dtype=F64), is_grads_batched=True)[0]


@pytest.mark.parametrize("way", [in_a_map, forwards, compiled], ids=lambda way: way.__name__)
def test_transforms_give_the_same(way: Callable[[PairwiseCost, Tensor], Tensor]):
    if way is compiled and hasattr(PairwiseCost.forward, "__wrapped__"):
        pytest.skip("the jaxtyping hook's checks do not compile")
    ours, _, items = both_forms(SIZES[2])

    torch.testing.assert_close(way(ours, items), ours(items))


def test_batched_gradients_are_each_of_them():
    ours, _, items = both_forms(SIZES[0])
    leaf = items.clone().requires_grad_()

    expected = torch.stack([torch.autograd.grad(cost, leaf, retain_graph=True)[0] for cost in ours(leaf).flatten()])

    torch.testing.assert_close(by_batched_gradients(ours, items), expected)


def test_hidden_units_of_pairs_are_not_kept():
    batch, n, d, hidden = 2, 40, 3, 64
    net, kept = PairwiseCost(d, hidden), []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.randn(batch, n, d))

    assert sum(kept) < 10 * batch * n * (hidden + d) + 10 * 2 * d * hidden
    assert sum(kept) < batch * n * n * hidden / 4


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)], ids=str)
def test_no_items_no_costs(shape):
    net = PairwiseCost(3, 4, 2)

    costs = net(torch.zeros(shape))
    costs.sum().backward()

    assert costs.shape == (shape[0], 2, shape[1], shape[1])
    assert all((p.grad == 0).all() for p in net.parameters())


def test_autocast_changes_nothing():
    net, items = PairwiseCost(3, 8), torch.randn(2, 5, 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        costs = net(items)

    assert torch.equal(costs, net(items))


def test_a_last_bias_has_no_effect_and_no_gradient():
    net, items = PairwiseCost(3, 8, bias_out=True), torch.randn(2, 5, 3)
    before = net(items).detach()

    with torch.no_grad():
        net.cost.bias.fill_(7.0)
    costs = net(items)
    costs.square().sum().backward()

    torch.testing.assert_close(costs, before)
    assert net.cost.bias.grad is not None
    assert net.cost.bias.grad.abs().max() < 1e-5


def test_weights_begin_as_the_authors_do():
    net = PairwiseCost(50, 30, bias_out=True)

    assert (net.pair.bias == 0).all()
    assert (net.cost.bias == 0).all()
    limit = (6 / (100 + 30)) ** 0.5  # Glorot and Bengio's, on the whole layer
    assert 0.95 * limit < net.pair.weight.abs().max() <= limit


@pytest.mark.errors
@pytest.mark.parametrize("name", ["features", "hidden", "channels"])
def test_sizes_that_are_not_positive_are_refused(name):
    sizes = {"features": 3, "hidden": 4, "channels": 1, name: 0}
    with pytest.raises(ValueError, match=f"PairwiseCost: `{name}` must be positive; got 0"):
        PairwiseCost(**sizes)


@pytest.mark.errors
def test_items_with_other_features_are_refused():
    with pytest.raises(ValueError, match=r"PairwiseCost: `items` must be \(batch, n, 3\)"):
        PairwiseCost(3, 4)(torch.zeros(2, 5, 4))
