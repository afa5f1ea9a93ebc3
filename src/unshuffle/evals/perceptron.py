"""Perceptrons side by side: one for every fold and every penalty, trained in one go.

Choosing a penalty by cross-validation means a dozen small trainings. Here the nets of all folds and penalties lie in
one tensor a layer, so that a step is three matrix products for all of them and not three for each; the nets of a fold
read the same rows, so that their first layers are one wide layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unshuffle.evals.choosing import Job

LEARNING_RATE = 1e-3


def fit_predict(
    jobs: Sequence[Job],
    penalties: Sequence[float],
    *,
    classes: int | None,
    hidden: tuple[int, ...],
    steps: int,
    batch: int,
    seed: int,
    device: str = "cpu",
) -> list[list[np.ndarray]]:
    r"""Trains one net for each job and penalty, and lets it predict the job's other rows.

    Minimises, by Adam at a constant rate and over batches of b rows,

    .. math:: \frac1b \sum_i \ell(f(x_i), y_i) + \frac{\alpha}{2b} \sum_k \lVert W_k \rVert^2

    with the cross-entropy, or half the squared error, as loss: scikit-learn's objective. All nets start from the same
    weights (uniform, Glorot & Bengio 2010); every row is seen as often as any other, give or take once.

    Args:
        jobs: of one d, float32 features; targets are codes from 0, or numbers of mean 0.
        penalties: every α.
        classes: how many; None for numbers.
        hidden: units of each hidden layer, one at least.
        steps: how many.
        batch: rows a step; fewer where a job has fewer.
        seed: of first weights and batches.
        device: where to compute; the draws are made on the CPU, the same everywhere.

    Returns:
        Predictions (m,), codes or numbers, ``[job][penalty]``.

    Example:
        >>> corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 8, dtype=np.float32)
        >>> job = Job(corners, np.array([0, 1, 1, 0] * 8), corners[:4])
        >>> fit_predict([job], [0.1], classes=2, hidden=(32,), steps=300, batch=32, seed=0)[0][0]
        array([0, 1, 1, 0])
    """
    generator = torch.Generator().manual_seed(seed)
    outputs, columns = classes or 1, jobs[0].features.shape[1]
    nets = _Nets(len(jobs), len(penalties), (columns, *hidden, outputs), generator, device)
    rows = min([batch, *(len(job.features) for job in jobs)])
    orders = [row_order(len(job.features), rows, steps, generator).to(device) for job in jobs]
    inputs = [torch.from_numpy(job.features).to(device) for job in jobs]
    kind = torch.int64 if classes else torch.float32
    targets = [torch.as_tensor(job.targets, dtype=kind, device=device) for job in jobs]
    decay = torch.tensor(penalties, dtype=torch.float32, device=device) / rows
    adam = torch.optim.Adam(nets.weights + nets.biases, lr=LEARNING_RATE, fused=True)
    for step in range(steps):
        x = torch.stack([rows_of[order[step]] for rows_of, order in zip(inputs, orders)])
        y = torch.stack([known[order[step]] for known, order in zip(targets, orders)])
        adam.zero_grad()
        _loss(nets(x), y, classes).backward()
        nets.penalise(decay)
        adam.step()
    return [_predictions(nets, j, torch.from_numpy(job.others).to(device), classes) for j, job in enumerate(jobs)]


class _Nets:
    """Perceptrons for all jobs and penalties; a layer's weights are (jobs, in, penalties * out) or (nets, in, out)."""

    def __init__(
        self, jobs: int, penalties: int, sizes: tuple[int, ...], generator: torch.Generator, device: str
    ) -> None:
        self.jobs, self.penalties = jobs, penalties
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        for k, (before, after) in enumerate(pairwise(sizes)):
            bound = (6 / (before + after)) ** 0.5
            one = (torch.rand(before + 1, after, generator=generator) * 2 - 1) * bound
            many = one.repeat(jobs, 1, penalties) if k == 0 else one.repeat(jobs * penalties, 1, 1)
            self.weights.append(many[:, :-1].contiguous().to(device).requires_grad_())
            self.biases.append(many[:, -1:].contiguous().to(device).requires_grad_())

    def __call__(self, x: Float[Tensor, "jobs b d"]) -> Float[Tensor, "jobs penalties b out"]:
        """The outputs of every net for its job's rows."""
        return self._forward(x, self.weights, self.biases)

    @torch.no_grad()
    def predict(self, job: int, x: Float[Tensor, "m d"]) -> Float[Tensor, "penalties m out"]:
        """The outputs of one job's nets for any rows."""
        own = slice(job * self.penalties, (job + 1) * self.penalties)
        places = [slice(job, job + 1), *[own] * (len(self.weights) - 1)]
        weights, biases = ([p[place] for p, place in zip(part, places)] for part in (self.weights, self.biases))
        return self._forward(x[None], weights, biases)[0]

    def _forward(self, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        jobs, rows = x.shape[:2]
        wide = torch.baddbmm(biases[0], x, weights[0])
        x = wide.reshape(jobs, rows, self.penalties, -1).transpose(1, 2).flatten(0, 1)
        for weight, bias in zip(weights[1:], biases[1:]):
            x = torch.baddbmm(bias, x.relu(), weight)
        return x.reshape(jobs, self.penalties, rows, -1)

    def penalise(self, decay: Float[Tensor, "penalties"]) -> None:
        """Adds the gradient of every net's own L2 penalty; biases have none."""
        for k, weight in enumerate(self.weights):
            assert weight.grad is not None
            out = weight.shape[-1] // self.penalties
            factor = decay.repeat_interleave(out) if k == 0 else decay.repeat(self.jobs)[:, None, None]
            weight.grad.addcmul_(weight.detach(), factor)


def row_order(size: int, rows: int, steps: int, generator: torch.Generator) -> Int[Tensor, "steps rows"]:
    """The rows of every step: one permutation of all after the other, cut into steps."""
    epochs = -(-steps * rows // size)
    drawn = torch.cat([torch.randperm(size, generator=generator) for _ in range(epochs)])
    return drawn[: steps * rows].reshape(steps, rows)


def _loss(outputs: Float[Tensor, "jobs penalties b out"], y: Tensor, classes: int | None) -> Tensor:
    """The sum over all nets of their mean losses; no net's gradient meets another's."""
    many = y[:, None].expand(outputs.shape[:-1])
    if classes is None:
        return 0.5 * (outputs[..., 0] - many).square().sum() / y.shape[-1]
    return torch.nn.functional.cross_entropy(outputs.flatten(0, 2), many.flatten(), reduction="sum") / y.shape[-1]


def _predictions(nets: _Nets, job: int, others: Tensor, classes: int | None) -> list[np.ndarray]:
    outputs = nets.predict(job, others)
    answers = outputs[..., 0] if classes is None else outputs.argmax(-1)
    return list(answers.cpu().numpy())
