"""The block that reads a set: the numbers of its authors, no matter in which order the set comes or what pads it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unshuffle.methods import SetReader, SetReading

AUTHORS = {
    "order.step_size": "lr",
    "order.compare.pair.weight": "skew.f.0.conv.weight",
    "order.compare.pair.bias": "skew.f.0.conv.bias",
    "order.compare.cost.weight": "skew.f.2.conv.weight",
    "project.weight": "conv.conv.weight",
    "project.bias": "conv.conv.bias",
} | {f"read.{name}": f"lstm.{name}" for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")}
"""Our weights' names, and theirs. Their last bias has no counterpart: it cancels where costs are made antisymmetric."""


def small(rng: torch.Generator, *, permute: bool = True) -> tuple[SetReader, list[Tensor]]:
    """A reader and three sets of six objects: features, boxes, logits of two glimpses."""
    torch.manual_seed(0)
    reader = SetReader(7, SetReading(permute, 3, 6, units=5)).double()
    shapes = (3, 6, 7), (3, 6, 4), (3, 2, 6)
    return reader, [torch.rand(*shape, dtype=torch.float64, generator=rng) for shape in shapes]


def test_the_numbers_are_those_of_the_authors(golden):
    arrays = {name: torch.from_numpy(array) for name, array in golden("vqa_permnet").items()}
    reader = SetReader(2048, SetReading()).double()
    shapes = {name: tensor.shape for name, tensor in reader.state_dict().items()}
    reader.load_state_dict({name: arrays[f"w/{theirs}"].reshape(shapes[name]) for name, theirs in AUTHORS.items()})

    read = reader(arrays["features"], arrays["boxes"].mT, arrays["attention"].unsqueeze(1)).squeeze(1)

    torch.testing.assert_close(read, arrays["out"], atol=1e-9, rtol=0)


def test_it_has_the_weights_of_the_authors():
    """93,194 of them, but for the bias that cancels."""
    assert sum(p.numel() for p in SetReader(2048, SetReading()).parameters()) == 93_193


def test_every_glimpse_is_read_as_if_it_were_alone(rng):
    reader, (features, boxes, logits) = small(rng)

    together = reader(features, boxes, logits)

    alone = [reader(features, boxes, logits[:, k : k + 1]) for k in range(2)]
    assert together.shape == (3, 2, 5)
    torch.testing.assert_close(together, torch.cat(alone, 1))


def test_a_set_in_another_order_is_the_same_set(rng):
    reader, (features, boxes, logits) = small(rng)
    order = torch.randperm(6, generator=rng)

    torch.testing.assert_close(
        reader(features[:, order], boxes[:, order], logits[..., order]), reader(features, boxes, logits)
    )


def test_without_a_permutation_the_order_matters(rng):
    """So that the test above can fail."""
    reader, (features, boxes, logits) = small(rng, permute=False)
    order = torch.tensor([1, 0, 2, 3, 4, 5])

    read = reader(features[:, order], boxes[:, order], logits[..., order])

    assert (read - reader(features, boxes, logits)).abs().max() > 1e-4


def hidden_among(x: Tensor, places: Tensor, size: int, rubbish: float, dim: int) -> Tensor:
    """``x`` at some places of a larger tensor of rubbish."""
    shape = list(x.shape)
    shape[dim] = size
    return torch.full(shape, rubbish, dtype=x.dtype).index_copy(dim, places, x)


@pytest.mark.parametrize("permute", [True, False])
@pytest.mark.parametrize("rubbish", [0.0, 1e200, math.inf, -math.inf, math.nan])
def test_padding_never_changes_what_is_read_nor_a_gradient(permute, rubbish, rng):
    """Wherever it stands and whatever it holds; the authors' code gives NaN."""
    reader, (features, boxes, logits) = small(rng, permute=permute)
    places = torch.tensor([0, 2, 3, 4, 7, 8])
    mask = torch.zeros(3, 9, dtype=torch.bool).index_fill(1, places, True)
    padded: Any = [
        hidden_among(part, places, 9, rubbish, dim) for part, dim in ((features, 1), (boxes, 1), (logits, 2))
    ]

    plain, masked = reader(features, boxes, logits), reader(*padded, mask)

    torch.testing.assert_close(masked, plain)
    ours = torch.autograd.grad(masked.square().sum(), list(reader.parameters()))
    theirs = torch.autograd.grad(plain.square().sum(), list(reader.parameters()))
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other)


def test_sets_of_several_sizes_in_one_batch_are_read_as_if_alone(rng):
    reader, (features, boxes, logits) = small(rng)
    sizes = torch.tensor([6, 1, 0])
    mask = torch.arange(6) < sizes.unsqueeze(1)

    read = reader(features, boxes, logits, mask)

    for b in (0, 1):
        n = int(sizes[b])
        alone = reader(features[b : b + 1, :n], boxes[b : b + 1, :n], logits[b : b + 1, :, :n])
        torch.testing.assert_close(read[b : b + 1], alone)
    assert (read[2] == 0).all()


def test_the_gradient_is_that_of_finite_differences(rng):
    reader, (features, boxes, logits) = small(rng)
    mask = torch.arange(3) < torch.tensor([[3], [2]])
    inputs = [part.requires_grad_() for part in (features[:2, :3], boxes[:2, :3], logits[:2, :1, :3])]

    assert torch.autograd.gradcheck(lambda *parts: reader(*parts, mask), inputs, atol=1e-6)


@pytest.mark.errors
def test_sizes_that_make_no_sense_say_so():
    with pytest.raises(ValueError, match=r"SetReading: `units` must be from 1 .*; got 0"):
        SetReading(units=0)


def test_the_program_of_the_guide_runs_and_finds_what_it_says():
    page = Path(__file__).resolve().parents[2] / "docs" / "guides" / "questions.md"
    (program,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}

    with torch.random.fork_rng():
        exec(program, names)

    assert names["read"].shape == (2, 8, 128)
    torch.testing.assert_close(names["read"], names["again"], atol=1e-5, rtol=0)
