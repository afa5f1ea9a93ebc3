"""``unshuffle solve RUN PUZZLE… --out FILE``."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from unshuffle._files import make_room, write_atomically
from unshuffle._names import escape_name
from unshuffle.cli.outputs import check_file
from unshuffle.cli.parsing import parse, usable_device

if TYPE_CHECKING:
    from unshuffle.evals.reassemble import Puzzle


@dataclass(frozen=True)
class SolveOptions:
    """Options of ``unshuffle solve``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run that learnt to put tiles in order: mosaic, or shuffle on images."""
    puzzle: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PUZZLE")]
    """A shuffled picture; or a folder of tiles; or every tile."""
    out: Path = Path("solved.png")
    """Picture to write."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, mps."""


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Puts the tiles of a shuffled picture in order and writes the picture."
    options = parse(SolveOptions, command="solve", arguments=arguments, description=text)
    if not options.puzzle:
        raise ValueError("give a PUZZLE: a shuffled picture, a folder of tiles, or every tile.")
    from unshuffle.evals.encoder import load
    from unshuffle.evals.reassemble import grid_of, put_together, read_puzzle, solve_puzzle

    kind = _kind(options.out)
    make_room(options.out)
    encoder = load(options.run, device=usable_device(options.device))
    grid = grid_of(encoder)
    puzzle = read_puzzle(options.puzzle, grid, encoder.source)
    places = solve_puzzle(encoder, puzzle.tiles)
    picture = put_together(puzzle.tiles, places, grid)
    write_atomically(options.out, lambda file: picture.save(file, format=kind))
    _tell(puzzle, places.argsort().tolist(), grid.columns)
    print(f"{grid.rows} x {grid.columns} tiles put together in {options.out}.")
    return 0


def _kind(out: Path) -> str:
    """The format that a picture's name asks for.

    Raises:
        ValueError: none is known by that name, or it holds no colours, or the place cannot be written.
    """
    from PIL import Image

    kind = Image.registered_extensions().get(out.suffix.lower(), "")
    try:
        Image.new("RGB", (8, 8)).save(io.BytesIO(), format=kind or None)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"--out {out} must be a picture, for example solved.png.") from error
    check_file(out, (out.suffix.lower(),))
    return kind


def _tell(puzzle: Puzzle, order: list[int], columns: int) -> None:
    """The names of the tiles, row by row, as they now lie."""
    names = [escape_name(puzzle.names[item]) for item in order]
    width = max(map(len, names))
    print("The tiles, row by row (of a picture they are counted from 1, left to right and top to bottom):")
    for start in range(0, len(names), columns):
        print("  " + "  ".join(name.rjust(width) for name in names[start : start + columns]))
