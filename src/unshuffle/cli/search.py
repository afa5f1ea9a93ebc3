"""``unshuffle search RUN QUERY… --index FOLDER --out found.png``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from unshuffle._files import make_room, write_atomically
from unshuffle._names import escape_name
from unshuffle._ranges import Range, ranged
from unshuffle.cli.outputs import check_file
from unshuffle.cli.parsing import parse
from unshuffle.cli.reading import Reading
from unshuffle.cli.where import opened

if TYPE_CHECKING:
    from torch import Tensor

    from unshuffle.evals.nearest import Nearest


@ranged
@dataclass(frozen=True)
class SearchOptions:
    """Options of ``unshuffle search``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    query: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="QUERY")]
    """Files to find the like of."""
    index: Path
    """Folder, .zip, .tar or folder of .tar to search."""
    count: Annotated[int, Range(1, 10_000)] = 8
    """How many to find for each query; the query itself is left out."""
    out: Path = Path("found.png")
    """Contact sheet to write: the queries on the left, what was found on the right. Of images only."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Finds what lies nearest to a file of one's own in a run's embedding, by cosine similarity."
    options = parse(SearchOptions, command="search", arguments=arguments, description=text)
    from unshuffle.evals.embed import embed_dataset
    from unshuffle.evals.fits import refuse_without_embedding
    from unshuffle.report import fonts
    from unshuffle.train.progress import Terminal

    _refuse(options)
    reading = options.reading
    encoder = reading.encoder(options.run)
    refuse_without_embedding(encoder)
    bank = opened(encoder, options.index)
    queries = [_read(bank.source, path) for path in options.query]
    terminal = Terminal()
    skipped = reading.skip_log(terminal)
    with terminal.stage("embedding", len(bank)) as progress:
        features = embed_dataset(
            {"features": encoder.embed}, bank, batch_size=reading.batch_size, workers=reading.workers,
            skipped=skipped, progress=progress,
        )  # fmt: skip
    vectors = encoder.embed(queries).numpy()
    found = _found(features.vectors["features"], vectors, _itself(bank, features.index, options.query), options.count)
    names = [[bank.names[features.index[row]] for row in rows] for rows in found.index]
    _tell(options.query, names, found.similarity)
    if len(encoder.item_shape) == 3 and encoder.item_shape[0] in (1, 3) and bank.source.noun == "image":
        _write_sheet(options, bank, queries, features.index[found.index], found.similarity, names)
        print(f"contact sheet: {options.out}")
        if (lacking := fonts.note()) is not None:
            print(lacking)
    print(skipped.summary())
    return 0


def _refuse(options: SearchOptions) -> None:
    if not options.query:
        raise ValueError("give a QUERY: one file at least to find the like of.")
    for query in options.query:
        if not query.is_file():
            raise ValueError(f"no file '{query}' to find the like of.")
    check_file(options.out, (".png",))


def _read(source: Any, path: Path) -> Tensor:
    """A file of one's own as an item.

    Raises:
        ValueError: it cannot be read as one.
    """
    from unshuffle._check import Explained
    from unshuffle.data.files import reason

    with open(path, "rb") as file:
        try:
            return source.decode(file, path.name)
        except (ModuleNotFoundError, Explained):
            raise
        except Exception as error:  # decoders raise anything
            raise ValueError(f"{path} cannot be read: {reason(error)}.") from error


def _itself(bank: Any, index: np.ndarray, queries: tuple[Path, ...]) -> np.ndarray:
    """Of each query which row of the bank is the same file, -1 where none is."""
    paths = {path.resolve(): row for row, i in enumerate(index) if (path := bank.files.path(int(i))) is not None}
    return np.array([paths.get(query.resolve(), -1) for query in queries])


def _found(bank: np.ndarray, queries: np.ndarray, itself: np.ndarray, count: int) -> Nearest:
    """The nearest rows without the query's own.

    Raises:
        ValueError: there is nothing else in the bank.
    """
    from unshuffle.evals.nearest import Nearest, nearest_rows

    count = min(count, len(bank) - int((itself >= 0).any()))
    if not count:
        raise ValueError("--index holds the query alone: there is nothing to be found.")
    found = nearest_rows(bank, queries, k=count + 1)
    others = found.index != itself[:, None]
    kept = [np.flatnonzero(row)[:count] for row in others]
    return Nearest(*(np.stack([part[row] for part, row in zip(whole, kept)]) for whole in found))


def _tell(queries: tuple[Path, ...], names: list[list[str]], similarity: np.ndarray) -> None:
    for query, found, similar in zip(queries, names, similarity):
        print(f"nearest to {escape_name(str(query))}:")
        for place, (name, value) in enumerate(zip(found, similar), start=1):
            print(f"  {place:>3}  {value:6.3f}  {escape_name(name)}")


def _write_sheet(
    options: SearchOptions, bank: Any, queries: list[Tensor], rows: np.ndarray, similarity: np.ndarray, names: Any
) -> None:
    import torch

    from unshuffle.evals.pictures import as_pixels
    from unshuffle.report.neighbours import draw_neighbours

    flat = torch.stack([bank[int(i)][0] for i in rows.ravel()])
    found = as_pixels(flat.float() / 255).reshape(*rows.shape, *as_pixels(flat[:1].float()).shape[1:])
    png = draw_neighbours(
        as_pixels(torch.stack(queries).float() / 255), found, similarity,
        names=[path.name for path in options.query], found_names=names,
    )  # fmt: skip
    make_room(options.out)
    write_atomically(options.out, lambda file: file.write(png))
