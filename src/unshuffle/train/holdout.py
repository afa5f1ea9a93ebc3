"""A method's own logs on the samples that are held out of training, computed by one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import Dataset

from unshuffle import _dist
from unshuffle.data.loaders import SkipLog, mix, ordered_loader, seed_everything
from unshuffle.train.plan import Plan, Recipe
from unshuffle.types import Raw


@torch.no_grad()
def held_out_logs(
    method: nn.Module,
    recipe: Recipe,
    plan: Plan,
    held_out: Dataset,
    *,
    skipped: SkipLog,
    on_device: Callable[[Raw], Raw],
) -> dict[str, float]:
    """Means over the held-out samples, shuffled in the same way every time.

    Args:
        method: what is trained, as the engine calls it.
        recipe: gives batch size and seed.
        plan: gives the transform.
        held_out: the samples.
        skipped: notes those that cannot be read.
        on_device: moves a batch to where the method computes.

    Returns:
        ``loss`` and the method's logs; nothing where not one sample can be read.
    """
    method.eval()
    sums: dict[str, float] = {}
    count = 0
    with _alone(method):
        for k, loaded in enumerate(ordered_loader(held_out, batch_size=recipe.batch_size)):
            skipped.add(loaded.skipped)
            if loaded.raw is None or len(loaded.raw.items) < plan.least:
                continue
            raw = on_device(loaded.raw)
            seed_everything(mix(recipe.seed, k))
            batch = plan.transform(raw, torch.Generator().manual_seed(mix(recipe.seed, k)))
            result = method(batch)
            for key, value in {"loss": result.loss, **result.logs}.items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(raw.items)
            count += len(raw.items)
    return {key: value / count for key, value in sums.items()}


@contextmanager
def _alone(method: nn.Module) -> Iterator[None]:
    """This process computes by itself: losses gather from nobody, and no buffer is sent before a forward pass."""
    averaged = [m for m in method.modules() if isinstance(m, nn.parallel.DistributedDataParallel)]
    try:
        for module in averaged:
            module.require_forward_param_sync = False
        with _dist.alone():
            yield
    finally:
        for module in averaged:
            module.require_forward_param_sync = True
