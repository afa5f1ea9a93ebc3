"""Modules that order sets: the authors' networks, sets given in any order and size, and what they learn in seconds."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unshuffle
from unshuffle.methods.permopt import GridOptimizer, LinearAssigner, Ordered, PermutationOptimizer
from unshuffle.ops import sinkhorn
from unshuffle.permutations import sample, to_matrix

F64 = torch.float64


@pytest.fixture(autouse=True)
def same_draws_every_time() -> None:
    torch.manual_seed(0)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "sequence": lambda: PermutationOptimizer(3, hidden=8),
    "sequence from a linear start": lambda: PermutationOptimizer(3, hidden=8, start="linear", size=6),
    "grid": lambda: GridOptimizer(3, (2, 3), hidden=8),
    "grid from a linear start": lambda: GridOptimizer(3, (3, 2), hidden=8, start="linear"),
    "lattice": lambda: GridOptimizer(3, (1, 3, 2), hidden=8),
    "linear": lambda: LinearAssigner(3, 6),
}
every_module = pytest.mark.parametrize("name", MODULES)


# ---------------------------------------------------------------------------------------------- the authors' networks


class Tiles(nn.Module):
    """The authors' network of mosaics: each tile alone by one convolution, then placed on a grid by its features."""

    def __init__(self, data: dict[str, Tensor], start: str) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.place = GridOptimizer(100, (3, 3), start=start)
        self.double().load_state_dict(named(data, start))

    def forward(self, tiles: Tensor) -> Ordered:
        """Tiles (B, n, 1, h, w) in their places."""
        return self.place(self.see(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2]), carried=tiles)


NAMES = {
    "lr": "step_size",
    "compare.skew.0.conv": "compare.pair",
    "compare.skew.2.conv": "compare.cost",
    "coord.f.0.conv": "start.places",
}


def named(data: dict[str, Tensor], start: str, kind: str = "w", place: str = "place.") -> dict[str, Tensor]:
    """The authors' weights, or gradients, under our names and in our shapes."""
    found = {}
    for key in data:
        if not key.startswith(f"{kind}/"):
            continue
        whole, tensor = key[2:], data[key]
        if whole.startswith("conv_stack.0"):
            found[whole.replace("conv_stack.0", "see.0")] = tensor.squeeze(2) if tensor.ndim == 5 else tensor
            continue
        part = next(name for name in NAMES if whole.startswith(name))
        shaped = tensor.reshape(()) if part == "lr" else tensor.squeeze(-1) if tensor.ndim == 3 else tensor
        found[place + whole.replace(part, NAMES[part])] = shaped
    assert any("start" in name for name in found) == (start == "linear")
    return found


@pytest.fixture
def network(golden: Callable[[str], dict[str, np.ndarray]]) -> Callable[[str], dict[str, Tensor]]:
    """All vectors of one of the authors' networks."""
    data = golden("perm_optim")
    return lambda name: {k.partition("/")[2]: torch.tensor(v) for k, v in data.items() if k.startswith(f"{name}/")}


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12)


def test_the_sorting_network_and_its_gradients_are_the_authors(network):
    data = network("permnet")
    net = PermutationOptimizer(1, hidden=16, steps=6, bias_out=True).double()
    net.load_state_dict(named(data, "uniform", place=""))
    values = data["x"].mT

    sequence, permutation = net(values)
    (sequence - values.sort(1).values).square().mean().backward()

    assert_same(sequence, data["y"].mT)
    assert_same(permutation, data["P"])
    expected = named(data, "uniform", "g", place="")
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert_same(parameter.grad, expected[name])


@pytest.mark.parametrize(("name", "start"), [("mosaic_po_u", "uniform"), ("mosaic_po_la", "linear")])
def test_the_mosaic_networks_and_their_gradients_are_the_authors(network, name, start):
    data = network(name)
    net = Tiles(data, start)

    sequence, permutation = net(data["x"].transpose(1, 2))
    sequence.square().mean().backward()

    assert_same(sequence, data["y"].transpose(1, 2))
    assert_same(permutation, data["P"])
    expected = named(data, start, "g")
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert_same(parameter.grad, expected[key])


def test_linear_assignment_is_sinkhorn_of_a_linear_map():
    net, items = LinearAssigner(3, 5, iterations=7).double(), numbers(2, 5, 3)

    expected = sinkhorn(items @ net.start.places.weight.T, num_iters=7)

    torch.testing.assert_close(net(items).permutation, expected)


# ------------------------------------------------------------------------------------------------- sets have no order


@every_module
def test_the_order_in_which_a_set_is_given_does_not_show_in_the_sequence(name):
    net, items = MODULES[name]().double(), numbers(4, 6, 3)
    order = sample(4, 6, generator=torch.Generator().manual_seed(0))
    shuffled = unshuffle.permutations.apply(items, order)

    given, again = net(items), net(shuffled)

    torch.testing.assert_close(again.sequence, given.sequence)
    torch.testing.assert_close(again.permutation, unshuffle.permutations.apply(given.permutation, order))
    torch.testing.assert_close(net.hard(shuffled).sequence, net.hard(items).sequence)


