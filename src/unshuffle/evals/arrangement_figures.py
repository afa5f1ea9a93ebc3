"""What a learnt arrangement looks at: comparisons, costs, gradients, and mosaics step by step, for the report.

Costs below 0 say that the first of two should come first.

Source: Zhang et al. 2019 (Permutation-Optimisation), appendices C and G.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from unshuffle import permutations
from unshuffle.data.mosaic import Tiles
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.mosaics import Rebuilt, parts_of
from unshuffle.evals.pictures import as_pixels, write_arrays
from unshuffle.methods.arrangers import Arranger
from unshuffle.methods.neighbours import NeighbourOptimizer
from unshuffle.methods.permopt import LinearAssigner
from unshuffle.nets.pairwise import PairwiseCost
from unshuffle.types import Figure

AXES = ("left to right", "top to bottom")
"""Of a grid, in the order of the figures; the channels of its costs are rows (top to bottom) first."""
SHOWN_STAGES = 7
"""Stages of the inner optimisation that are shown at the most, evenly spaced, from the first on."""
RANGES = ((0.0, 1.0), (0.0, 1000.0))


@torch.no_grad()
def comparison_figure(folder: Path, net: Arranger, *, points: int = 160) -> Figure:
    """Writes ``figures/comparisons.npz``: F and f over pairs of numbers, from two intervals."""
    compare = cast(PairwiseCost, net.place.compare)  # type: ignore[union-attr]
    maps, extents = [], []
    for low, high in RANGES:
        first = torch.linspace(low, high, points)
        pairs = torch.stack(torch.meshgrid(first, first, indexing="ij"), -1).to(compare.pair.weight)
        f = compare.cost(compare.pair(pairs).relu()).squeeze(-1)
        maps += [f - f.mT, f]
        extents += [(low, high, high, low)] * 2
    names = [f"{name}, [{low:g}, {high:g}]" for low, high in RANGES for name in ("F", "f")]
    arrays = {
        "values": torch.stack(maps).cpu().double().numpy(),
        "names": np.array(names),
        "extents": np.array(extents),
    }
    caption = (
        "The learnt comparison of the number at the left with the number at the top. F: blue, the left one comes "
        "first; red, it comes after. f is the network whose antisymmetric part F is."
    )
    return Figure("heat", write_arrays(folder, "comparisons", arrays), "What is compared, and how", caption)


def mosaic_figures(folder: Path, encoder: Encoder, items: Tensor, rebuilt: Rebuilt, *, count: int = 8) -> list[Figure]:
    """Mosaics before and after, and, where tiles are compared, step by step, their costs and gradients.

    Args:
        folder: the run's.
        encoder: trained on mosaics.
        items: raw images (B, C, H, W), as they were rebuilt.
        rebuilt: the answer.
        count: the most images to show, evenly spaced over all.
    """
    net, _ = parts_of(encoder)
    rows = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    tiles = encoder.prepare(items[rows])
    shuffled = permutations.apply(tiles, rebuilt.perm[rows].to(tiles.device))
    figures = [_before_and_after(folder, encoder, tiles, shuffled, rebuilt.places[rows], rebuilt.tiles()[rows])]
    if isinstance(net.place, LinearAssigner):
        return figures
    figures.append(_stages(folder, encoder, tiles, shuffled))
    most = encoder.prepare(items[torch.linspace(0, len(items) - 1, min(64, len(items))).round().long()])
    return [*figures, *_analysis(folder, encoder, tiles, most)]


def _analysis(folder: Path, encoder: Encoder, tiles: Tensor, most: Tensor) -> list[Figure]:
    patches = cast(Tiles, parts_of(encoder)[1].patches)
    if min(patches.rows, patches.columns) < 2:
        return []  # a sequence has one axis only, and no grid of costs
    if isinstance(parts_of(encoder)[0].place, NeighbourOptimizer):
        return [_neighbours(folder, encoder, tiles[len(tiles) // 2]), _sensitivity(folder, encoder, most)]
    return [
        _costs(folder, encoder, tiles[len(tiles) // 2]), _sensitivity(folder, encoder, most),
        _gradients(folder, encoder, tiles),
    ]  # fmt: skip


def _before_and_after(
    folder: Path, encoder: Encoder, tiles: Tensor, shuffled: Tensor, places: Tensor, right: Tensor
) -> Figure:
    solved = permutations.apply(shuffled, places.argsort(-1).to(shuffled.device))
    shown = {"before": shuffled, "solved": solved, "truth": tiles}
    arrays = {name: _pictures(encoder, part) for name, part in shown.items()}
    arrays |= {"partial_ranks": right.numpy(), "spectrogram": np.array(False)}
    caption = "Images as shuffled; as put together, every tile at one place; and as they were."
    return Figure("puzzle", write_arrays(folder, "mosaics", arrays), "Mosaics", caption)


@torch.no_grad()
def _stages(folder: Path, encoder: Encoder, tiles: Tensor, shuffled: Tensor) -> Figure:
    found = parts_of(encoder)[0].eval().stages(shuffled)
    steps = range(0, len(found), -(-(len(found) - 1) // (SHOWN_STAGES - 1)) or 1)
    soft = [(found[k].mT.to(shuffled) @ shuffled.flatten(2)).reshape(shuffled.shape) for k in steps]
    pictures = [_pictures(encoder, part) for part in (shuffled, *soft, tiles)]
    names = ["shuffled", "start", *(f"step {k}" for k in steps[1:]), "truth"]
    arrays = {"stages": np.stack(pictures), "names": np.array(names)}
    caption = "The softly arranged images before the first step of the inner optimisation, and after the steps named."
    return Figure("stages", write_arrays(folder, "stages", arrays), "Mosaics as they are optimised", caption)


@torch.no_grad()
def _costs(folder: Path, encoder: Encoder, image: Tensor) -> Figure:
    """F of all pairs of one image's tiles, sorted along each axis by what each tile costs as the first of all."""
    net, _ = parts_of(encoder)
    found = _axes_in_order(net.costs(image.unsqueeze(0)))[0].double().cpu()
    order = found.sum(-1).argsort(-1)
    sorted_costs = torch.stack([c[o][:, o] for c, o in zip(found, order)])
    seen = torch.from_numpy(_pixels(encoder, image))
    arrays = {
        "costs": sorted_costs.numpy(), "tiles": torch.stack([seen[o] for o in order]).numpy(), "names": np.array(AXES),
    }  # fmt: skip
    caption = (
        "F of every pair of tiles of one image. Blue: the tile at the left of the row should lie left of (above) the "
        "tile over the column; red: right of it (below); pale: the pair does not matter."
    )
    return Figure("costs", write_arrays(folder, "costs", arrays), "Costs of pairs of tiles", caption)


