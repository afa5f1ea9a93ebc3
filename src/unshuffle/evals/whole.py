"""Embedding pictures as a search wants them: whole, of any size, and at several scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unshuffle.data.loaders import SkipLog
from unshuffle.evals.embed import embed_dataset
from unshuffle.evals.encoder import Encoder

SCALES = (1.0, math.sqrt(0.5), 0.5)
"""Of the benchmark's multi-scale option."""


def whole_embedder(encoder: Encoder, *, whole: bool, scales: Sequence[float] = (1.0,)) -> Callable[[Tensor], Tensor]:
    """From raw pictures (B, C, h, w) to vectors (B, d) on the CPU.

    The vectors of all scales are added: the network sees the picture as it is, and reduced.

    Args:
        encoder: of images, with a network that takes pictures of any size where that is asked for.
        whole: the pictures are of any size, and are to be normalised only; else they are prepared as in training.
        scales: factors of both sides of what the network sees.

    Raises:
        ValueError: pictures of other sizes than in training are asked for, and the transform takes no such ones; or a
            scale is not positive.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"`scales` must hold positive factors; got {tuple(scales)}.")
    several = tuple(scales) != (1.0,)
    make: Any = _normaliser(encoder) if whole else encoder.prepare

    @torch.no_grad()
    def embed(items: Tensor) -> Tensor:
        encoder.eval()
        seen = make(items)
        if several and not (isinstance(seen, Tensor) and seen.ndim == 4):
            raise ValueError(f"{type(encoder.transform).__name__} cuts pictures into patches: give one scale, 1.")
        parts = [encoder.net.embed(_scaled(seen, scale)) for scale in scales]  # type: ignore[operator]
        return torch.stack(parts).mean(0).float().cpu()

    return embed


def _normaliser(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """What a transform of views does to the pixels of one, without cutting anything."""
    mean, std = (getattr(encoder.transform, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        raise ValueError(
            f"{type(encoder.transform).__name__} cuts pictures of one size: give no longest side, so that they are "
            "cropped as in training."
        )
    weight = next(encoder.net.parameters())
    centre, spread = (torch.tensor(numbers, device=weight.device)[:, None, None] for numbers in (mean, std))
    return lambda items: ((items.to(weight.device) / 255 - centre) / spread).to(weight.dtype)


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    return torch.nn.functional.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)


def embed_pictures(
    embed: Callable[[Tensor], Tensor],
    pictures: Dataset,
    *,
    one_by_one: bool,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Vectors (n, d) of all pictures, in order.

    Args:
        embed: from raw pictures to vectors.
        pictures: each of which can be read: a list with a gap would rank wrongly.
        one_by_one: they are not of one size.
        batch_size: pictures at a time, where they are of one size.
        workers: processes that read.
        progress: called with (done, total).

    Raises:
        TooManyUnreadable: one cannot be read.
    """
    found = embed_dataset(
        {"features": embed}, pictures, batch_size=1 if one_by_one else batch_size, workers=workers,
        skipped=SkipLog(0), progress=progress,
    )  # fmt: skip
    assert len(found.index) == len(cast(list, pictures))
    return found.vectors["features"]
