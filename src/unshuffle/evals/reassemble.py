"""Puzzles as people have them: a shuffled picture, or a heap of tiles, of any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unshuffle import permutations
from unshuffle.data.files import find, reason
from unshuffle.data.image import Images
from unshuffle.data.image_files import SUFFIXES, read_image
from unshuffle.data.mosaic import Tiles
from unshuffle.data.patching import Grid
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.fits import purpose, solves_images
from unshuffle.methods.arrangers import Arranger


class Puzzle(NamedTuple):
    """Tiles of a picture in some order: (n, 3, h, w) uint8, and what each is called."""

    tiles: Tensor
    names: list[str]


def grid_of(encoder: Encoder) -> Tiles | Grid:
    """How an encoder's images were cut.

    Raises:
        ValueError: it was not trained to put pieces of images in order.
    """
    if not solves_images(encoder):
        raise ValueError(
            "this run was not trained to put tiles of images in order; train one: unshuffle train mosaic --data "
            f"photos/. {purpose(encoder)}"
        )
    return cast(Any, encoder.transform).patches


def read_puzzle(paths: Sequence[Path], grid: Tiles | Grid, source: Any = None) -> Puzzle:
    """Reads a shuffled picture, which is cut by the grid, or one file for each tile.

    Args:
        paths: one picture; or a folder or an archive of tiles, taken in the order of their names; or all tiles.
        grid: rows and columns.
        source: that of the encoder; its options of images (background, range, largest image) hold here, too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is no image, the picture does not divide evenly, or there are too few or too many tiles, or
            tiles of several sizes.
    """
    images = _images(source)
    if len(paths) == 1 and not paths[0].exists():
        raise FileNotFoundError(f"no file {str(paths[0])!r}: give a shuffled picture, or a folder of tiles.")
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() in (".zip", ".tar")):
        files = find(paths[0], SUFFIXES, what="image")
        return _heap([_opened(files.open(k), name, images) for k, name in enumerate(files.names)], files.names, grid)
    if len(paths) == 1:
        return _cut(_opened(open(paths[0], "rb"), str(paths[0]), images), str(paths[0]), grid)
    return _heap([_opened(open(path, "rb"), str(path), images) for path in paths], [path.name for path in paths], grid)


@torch.no_grad()
def solve_puzzle(encoder: Encoder, tiles: Tensor) -> Tensor:
    """The place of every tile, (n,), from 0, left to right and top to bottom.

    Each tile is scaled by itself to the size that the network knows, so that no tile's edge bleeds into another's.

    Args:
        encoder: trained on mosaics, or by Shuffle to Learn on a grid.
        tiles: (n, 3, h, w) uint8.

    Raises:
        ValueError: the encoder was trained on something else.
    """
    grid = grid_of(encoder)
    channels, height, width = grid.patch_shape(encoder.item_shape)
    gap = grid.gap if isinstance(grid, Grid) else 0
    size = (height + gap, width + gap)
    fit = torch.nn.functional.interpolate(tiles.float(), size, mode="bilinear", antialias=True)
    pixels = fit.round().clamp(0, 255).byte()
    if channels == 1:
        pixels = torch.stack([_grey(one) for one in pixels])
    inputs = encoder.eval().prepare(permutations.lay_out(pixels.unsqueeze(0), grid.rows, grid.columns))
    if isinstance(encoder.net, Arranger):
        return encoder.net.places(inputs)[0].cpu()
    return encoder.order(inputs)[0].argsort().argsort()


def put_together(tiles: Tensor, places: Tensor, grid: Tiles | Grid) -> Image.Image:
    """The picture with every tile at its place."""
    picture = permutations.lay_out(tiles[places.argsort()].unsqueeze(0), grid.rows, grid.columns)[0]
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def _images(source: Any) -> Images:
    """The options of images of an encoder's source; the defaults where it has none."""
    while source is not None and not isinstance(source, Images):
        source = getattr(source, "items", None)
    return source or Images()


def _opened(file: Any, name: str, images: Images) -> Image.Image:
    """One image file, upright and in colour."""
    with file:
        try:
            return read_image(file, images.rgb, max_pixels=images.max_pixels)
        except Exception as error:  # decoders raise anything on a damaged file
            raise ValueError(f"{name} is no image that can be read ({reason(error)}).") from error


def _cut(image: Image.Image, name: str, grid: Tiles | Grid) -> Puzzle:
    width, height = image.size
    if height % grid.rows or width % grid.columns:
        raise ValueError(
            f"{name} has {height} x {width} pixels, which {grid.rows} x {grid.columns} tiles do not divide; crop it to "
            f"{height - height % grid.rows} x {width - width % grid.columns}, or give the tiles as files."
        )
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    h, w = height // grid.rows, width // grid.columns
    tiles = pixels.reshape(3, grid.rows, h, grid.columns, w).permute(1, 3, 0, 2, 4).reshape(-1, 3, h, w)
    return Puzzle(tiles.contiguous(), [str(k + 1) for k in range(len(tiles))])


def _heap(images: list[Image.Image], names: Sequence[str], grid: Tiles | Grid) -> Puzzle:
    if len(images) != grid.count:
        raise ValueError(f"this run puts {grid.count} tiles together, {grid.rows} x {grid.columns}; got {len(images)}.")
    if len(sizes := {image.size for image in images}) > 1:
        told = " and ".join(f"{height} x {width}" for width, height in sorted(sizes))
        raise ValueError(f"all tiles must have one size; got {told} pixels.")
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    return Puzzle(pixels, list(names))


def _grey(pixels: Tensor) -> Tensor:
    grey = Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")
    return torch.from_numpy(np.array(grey)).unsqueeze(0)