@torch.no_grad()
def _neighbours(folder: Path, encoder: Encoder, image: Tensor) -> Figure:
    """What it costs that the column's tile continues the row's, less the median, the tiles in their right order."""
    net, transform = parts_of(encoder)
    patches = cast(Tiles, transform.patches)
    places = torch.arange(patches.count).reshape(patches.rows, patches.columns)
    order = torch.stack([places.flatten(), places.mT.flatten()])  # row by row, and column by column
    found = _axes_in_order(net.costs(image.unsqueeze(0)))[0].double().cpu()
    costs = torch.stack([c[o][:, o] for c, o in zip(found, order)])
    seen = torch.from_numpy(_pixels(encoder, image))
    arrays = {
        "costs": (costs - costs.flatten(1).median(-1).values[:, None, None]).numpy(),
        "tiles": torch.stack([seen[o] for o in order]).numpy(), "names": np.array(AXES),
    }  # fmt: skip
    caption = (
        "Blue: the tile over the column is likely to stand right of (below) the tile at the left of the row. True "
        "neighbours lie right above the diagonal, but where a line of the mosaic ends."
    )
    return Figure("costs", write_arrays(folder, "costs", arrays), "Who continues whom", caption)


def _sensitivity(folder: Path, encoder: Encoder, images: Tensor) -> Figure:
    """The mean magnitude of the gradient of what is compared, |F| or costs of neighbours, at each pixel of a tile."""
    net, _ = parts_of(encoder)
    tiles = images.detach().clone().requires_grad_()
    found = _axes_in_order(net.costs(tiles)).abs().sum((0, 2, 3))
    maps = []
    for k in range(len(found)):
        (gradient,) = torch.autograd.grad(found[k], tiles, retain_graph=k + 1 < len(found))
        maps.append(gradient.abs().mean((0, 1, 2)))
    arrays = {
        "values": torch.stack(maps).double().cpu().numpy(), "names": np.array(AXES), "positive": np.array(True),
    }  # fmt: skip
    compared = "the costs of neighbours" if isinstance(net.place, NeighbourOptimizer) else "|F|"
    caption = f"Mean magnitude of the gradient of {compared} at every pixel of a tile, over the pairs of many images."
    return Figure("heat", write_arrays(folder, "sensitivity", arrays), "Where on a tile the comparison looks", caption)


def _gradients(folder: Path, encoder: Encoder, images: Tensor) -> Figure:
    """Gradients of F with respect to both tiles of neighbouring pairs, one pair an image."""
    net, transform = parts_of(encoder)
    patches = cast(Tiles, transform.patches)
    shown, maps = [], []
    for image in images[:6]:
        pixels = _pixels(encoder, image)
        pairs = [(0, 1), (0, patches.columns)]  # a tile with its right neighbour, and with the one below
        shown.append(np.stack([pixels[list(pair)] for pair in pairs]))
        maps.append(np.stack([_pair_gradients(net, image, pair, axis) for axis, pair in enumerate(pairs)]))
    arrays = {"tiles": np.stack(shown), "gradients": np.stack(maps), "names": np.array(AXES)}
    caption = (
        "Pairs of neighbouring tiles with the gradients of F(first, second) and of F(second, first). Brighter pixels "
        "at blue places move a tile to the left (up), at red places to the right (down)."
    )
    return Figure("gradients", write_arrays(folder, "gradients", arrays), "Gradients of pairs of tiles", caption)


def _pair_gradients(net: Arranger, image: Tensor, pair: tuple[int, int], axis: int) -> np.ndarray:
    tiles = image[list(pair)].detach().clone().unsqueeze(0).requires_grad_()
    costs = _axes_in_order(net.costs(tiles))[0, axis]
    # F(second, first) is -F(first, second): of each tile, the gradient of its own cost as the first.
    (gradient,) = torch.autograd.grad(costs[0, 1], tiles)
    own = gradient[0] * torch.tensor([1.0, -1.0]).to(gradient)[:, None, None, None]
    return own.sum(1).double().cpu().numpy()


def _axes_in_order(costs: Tensor) -> Tensor:
    """Left to right first, as the figures show them; channel 0 of a grid's costs orders rows."""
    return costs.flip(1)


def _pictures(encoder: Encoder, tiles: Tensor) -> np.ndarray:
    return as_pixels(cast(Tiles, parts_of(encoder)[1].patches).pictures(tiles.float()).cpu())


def _pixels(encoder: Encoder, tiles: Tensor) -> np.ndarray:
    """The tiles (n, C, h, w) of one image as they are drawn."""
    patches = cast(Tiles, parts_of(encoder)[1].patches)
    one = Tiles(1, 1, mean=patches.mean, deviation=patches.deviation)
    return as_pixels(one.pictures(tiles.unsqueeze(1).float()).cpu())
