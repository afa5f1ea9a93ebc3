"""What a network looks at: which pixels move its answer, and the filters of its first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from unshuffle import permutations
from unshuffle.data.patching import Grid
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.evals.puzzles import Solved, as_seen
from unshuffle.losses import MatrixObjective
from unshuffle.nets import ItemScorer
from unshuffle.types import Figure, Sets

SMOOTH = 1 / 15
"""Deviation of the Gaussian over a drawn map, in sides of a picture; the authors' is 15 of 227 pixels."""


def saliency(encoder: Encoder, inputs: Float[Tensor, "batch n c h w"]) -> Float[Tensor, "batch n h w"]:
    """By how much each pixel moves the answer: the largest derivative over channels, without its sign.

    Of a network that predicts permutation matrices, the derivative of the soft matrix in its own direction (of half its
    squared length): which pixels make it surer, or less sure. Of one that scores items alone, that of an item's score.

    Args:
        encoder: a trained one of either kind.
        inputs: prepared patches or sets, as its network takes them.

    Raises:
        ValueError: the network is of another kind, or the inputs are no pictures.

    Source: DeepPermNet, section 4.2, with the maps of Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional
    Networks", 2014.
    """
    if inputs.ndim != 5:
        raise ValueError(f"saliency: `inputs` must be pictures, (B, n, channels, h, w); got {tuple(inputs.shape)}.")
    weight = next(encoder.net.parameters())
    encoder.eval()
    with torch.enable_grad():
        pixels = inputs.detach().to(weight).requires_grad_()
        scores = encoder.net(pixels).float()
        if isinstance(encoder.objective, MatrixObjective):
            moved = encoder.objective.matrix(scores).square().sum() / 2
        elif isinstance(encoder.net, ItemScorer):
            moved = scores.sum()
        else:
            raise ValueError("saliency: this network predicts no permutation matrices, and no scores of single items.")
        (slope,) = torch.autograd.grad(moved, pixels)
    return slope.abs().amax(2).cpu()


def saliency_of_sets(folder: Path, encoder: Encoder, sets: Sets, *, count: int = 4) -> Figure:
    """Writes ``figures/saliency.npz``: sets in the order that is predicted, weak to strong, and their maps.

    Args:
        folder: the run's.
        encoder: trained on sets of images.
        sets: some of them, pixels from 0 to 1.
        count: the most sets to show.
    """
    shown = sets.items[:count]
    order = encoder.order(shown).argsort(-1)
    images, heat = (permutations.apply(part, order) for part in (shown.cpu(), saliency(encoder, shown)))
    caption = "Each set as the network puts it in order, weak to strong; below, the pixels that move its answer most."
    return _written(folder, as_pixels(images), heat.numpy(), caption)


def saliency_of_puzzles(folder: Path, encoder: Encoder, items: Tensor, solved: Solved, *, count: int = 6) -> Figure:
    """Writes ``figures/saliency.npz``: pictures, and the maps of their patches, which were shuffled for the network.

    Args:
        folder: the run's.
        encoder: trained on shuffled patches of images.
        items: raw samples (B, C, H, W).
        solved: the permutations that they were shuffled by.
        count: the most pictures to show, evenly spaced over all.
    """
    assert isinstance(encoder.transform, Shuffle)
    assert isinstance(encoder.transform.patches, Grid), "only pictures have maps"
    seen = as_seen(encoder.transform.patches)
    rows = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    perm = solved.perm[rows]
    shuffled = permutations.apply(encoder.prepare(items[rows]), perm)
    heat = permutations.apply(saliency(encoder, shuffled), permutations.invert(perm))
    pictures = seen.join(seen.cut(items[rows]))
    laid_out = seen.join(heat.unsqueeze(2))[:, 0]
    caption = "Held-out pictures; below, the pixels that move the network's answer to where their patches belong."
    return _written(folder, as_pixels(pictures)[None], laid_out.numpy()[None], caption)


def smoothed(heat: np.ndarray) -> np.ndarray:
    """Maps (..., h, w) as they are drawn: smooth, the largest value of each 1. They tell where, not how much."""
    side = SMOOTH * heat.shape[-1]
    smooth = gaussian_filter(heat, sigma=(*(0 for _ in heat.shape[:-2]), side, side))
    largest = smooth.max((-2, -1), keepdims=True)
    return np.divide(smooth, largest, out=np.zeros_like(smooth), where=largest > 0)


def _written(folder: Path, images: np.ndarray, heat: np.ndarray, caption: str) -> Figure:
    arrays = {"images": images, "heat": smoothed(heat)}
    return Figure("saliency", write_arrays(folder, "saliency", arrays), "What the network looks at", caption)


def filters_figure(folder: Path, encoder: Encoder) -> Figure | None:
    """Writes ``figures/filters.npz``: the first layer's filters, each in its own range; None where there are none.

    There are none where the first layer is no convolution of pictures of one or three channels.
    """
    first = next((m for m in encoder.net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))), None)
    if not isinstance(first, nn.Conv2d) or first.in_channels not in (1, 3) or first.kernel_size[0] < 2:
        return None
    weight = first.weight.detach().float().cpu()
    low, high = weight.amin((1, 2, 3), keepdim=True), weight.amax((1, 2, 3), keepdim=True)
    pictures = as_pixels((weight - low) / (high - low).clamp_min(torch.finfo(weight.dtype).tiny))
    caption = f"Convolution of {first.in_channels} channel{'s'[: first.in_channels > 1]}, each filter in its own range."
    return Figure(
        "filters", write_arrays(folder, "filters", {"filters": pictures}), "Filters of the first layer", caption
    )
