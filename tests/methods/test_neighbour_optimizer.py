"""Who stands beside whom: chances are probabilities, costs are of the right pairs and places, losses count by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unshuffle import permutations
from unshuffle.methods import LearnNeighbours, MosaicNet, NeighbourOptimizer
from unshuffle.methods.arranging import neighbour_entropy
from unshuffle.methods.neighbours import DEAREST, SURER, Chances
from unshuffle.types import Shuffled

ROWS, COLUMNS = 2, 3
N = ROWS * COLUMNS


def optimizer() -> NeighbourOptimizer:
    torch.manual_seed(0)
    return NeighbourOptimizer((4, 4, 5, 5), (ROWS, COLUMNS), hidden=8).double()


def items(batch: int = 3) -> Tensor:
    return torch.randn(batch, N, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def neighbour(place: int, axis: int, step: int) -> int | None:
    """The place beside another one."""
    row, column = divmod(place, COLUMNS)
    row, column = (row + step, column) if axis == 0 else (row, column + step)
    return row * COLUMNS + column if 0 <= row < ROWS and 0 <= column < COLUMNS else None


def test_chances_are_probabilities_and_no_tile_is_its_own_neighbour():
    found = optimizer().chances(items())

    for part in found:
        torch.testing.assert_close(part.exp().sum(-1), torch.ones(part.shape[:-1], dtype=torch.float64))
    for part in (found.next, found.previous):
        assert part[..., :-1].diagonal(dim1=-2, dim2=-1).exp().max() == 0


def test_a_cost_is_what_both_tiles_of_a_pair_say_and_a_place_counts_the_missing_neighbours():
    place, seen = optimizer(), items()
    said = place.chances(seen)

    pairs, places = place.costs(seen)

    for axis in range(2):
        for i in range(N):
            for j in range(N):
                both = (said.next[0, axis, i, j] + said.previous[0, axis, j, i]) / 2
                torch.testing.assert_close(pairs[0, axis, i, j], both.neg().clamp_max(DEAREST))
    for i in range(N):
        for k in range(N):
            total = said.places[0, i, k].clone()
            for axis in range(2):
                total += said.next[0, axis, i, N] / 2 if neighbour(k, axis, 1) is None else 0
                total += said.previous[0, axis, i, N] / 2 if neighbour(k, axis, -1) is None else 0
            torch.testing.assert_close(places[0, i, k], -SURER * total)


def test_the_loss_is_the_cross_entropy_of_every_side_and_a_quarter_of_that_of_places():
    said, position = optimizer().chances(items(4)), permutations.sample(4, N)

    found = neighbour_entropy(said, position, (ROWS, COLUMNS))

    for b in range(4):
        order, total = position[b].argsort().tolist(), 0.0
        for i in range(N):
            k = int(position[b, i])
            for axis in range(2):
                for table, step in ((said.next, 1), (said.previous, -1)):
                    beside = neighbour(k, axis, step)
                    total -= table[b, axis, i, N if beside is None else order[beside]].item() / 4
            total -= said.places[b, i, k].item() / 4
        assert found[b].item() == pytest.approx(total / N)


def test_true_chances_cost_nothing_and_are_put_together():
    """Whatever the places: tiles know their neighbours, and that the outermost have none."""
    position = permutations.sample(5, N)
    order = torch.nn.functional.pad(position.argsort(-1), (0, 1), value=N)
    tables = []
    for step in (1, -1):
        beside = [[N if (q := neighbour(k, a, step)) is None else q for k in range(N)] for a in range(2)]
        right = torch.stack(
            [torch.stack([order[b, torch.tensor(row)[position[b]]] for row in beside]) for b in range(5)]
        )
        tables.append(100 * (torch.nn.functional.one_hot(right, N + 1) - 1.0))
    said = Chances(*tables, torch.zeros(5, N, N))

    class Told(NeighbourOptimizer):
        def chances(self, items: Tensor) -> Chances:
            return said

    told = Told((1, 1, 1, 1), (ROWS, COLUMNS))

    assert neighbour_entropy(said, position, (ROWS, COLUMNS)).abs().max() == 0
    assert told.positions(torch.zeros(5, N, 4)).equal(position)
    carried = torch.randn(5, N, 2)
    torch.testing.assert_close(
        told.hard(torch.zeros(5, N, 4), carried).sequence, permutations.apply(carried, position.argsort(-1))
    )


def test_a_net_with_nan_leaves_every_tile_where_it_stands():
    net = MosaicNet("neighbours", 2, 2, (1, 4, 4), width=2, hidden=4).build()

    assert net.places(torch.full((2, 4, 1, 4, 4), torch.nan)).tolist() == [[0, 1, 2, 3]] * 2


def test_the_answer_of_a_step_is_told_in_its_logs():
    torch.manual_seed(0)
    method = LearnNeighbours(MosaicNet("neighbours", 2, 2, (1, 4, 4), width=2, hidden=4).build())
    tiles = torch.randn(16, 4, 1, 4, 4)
    answer = method.net.place(method.net.see(tiles)).permutation.argmax(-1)

    right = method.step(Shuffled(tiles, answer + 1.0, torch.arange(16))).logs
    wrong = method.step(Shuffled(tiles, (answer + 1) % 4 + 1.0, torch.arange(16))).logs

    assert right["partial_ranks"] > 0.9
    assert wrong["partial_ranks"] < 0.1
    assert "step_size" not in right
