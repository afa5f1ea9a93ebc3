"""How far ten draws lie from the exact gradient of perturbed ranks, in a network at three moments of its training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from recordings import notes, recipe
from torch import Tensor

from cells import Cell
from training import Line, pretrain
from unshuffle.losses import PerturbedFenchelYoung
from unshuffle.types import Raw

EPOCHS = (1, 5, 25)
BATCH, DRAWS = 64, 100


def cells(folder: Path) -> list[Cell]:
    """One for each moment."""
    return [Cell(f"gradients/{epochs} epochs/0", partial(_cell, folder, epochs)) for epochs in EPOCHS]


def _cell(folder: Path, epochs: int) -> list[Line]:
    data = notes(folder)
    # A training of its own length: what the network is after so many epochs, its rate run down.
    encoder = pretrain(replace(recipe(), epochs=epochs), data.train, seed=0).encoder
    draws = torch.Generator().manual_seed(0)
    batch = cast(Any, encoder.transform)(Raw(data.train[:BATCH], torch.arange(BATCH)), draws)
    scores = encoder.net(batch.patches)
    weights = list(encoder.net.parameters())

    def gradient(loss: PerturbedFenchelYoung) -> Tensor:
        value = loss.loss(scores, batch.ranks, draws).mean()
        parts = torch.autograd.grad(value, weights, retain_graph=True)
        return torch.cat([part.flatten() for part in parts]).double()

    exact = gradient(PerturbedFenchelYoung())
    sampled = [gradient(PerturbedFenchelYoung(num_samples=10)) for _ in range(DRAWS)]
    noise = sum(float((g - exact).square().sum()) for g in sampled) / DRAWS / float(exact.square().sum())
    mean = torch.stack(sampled).mean(0)
    bias = float((mean - exact).norm() / exact.norm())
    return [
        {
            "record": "gradients", "epochs": epochs, "draws": DRAWS, "noise_to_signal": round(noise, 6),
            "error_of_mean": round(bias, 6), "expected_error_of_mean": round((noise / DRAWS) ** 0.5, 6),
        }
    ]  # fmt: skip