@every_module
def test_what_is_carried_goes_where_the_items_go(name):
    net, items = MODULES[name]().double(), numbers(2, 6, 3)
    pictures = numbers(2, 6, 1, 4, 5, seed=1)

    sequence, permutation = net(items, carried=pictures)

    torch.testing.assert_close(permutation, net(items).permutation)
    torch.testing.assert_close(sequence, torch.einsum("bik,bichw->bkchw", permutation, pictures))
    torch.testing.assert_close(net(items, carried=items).sequence, net(items).sequence)


@every_module
def test_hard_orders_are_the_permutations_nearest_to_the_soft_ones(name):
    net, items = MODULES[name]().double(), numbers(3, 6, 3)

    soft, hard = net(items).permutation, net.hard(items)

    every = to_matrix(torch.tensor(list(itertools.permutations(range(6))))).double()
    best = (soft.unsqueeze(1) * every).sum((-1, -2)).argmax(1)
    assert torch.equal(hard.permutation, every[best])
    torch.testing.assert_close(hard.sequence, every[best].mT @ items)
    assert not hard.sequence.requires_grad


@every_module
def test_every_weight_learns(name):
    net, items = MODULES[name](), torch.randn(4, 6, 3)

    (net(items).sequence - torch.randn(4, 6, 3)).square().sum().backward()

    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


# -------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("poison", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("start", ["uniform", "linear"])
def test_sets_of_several_sizes_are_ordered_as_if_alone(poison, start):
    net = PermutationOptimizer(3, hidden=8, start=start, size=6).double()
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).argsort(-1) < torch.tensor([[6], [3], [1], [0]])
    items = numbers(4, 6, 3).masked_fill(~mask.unsqueeze(-1), poison).requires_grad_()

    soft, hard = net(items, mask), net.hard(items, mask)
    soft.sequence.sum().backward()

    assert items.grad is not None
    assert (items.grad[~mask] == 0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    for b, count in enumerate(mask.sum(1).tolist()):
        for found in (soft, hard):
            assert (found.sequence[b, count:] == 0).all()
            assert (found.permutation[b, :, count:] == 0).all()
            assert (found.permutation[b, ~mask[b]] == 0).all()
        if count and (start == "uniform" or count == 6):
            alone = items.detach()[b, mask[b]].unsqueeze(0)
            torch.testing.assert_close(soft.sequence[b, :count], net(alone).sequence[0])
            torch.testing.assert_close(hard.sequence[b, :count], net.hard(alone).sequence[0])


# ----------------------------------------------------------------------------------------------------------- learning


def test_sorting_is_learnt_in_seconds_and_holds_for_other_sizes_and_ranges():
    """Appendix F.1 on small batches: sets of 10 numbers in [0, 1]; the hard order is exact, in double precision."""
    net = PermutationOptimizer(1, hidden=16, steps=6)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(150):
        values = torch.rand(32, 10, 1)
        loss = (net(values).sequence - values.sort(1).values).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    net.double()
    for size, low, high in [(10, 0, 1), (10, 0, 1000), (10, 1000, 1001), (15, 0, 1)]:
        values = low + (high - low) * torch.rand(64, size, 1, dtype=F64)
        exact = (net.hard(values).sequence == values.sort(1).values).all(-1).all(-1)
        assert exact.double().mean() > 0.95, (size, low, high)


@pytest.mark.parametrize("start", ["uniform", "linear"])
def test_a_grid_is_learnt_from_the_sequence_alone(start):
    """Tiles whose features say, in a mixed-up way, where they belong; the loss sees carried tiles only."""
    net = GridOptimizer(6, (2, 3), hidden=32, start=start)
    places = torch.cartesian_prod(torch.arange(2.0), torch.arange(3.0))
    mixing = torch.randn(2, 6)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        tiles, order = torch.randn(64, 6, 4), sample(64, 6)
        features = places[order] @ mixing + 0.1 * torch.randn(64, 6, 6)
        return features, unshuffle.permutations.apply(tiles, order), tiles

    for _ in range(120):
        features, shuffled, tiles = drawn()
        loss = (net(features, carried=shuffled).sequence - tiles).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    features, shuffled, tiles = drawn()
    exact = (net.hard(features, carried=shuffled).sequence == tiles).all(-1).all(-1)
    assert exact.double().mean() > 0.95


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start": "linear"}, "`size` must say how many items"),
        ({"start": "random"}, "`start` must be one of 'uniform', 'linear'; got 'random'"),
        ({"update": "newton"}, "`update` must be one of"),
        ({"steps": -1}, "`steps` must be 0 or more; got -1"),
        ({"iterations": 0}, "`iterations` must be positive; got 0"),
        ({"clip": 0.0}, "`clip` must be positive; got 0.0"),
    ],
)
def test_options_out_of_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=f"PermutationOptimizer: {text}"):
        PermutationOptimizer(3, **options)


@pytest.mark.errors
def test_sets_of_another_size_than_the_weights_are_for_are_refused():
    with pytest.raises(ValueError, match="a linear start has weights for sets of 6 items; got 5"):
        PermutationOptimizer(3, start="linear", size=6)(torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"got \(2, 2, 5, 5\) for \(2, 3\), which has 6 places"):
        GridOptimizer(3, (2, 3))(torch.zeros(2, 5, 3))


def test_logits_of_a_linear_start_stay_within_the_clip():
    net = LinearAssigner(3, 4, clip=0.5)

    logits = net.start(100 * torch.randn(2, 4, 3))

    assert logits.abs().max() == 0.5
