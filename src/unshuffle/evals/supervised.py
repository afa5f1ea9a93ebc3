"""The opposite of a frozen representation: the same network, trained end to end on the labels alone.

What pretraining is worth shows beside it. With few labels the frozen features win; where the lines meet, labels do as
well as pretraining did.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from unshuffle import _check, permutations
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.choosing import Job, choose
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.perceptron import row_order
from unshuffle.types import Raw

WARMUP = 0.1


@dataclass(frozen=True)
class Supervised:
    """A learner in the place of a probe: trains an encoder's network, and a linear layer on its embedding, on labels.

    It takes raw items where probes take features, so that :func:`~unshuffle.evals.compare.compare` can hold it beside
    them: same rows, same labels, same test rows. The network sees what the encoder sees, patches in their order. The
    length of a training is fixed in advance, and the learning rate is chosen by the folds that choose a probe's
    penalty; the test rows meet nothing but the finished network.

    Calling it costs ``folds × len(rates) + 1`` trainings of ``steps`` steps: minutes on a CPU, unlike any probe.

    Example:
        ``compare({"supervised": (train_items, test_items)}, tasks, counts, probe=Supervised(encoder), stamp=stamp)``

    Source: Shuffle to Learn, section 3.1 and figure 3 ("fully supervised model trained end-to-end"); its training is
    not stated there, this one is ours.
    """

    encoder: Encoder
    """Whose network and transform to take; it stays as it is."""
    fine_tune: bool = False
    """Start from the encoder's weights, not from fresh ones."""
    augment: bool = False
    """Train on the transform's random crops, as pretraining did; off, on the crops from the middle."""
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Largest learning rates of AdamW to choose among; the middle one is the default."""
    weight_decay: float = 0.01
    """Of weights; biases and normalisation layers have none."""
    steps: int = 300
    """Of each training: a tenth of them to warm up, then a cosine down to zero."""
    batch_size: int = 64
    """Rows a step; fewer where there are fewer labels."""
    folds: int = 3
    """Parts of the labelled rows, each held out once to choose the rate."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            _check.positive("Supervised", name, getattr(self, name))
        if not self.rates or not all(rate > 0 for rate in self.rates):
            raise ValueError(f"Supervised: `rates` must hold positive learning rates; got {self.rates}.")
        if self.folds < 2:
            raise ValueError(f"Supervised: `folds` must be at least 2; got {self.folds}.")
        if not self.fine_tune and not self.encoder.can_be_rebuilt:
            raise ValueError("Supervised: a network of one's own cannot be built afresh; give `fine_tune=True`.")
        if self.augment and not isinstance(self.encoder.transform, Shuffle):
            raise ValueError("Supervised: this encoder's transform has no random crops; leave `augment` off.")

    def __call__(
        self,
        items: np.ndarray,
        targets: np.ndarray,
        test_items: np.ndarray,
        *,
        task: Literal["classification", "regression"],
        seed: int = 0,
    ) -> np.ndarray:
        """Predicts the targets of new items.

        Args:
            items: (n, C, H, W) labelled raw items, as the encoder takes them.
            targets: (n,) classes of any kind, or numbers.
            test_items: (m, C, H, W) items to predict.
            task: ``"classification"`` or ``"regression"``.
            seed: of folds, weights, batches, dropout and crops.

        Returns:
            (m,) predictions: members of ``targets``, or floats.

        Raises:
            ValueError: shapes do not fit, or the task is another.
        """
        self._refuse(items, targets, test_items, task)
        if (targets == targets[0]).all():
            return np.full(len(test_items), targets[0])
        classes, codes = np.unique(targets, return_inverse=True) if task == "classification" else (None, targets)

        def fit(jobs: Sequence[Job], rates: Sequence[float]) -> list[list[np.ndarray]]:
            kinds = None if classes is None else len(classes)
            return [[self._fit_predict(job, rate, kinds, seed) for rate in rates] for job in jobs]

        middle = self.rates[len(self.rates) // 2]
        rate = middle
        if len(self.rates) > 1:
            rate = choose(
                fit, items, codes, self.rates, default=middle, task=task, seed=seed, folds=self.folds
            )  # fmt: skip
        answers = fit([Job(items, codes, test_items)], [rate])[0][0]
        return answers if classes is None else classes[answers]

    def _fit_predict(self, job: Job, rate: float, classes: int | None, seed: int) -> np.ndarray:
        """One training, and its predictions: codes, or numbers in their own unit."""
        # Numbers are learned at mean 0 and deviation 1, as by the perceptron.
        centre, spread = (0.0, 1.0) if classes else (job.targets.mean(), job.targets.std() or 1.0)
        known = torch.as_tensor(job.targets if classes else (job.targets - centre) / spread)
        with _seeded(seed, self._device):
            labeller = self._labeller(classes or 1)
            self._train(labeller, torch.from_numpy(job.features), known.to(self._device), rate, classes, seed)
        outputs = self._outputs(labeller, torch.from_numpy(job.others))
        return outputs.argmax(-1).numpy() if classes else outputs[:, 0].double().numpy() * spread + centre

    def _train(
        self, labeller: nn.Module, items: Tensor, known: Tensor, rate: float, classes: int | None, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        # Two rows at least, if need be one of them twice: batch norm knows no deviation of one.
        rows = max(2, min(self.batch_size, len(items)))
        order = row_order(len(items), rows, self.steps, generator)
        known = known.long() if classes else known.float()
        adam = torch.optim.AdamW(_groups(labeller, self.weight_decay), lr=rate)
        labeller.train()
        for step, chosen in enumerate(order):
            for group in adam.param_groups:
                group["lr"] = rate * _share(step, self.steps)
            outputs = labeller(self._prepared(items[chosen], generator)).float()
            y = known[chosen.to(known.device)]
            loss = nn.functional.cross_entropy(outputs, y) if classes else 0.5 * (outputs[:, 0] - y).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()

    def _prepared(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Patches in order: from the middle of their cells, or where pretraining might have cropped them."""
        if not self.augment:
            return self.encoder.prepare(items)
        raw = Raw(items.to(self._device), torch.arange(len(items)))
        batch = cast(Shuffle, self.encoder.transform)(raw, generator)
        perm = batch.ranks.long() - 1
        return permutations.apply(batch.patches, permutations.invert(perm)).to(next(self.encoder.net.parameters()))

    @torch.no_grad()
    def _outputs(self, labeller: nn.Module, items: Tensor) -> Tensor:
        labeller.eval()
        return torch.cat([labeller(self.encoder.prepare(part)).float().cpu() for part in items.split(256)])

    def _labeller(self, outputs: int) -> nn.Module:
        """The network with a fresh last layer; seeded by the caller."""
        encoder = self.encoder
        net = copy.deepcopy(encoder.net) if self.fine_tune else encoder.net_value.build()
        width = encoder.embed(torch.zeros(0, *encoder.item_shape)).shape[1]
        labeller = Labeller(net.requires_grad_(True), width, outputs, getattr(encoder.net_value, "dropout", 0.0))
        return labeller.to(next(encoder.net.parameters()))

    @property
    def _device(self) -> torch.device:
        return next(self.encoder.net.parameters()).device

    def _refuse(self, items: np.ndarray, targets: np.ndarray, test_items: np.ndarray, task: str) -> None:
        _check.one_of("Supervised", "task", task, ("classification", "regression"))
        shape = self.encoder.item_shape
        if items.shape[1:] != shape or test_items.shape[1:] != shape:
            wanted = ", ".join(map(str, shape))
            raise ValueError(
                f"Supervised: `items` and `test_items` must be raw items, (n, {wanted}) and (m, {wanted}), as the "
                f"encoder takes them; got {items.shape} and {test_items.shape}."
            )
        if len(items) == 0 or targets.shape != (len(items),):
            raise ValueError(
                f"Supervised: `targets` must hold one entry for each of at least one row of `items`; got "
                f"{targets.shape} for {len(items)} rows."
            )


class Labeller(nn.Module):
    """A network with ``embed``, dropout and one linear layer: for the context-free network, its own last layer again.

    Args:
        net: gives (B, width).
        width: of its embedding.
        outputs: classes, or 1 for numbers.
        dropout: between the two.
    """

    def __init__(self, net: nn.Module, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.net = net
        self.label = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Prepared items to (B, outputs)."""
        return self.label(cast(Any, self.net).embed(inputs))


def _share(step: int, steps: int) -> float:
    """Of the largest rate, at one step."""
    rising = max(1, round(WARMUP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay, vectors without."""
    every = list(net.parameters())
    return [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds weights and dropout, and leaves the generators as they were."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            torch.cuda.manual_seed(seed)
        yield
