"""A small encoder with statistics of its own, and images to feed it."""

from __future__ import annotations

import pytest
import torch

from unshuffle.data.image import Images
from unshuffle.data.patching import Grid
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.losses import PerturbedFenchelYoung
from unshuffle.nets import ContextFreeNet, SmallConv

SHAPE = (3, 16, 16)


@pytest.fixture
def images() -> torch.Tensor:
    """Forty pictures as a loader gives them."""
    return torch.randint(0, 256, (40, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def encoder(images) -> Encoder:
    """As if trained: random weights, dropout, and batch-norm statistics that are not the first ones."""
    value = ContextFreeNet(SmallConv(4), 4, (3, 6, 6), 4, patch_features=8, hidden=12, dropout=0.5)
    transform = Shuffle(Grid(2, 2, gap=2))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = value.build().train()
        net(transform.prepare(images))
    return Encoder(
        net, transform, SHAPE, source=Images(size=16), objective=PerturbedFenchelYoung(sigma=0.1), net_value=value
    )
