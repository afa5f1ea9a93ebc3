"""What every cell does: train a recipe, compare its frozen encoder with what it must beat, solve held-out puzzles."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unshuffle import fit
from unshuffle.data.arrays import Arrays
from unshuffle.evals import Task, compare, stamp
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.judge import representations
from unshuffle.evals.puzzles import pretext_results, solve
from unshuffle.losses import FastSoftRanking, FixedPermutations, PerturbedFenchelYoung, RankMSE
from unshuffle.recipes import DeepPermRecipe, ShuffleRecipe
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Silent
from unshuffle.types import Result

Line = dict[str, Any]
Probe = Callable[..., np.ndarray]

RANDOM, RAW = "random embedding", "raw input"
MACHINE = Machine(device="cpu", save_every=1e9)


class Data(NamedTuple):
    """Both parts of a data set in memory; targets are (train, test) for each task, regressions named apart."""

    name: str
    train: Tensor
    test: Tensor
    targets: dict[str, tuple[np.ndarray, np.ndarray]]
    regressions: tuple[str, ...] = ()

    def tasks(self) -> list[Task]:
        """What is probed for."""
        return [
            Task(name, "regression" if name in self.regressions else "classification", *pair)
            for name, pair in self.targets.items()
        ]

    def held_back(self, share: float = 0.2, seed: int = 7) -> Data:
        """The training part alone, divided at random: for every choice, so that the test part stays unseen."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        cut = round(share * len(order))
        new, known = np.sort(order[:cut]), np.sort(order[cut:])
        targets = {name: (pair[0][known], pair[0][new]) for name, pair in self.targets.items()}
        return self._replace(train=self.train[known], test=self.train[new], targets=targets)


class Pretrained(NamedTuple):
    """A finished encoder, and the pretext task on held-out samples after each epoch."""

    encoder: Encoder
    curve: Line


def pretrain(recipe: ShuffleRecipe | DeepPermRecipe, items: Tensor, *, seed: int) -> Pretrained:
    """Trains without labels, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        encoder = fit(
            replace(recipe, seed=seed), Arrays(items), out=out, machine=MACHINE, progress=Silent(), title="benchmark"
        )
        rows = list(csv.DictReader((out / "metrics.csv").open()))
    held = [row for row in rows if row["split"] == "holdout"]
    steps = [int(row["step"]) for row in held]
    curve = {key: [round(float(row[key]), 4) for row in held] for key in ("loss", "partial_ranks")}
    return Pretrained(encoder, {"record": "curve", "seed": seed, "step": steps, **curve})


def judged(
    done: Pretrained,
    data: Data,
    *,
    layer: str,
    beside: Mapping[str, str],
    counts: Sequence[int],
    probe: Probe,
    seed: int,
    split: str = "test",
    draws: int = 1,
    puzzles: Tensor | None = None,
    recipe: str = "shuffle",
) -> list[Line]:
    """Probes the encoder, and where ``beside`` names them the ``raw`` input and the ``random`` network, beside it.

    Held-out puzzles are made of ``puzzles``, or of the test samples.
    """
    train, test = (Arrays(part) for part in (data.train, data.test))
    both = representations(done.encoder, train, test, seed=seed)
    names = {"pretrained": layer, **beside}
    rows = {names[key]: pair for key, pair in both.pairs().items() if key in names}
    mark = stamp(data.name, split, recipe)
    # Every training sees other labels: the spread is that of both.
    results = compare(rows, data.tasks(), counts, draws=draws, seed=seed, probe=probe, stamp=mark)
    if not isinstance(done.encoder.objective, FixedPermutations):
        solved = solve(done.encoder, data.test if puzzles is None else puzzles, seed=seed)
        results += [line for line in pretext_results(solved, mark, layer=layer, seed=seed) if line.layer == layer]
    return [*map(as_line, results), done.curve]


def as_line(result: Result) -> Line:
    """A result as it is stored."""
    return {"record": "result", **result._asdict(), "value": round(float(result.value), 6)}


FIXED, MSE = "100 fixed permutations", "rank MSE"
SOFT, SAMPLED, EXACT = "fast soft ranking", "perturbed ranks, 10 samples", "perturbed ranks, exact"


def with_loss(recipe: ShuffleRecipe, name: str, *, sigma: float = 0.1, strength: float = 1.0) -> ShuffleRecipe:
    """The recipe with one of the losses of the paper's tables, or the exact form of one."""
    losses = {
        FIXED: FixedPermutations(),
        MSE: RankMSE(),
        SOFT: FastSoftRanking(strength),
        SAMPLED: PerturbedFenchelYoung(sigma=sigma, num_samples=10),
        EXACT: PerturbedFenchelYoung(sigma=sigma),
    }
    return replace(recipe, loss=losses[name])
