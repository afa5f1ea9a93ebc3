"""The linear probe of the field's tables: a classifier trained by LARS on frozen features, as SimSiam's was."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, Num, Shaped
from torch import Tensor, nn

from unshuffle import _check
from unshuffle.evals.probes import refuse_misfits
from unshuffle.lars import LARS

INITIAL_SPREAD = 0.01  # of the weights; the intercepts start at 0


def lars_scores(
    features: Num[np.ndarray, "n d"] | Callable[[int], np.ndarray],
    codes: Int[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    num_classes: int | None = None,
    epochs: int = 90,
    batch_size: int = 4096,
    base_rate: float = 0.1,
    seed: int = 0,
    device: str = "cpu",
) -> Float[np.ndarray, "m k"]:
    """Scores each class for new rows by a linear classifier, trained as the field's tables are.

    Cross-entropy, LARS with momentum 0.9 and without decay, 90 epochs, batches of 4,096, a rate of 0.1 for 256 rows of
    a batch in proportion (1.6), falling by a cosine epoch by epoch to 0. Features are taken as they are. Where there
    are fewer rows than a batch holds all of them are one, and the rate is smaller. Meant for data in the hundreds of
    thousands; of a few thousand rows :func:`~unshuffle.evals.probes.linear_probe` makes more.

    Args:
        features: (n, d) of the labelled rows; or a function from the number of an epoch to them, for augmented samples
            that are embedded afresh each time (the papers' random crops and mirrors).
        codes: (n,) classes from 0.
        test_features: (m, d) of the rows to predict.
        num_classes: one more than the largest class; found in ``codes`` when not given.
        epochs: how often each row is seen.
        batch_size: rows of a step.
        base_rate: learning rate for 256 rows.
        seed: of the first weights and of the batches.
        device: where to train, such as ``"cuda"``.

    Returns:
        (m, k) float32 logits, larger where a class is more likely.

    Raises:
        ValueError: shapes do not fit, a number is not finite, there are no rows, or an option is not positive.

    Source: GroCo, appendix E.1; Chen & He, "Exploring simple siamese representation learning", 2021.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("base_rate", base_rate)):
        _check.positive("lars_scores", name, value)
    rows_of = features if callable(features) else lambda epoch: features
    first = rows_of(0)
    refuse_misfits("lars_scores", first, codes, test_features)
    classes = int(codes.max()) + 1 if num_classes is None else num_classes
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(first.shape[1], classes).to(device)
    with torch.no_grad():
        layer.weight.copy_(INITIAL_SPREAD * torch.randn(layer.weight.shape, generator=generator))
        layer.bias.zero_()
    size = min(batch_size, len(codes))
    optimiser = LARS(layer.parameters(), base_rate * size / 256)
    targets = torch.from_numpy(codes).long()
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = base_rate * size / 256 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        rows = torch.from_numpy(np.asarray(first if epoch == 0 else rows_of(epoch)))
        for batch in torch.randperm(len(targets), generator=generator).split(size):
            _step(layer, optimiser, rows[batch].float().to(device), targets[batch].to(device))
    with torch.no_grad():
        parts = torch.from_numpy(np.asarray(test_features)).split(batch_size)
        return torch.cat([layer(part.float().to(device)).cpu() for part in parts]).numpy()


def lars_probe(
    features: Num[np.ndarray, "n d"],
    targets: Shaped[np.ndarray, "n"],
    test_features: Num[np.ndarray, "m d"],
    *,
    task: str = "classification",
    seed: int = 0,
    device: str = "cpu",
) -> Shaped[np.ndarray, "m"]:
    """:func:`lars_scores` with its defaults, as a probe: each row's likeliest class.

    Raises:
        ValueError: the task is regression, or :func:`lars_scores` refuses the rows.
    """
    _check.one_of("lars_probe", "task", task, ("classification",))
    classes, codes = np.unique(targets, return_inverse=True)
    return classes[lars_scores(features, codes, test_features, seed=seed, device=device).argmax(1)]


def _step(layer: nn.Linear, optimiser: LARS, rows: Tensor, targets: Tensor) -> None:
    optimiser.zero_grad()
    nn.functional.cross_entropy(layer(rows), targets).backward()
    optimiser.step()
