"""The counter counts exactly where attention is all or nothing, whatever the boxes, and never hears of padding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.nets.counting import Counter, Rising, overlap

SURE = 60.0
"""A logit whose sigmoid is 1 in double precision."""
GRID = torch.tensor([[x / 4, y / 3, x / 4 + 0.2, y / 3 + 0.3] for y in range(3) for x in range(4)], dtype=torch.float64)


def count(logits: torch.Tensor, boxes: torch.Tensor, most: int = 10) -> torch.Tensor:
    with torch.no_grad():
        return Counter(most).double()(logits.double().unsqueeze(0), boxes.double().unsqueeze(0))[0]


@pytest.mark.parametrize("looked_at", range(11))
def test_boxes_that_are_apart_are_counted(looked_at):
    logits = torch.full((12,), -SURE)
    logits[torch.randperm(12, generator=torch.Generator().manual_seed(looked_at))[:looked_at]] = SURE

    expected = torch.eye(11, dtype=torch.float64)[looked_at]
    torch.testing.assert_close(count(logits, GRID), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 4, 2)])
def test_an_object_proposed_several_times_counts_once(copies):
    boxes = torch.cat([GRID[k : k + 1].expand(c, 4) for k, c in enumerate(copies)])

    counted = count(torch.full((len(boxes),), SURE), boxes)

    torch.testing.assert_close(counted, torch.eye(11, dtype=torch.float64)[len(copies)], atol=1e-6, rtol=0)


def test_what_is_not_looked_at_does_not_matter():
    logits = torch.tensor([SURE, -SURE, SURE, -SURE])

    torch.testing.assert_close(count(logits, GRID[[0, 0, 5, 5]]), count(logits, GRID[[0, 1, 5, 7]]))


def test_more_than_can_be_counted_is_the_most():
    assert count(torch.full((12,), SURE), GRID, most=4).argmax() == 4


def test_only_the_highest_logits_are_counted_over():
    """Of twelve, the four highest; the others could be anything."""
    logits = torch.linspace(3, -3, 12)
    other = logits.clone()
    other[4:] -= 5.0

    torch.testing.assert_close(count(logits, GRID, most=4), count(other, GRID, most=4))


def test_halves_are_not_believed():
    """Attention of one half everywhere, and boxes that overlap by half: the confidence is nothing."""
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]])
    doubted, believed = (
        count(torch.zeros(2), boxes, most=2).sum(),
        count(torch.full((2,), SURE), GRID[:2], most=2).sum(),
    )

    assert doubted < 0.6 * believed
    assert believed == pytest.approx(1.0)


@pytest.mark.parametrize("rubbish", [0.0, 1e30, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("most", [3, 6])
def test_padding_never_changes_the_count_nor_its_gradient(rubbish, most, rng):
    logits, boxes = torch.randn(2, 4, dtype=torch.float64, generator=rng), GRID[:8].reshape(2, 4, 4).clone()
    counter = Counter(most).double()
    mask = torch.tensor([[True] * 4 + [False] * 3] * 2)
    given = [part.clone().requires_grad_() for part in (logits, boxes)]
    padded = [
        torch.cat([logits, torch.full((2, 3), rubbish)], 1).requires_grad_(),
        torch.cat([boxes, torch.full((2, 3, 4), rubbish)], 1).requires_grad_(),
    ]

    plain, masked = counter(*given), counter(*padded, mask)

    torch.testing.assert_close(masked, plain)
    ours = torch.autograd.grad(masked.square().sum(), [*padded, *counter.parameters()])
    theirs = torch.autograd.grad(plain.square().sum(), [*given, *counter.parameters()])
    for part in range(2):
        torch.testing.assert_close(ours[part][:, :4], theirs[part])
        assert (ours[part][:, 4:] == 0).all()
    for mine, other in zip(ours[2:], theirs[2:]):
        torch.testing.assert_close(mine, other)


def test_the_gradient_is_that_of_finite_differences(rng):
    logits = torch.randn(1, 5, dtype=torch.float64, generator=rng).requires_grad_()
    counter = Counter(3).double()
    for function in counter.children():
        with torch.no_grad():
            function.slopes.uniform_(0.5, 1.5, generator=rng)  # type: ignore[union-attr, operator]

    assert torch.autograd.gradcheck(lambda x: counter(x, GRID[:5].unsqueeze(0)), logits)


@given(slopes=st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(lambda s: sum(map(abs, s)) > 0.1))
def test_a_learnt_function_rises_from_0_to_1(slopes):
    function = Rising(4).double()
    with torch.no_grad():
        function.slopes.copy_(torch.tensor(slopes))
        values = function(torch.linspace(0, 1, 33, dtype=torch.float64))

    assert values[0] == 0
    assert values[-1] == pytest.approx(1.0)
    assert (values.diff() >= -1e-12).all()
    heights = torch.tensor(slopes, dtype=torch.float64).abs().cumsum(0)
    torch.testing.assert_close(values[8::8], heights / heights[-1], atol=1e-6, rtol=0)


def test_overlaps_are_those_of_a_raster():
    """The oracle counts the cells of a fine raster."""
    boxes = torch.tensor([[0.0, 0.0, 6.0, 4.0], [3.0, 2.0, 9.0, 8.0], [7.0, 0.0, 9.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    x, y = torch.meshgrid(torch.arange(0.05, 10, 0.1), torch.arange(0.05, 10, 0.1), indexing="ij")
    inside = [((b[0] < x) & (x < b[2]) & (b[1] < y) & (y < b[3])) for b in boxes]

    for i, one in enumerate(inside):
        for j, other in enumerate(inside):
            union = (one | other).sum()
            expected = (one & other).sum() / union if union else torch.tensor(0.0)
            torch.testing.assert_close(overlap(boxes)[i, j], expected.float(), atol=1e-3, rtol=0)
