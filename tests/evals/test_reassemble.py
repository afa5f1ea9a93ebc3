"""Puzzles from files: what the network says is where the tiles go, at the resolution of the puzzle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from unshuffle.data import Bands, Grid, Shuffle, Tiles
from unshuffle.data.numbers import Sorting
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.reassemble import grid_of, put_together, read_puzzle, solve_puzzle
from unshuffle.losses import RankMSE
from unshuffle.methods import Arranger, LinearAssigner, NumberNet
from unshuffle.methods.permopt import Ordered


class ByBrightness(LinearAssigner):
    """The darkest tile first."""

    def __init__(self) -> None:
        super().__init__(1, 6)

    def forward(self, items: Tensor, carried: Tensor | None = None) -> Ordered:
        place = items.squeeze(-1).argsort(-1).argsort(-1)
        return Ordered(carried, nn.functional.one_hot(place, 6).float())


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, tiles: Tensor) -> Tensor:
        return self.one * tiles.flatten(2).mean(-1, keepdim=True)


class Scores(Mean):
    def forward(self, patches: Tensor) -> Tensor:
        return super().forward(patches).squeeze(-1)


MOSAIC = Encoder(Arranger(Mean(), ByBrightness()), Shuffle(Tiles(2, 3)), (3, 10, 10))
GREY = Encoder(Arranger(Mean(), ByBrightness()), Shuffle(Tiles(2, 3)), (1, 10, 10))
SHUFFLE = Encoder(Scores(), Shuffle(Grid(2, 3, gap=1, normalize=False)), (3, 12, 13), objective=RankMSE())
ORDER = torch.tensor([4, 0, 5, 2, 1, 3])


def picture() -> Image.Image:
    """Six flat tiles of 8 × 10 pixels, brighter from place to place, in the places of ORDER."""
    values = np.repeat(np.repeat((20 + 40 * ORDER.numpy()).reshape(2, 3), 8, 0), 10, 1)
    return Image.fromarray(np.stack([values] * 3, -1).astype(np.uint8))


def tiles_in(folder: Path) -> Path:
    folder.mkdir()
    for k in range(6):
        row, column = divmod(k, 3)
        picture().crop((10 * column, 8 * row, 10 * column + 10, 8 * row + 8)).save(folder / f"{k}.png")
    return folder


@pytest.mark.parametrize("encoder", [MOSAIC, GREY, SHUFFLE], ids=["mosaic", "grey mosaic", "shuffle"])
@pytest.mark.parametrize("kind", ["picture", "folder", "files"])
def test_a_puzzle_is_put_together_at_its_own_resolution(encoder, kind, tmp_path):
    grid = grid_of(encoder)
    folder = tiles_in(tmp_path / "tiles")
    picture().save(tmp_path / "puzzle.png")
    given = {"picture": [tmp_path / "puzzle.png"], "folder": [folder], "files": sorted(folder.iterdir())}[kind]
    puzzle = read_puzzle(given, grid)

    places = solve_puzzle(encoder, puzzle.tiles)

    assert places.tolist() == ORDER.tolist()
    solved = np.asarray(put_together(puzzle.tiles, places, grid))
    assert solved.shape == (16, 30, 3)
    assert solved[::8, ::10, 0].tolist() == [[20, 60, 100], [140, 180, 220]]
    assert puzzle.names[0] in ("1", "0.png")


@pytest.mark.errors
def test_errors_say_what_to_do(tmp_path):
    grid = grid_of(MOSAIC)
    picture().crop((0, 0, 29, 16)).save(tmp_path / "odd.png")
    with pytest.raises(ValueError, match="has 16 x 29 pixels, which 2 x 3 tiles do not divide; crop it to 16 x 27"):
        read_puzzle([tmp_path / "odd.png"], grid)
    folder = tiles_in(tmp_path / "tiles")
    with pytest.raises(ValueError, match="puts 6 tiles together, 2 x 3; got 2"):
        read_puzzle(sorted(folder.iterdir())[:2], grid)
    picture().save(folder / "0.png")
    with pytest.raises(ValueError, match="all tiles must have one size; got 8 x 10 and 16 x 30 pixels"):
        read_puzzle([folder], grid)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is no image that can be read"):
        read_puzzle([tmp_path / "text.png"], grid)
    with pytest.raises(FileNotFoundError, match="give a shuffled picture, or a folder of tiles"):
        read_puzzle([tmp_path / "nothing.png"], grid)


@pytest.mark.errors
@pytest.mark.parametrize(
    "encoder",
    [
        Encoder(NumberNet().build(), Sorting(), (1, 1, 10)),
        Encoder(Scores(), Shuffle(Bands(3)), (1, 9, 9), objective=RankMSE()),
        Encoder(Scores(), Shuffle(Grid(2, 2)), (3, 20, 20)),
    ],
    ids=["numbers", "bands", "no objective"],
)
def test_runs_that_know_nothing_of_tiles_are_refused(encoder):
    with pytest.raises(ValueError, match="was not trained to put tiles of images in order"):
        grid_of(encoder)
