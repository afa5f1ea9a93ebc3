"""How well mosaics are put together: pixels wrong, images right as a whole; and what a classifier makes of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from unshuffle import permutations
from unshuffle.data.mosaic import Tiles
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import Stamp
from unshuffle.methods.arrangers import Arranger
from unshuffle.types import Result

SAME = 1e-6
"""Squared error of an image, in normalised pixels, below which its pixels are the same."""


class Rebuilt(NamedTuple):
    """Mosaics and their answers, image by image.

    ``perm`` (B, n) is the shuffle as drawn, ``places`` (B, n) the position that each tile was given, ``error`` (B,) the
    mean squared error in normalised pixels, ``shuffled`` (B,) that of the image as it was shuffled.
    """

    perm: Tensor
    places: Tensor
    error: Tensor
    shuffled: Tensor

    def tiles(self) -> Tensor:
        """Share of the tiles in their place, (B,)."""
        return (self.perm == self.places).double().mean(-1)

    def whole(self) -> Tensor:
        """Images of which every tile is in its place, (B,): two blank tiles must not be swapped."""
        return (self.perm == self.places).all(-1)

    def same(self) -> Tensor:
        """Images of which every pixel is right, (B,): tiles that look the same may be swapped."""
        return self.error <= SAME


@torch.no_grad()
def rebuild(
    encoder: Encoder,
    items: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 256,
    double: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Rebuilt:
    """Shuffles the tiles of each image by a permutation of its own, and lets the network put each in its one place.

    Args:
        encoder: trained on mosaics.
        items: raw images (B, C, H, W).
        seed: of the permutations.
        batch_size: images at a time.
        double: compute in float64.
        progress: called with (done, total).

    Raises:
        ValueError: the encoder was not trained on mosaics.
    """
    net, transform = parts_of(encoder)
    net = copy.deepcopy(net).double() if double else net
    perm = transform.draw(len(items), torch.Generator().manual_seed(seed))
    found = []
    for part, drawn in zip(items.split(batch_size), perm.split(batch_size)):
        tiles = encoder.prepare(part).to(next(net.parameters()))
        drawn = drawn.to(tiles.device)
        shuffled = permutations.apply(tiles, drawn)
        places = net.eval().places(shuffled)
        arranged = permutations.apply(shuffled, places.argsort(-1))
        errors = [(one.double() - tiles.double()).square().flatten(1).mean(1) for one in (arranged, shuffled)]
        found.append(Rebuilt(drawn.cpu(), places.cpu(), errors[0].cpu(), errors[1].cpu()))
        if progress is not None:
            progress(sum(len(one.perm) for one in found), len(items))
    return Rebuilt(*(torch.cat(columns) for columns in zip(*found)))


def mosaic_results(rebuilt: Rebuilt, stamp: Stamp, *, layer: str, seed: int) -> list[Result]:
    """Squared error and the shares of whole images, of images with the same pixels and of tiles in place."""
    count, n = rebuilt.perm.shape
    rows = [
        ("mosaic: squared error of normalised pixels", "mse", layer, rebuilt.error),
        ("mosaic: squared error of normalised pixels", "mse", "as shuffled", rebuilt.shuffled),
        ("mosaic: every tile in its place", "accuracy", layer, rebuilt.whole()),
        ("mosaic: every pixel the same", "accuracy", layer, rebuilt.same()),
        ("mosaic: tiles in their place", "accuracy", layer, rebuilt.tiles()),
        ("mosaic: tiles in their place", "accuracy", "chance", torch.full((count,), 1 / n)),
    ]
    return [
        Result(task, metric, values.double().mean().item(), count, seed, layer=name, **stamp._asdict())
        for task, metric, name, values in rows
    ]


@torch.no_grad()
def classified_results(
    encoder: Encoder,
    classifier: nn.Module,
    items: Tensor,
    labels: np.ndarray,
    stamp: Stamp,
    *,
    layer: str,
    seed: int = 0,
    batch_size: int = 256,
) -> list[Result]:
    """What a classifier of whole images knows of mosaics softly arranged, beside whole images and shuffled ones.

    As the paper does, the soft permutation is used as it is. ``max`` is the classifier on the images themselves,
    ``min`` on tiles in a random order.

    Args:
        encoder: trained on mosaics.
        classifier: from normalised images to scores.
        items: raw images (B, C, H, W).
        labels: (B,) their classes.
        stamp: the shared fields of the results.
        layer: what the tables call the arranged images.
        seed: of the permutations.
        batch_size: images at a time.

    Source: Zhang et al. 2019, Tables 2 and 5.
    """
    net, transform = parts_of(encoder)
    tiles_of, known = cast(Tiles, transform.patches), torch.as_tensor(labels)
    perm = transform.draw(len(items), torch.Generator().manual_seed(seed))
    right: dict[str, list[Tensor]] = {"max": [], "min": [], layer: []}
    wrong: dict[str, list[Tensor]] = {"max": [], "min": [], layer: []}
    for part, drawn, label in zip(items.split(batch_size), perm.split(batch_size), known.split(batch_size)):
        tiles = encoder.prepare(part)
        shuffled = permutations.apply(tiles, drawn.to(tiles.device))
        for name, shown in {"max": tiles, "min": shuffled, layer: net.eval()(shuffled).sequence}.items():
            scores = classifier.to(tiles.device).eval()(tiles_of.join(shown))
            right[name].append(scores.argmax(-1).cpu() == label)
            wrong[name].append((shown.double() - tiles.double()).square().flatten(1).mean(1).cpu())
    rows = [("classified, softly arranged", "accuracy", right), ("softly arranged: squared error", "mse", wrong)]
    return [
        Result(task, metric, torch.cat(values).double().mean().item(), len(items), seed, layer=name, **stamp._asdict())
        for task, metric, table in rows
        for name, values in table.items()
    ]


def parts_of(encoder: Encoder) -> tuple[Arranger, Shuffle]:
    """The network and the transform of an encoder that was trained on mosaics.

    Raises:
        ValueError: it was not.
    """
    transform: Any = encoder.transform
    if not isinstance(encoder.net, Arranger) or not isinstance(getattr(transform, "patches", None), Tiles):
        raise ValueError("this encoder was not trained on mosaics; it has no tiles to put in place.")
    return encoder.net, transform
