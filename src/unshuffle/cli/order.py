"""``unshuffle order RUN FOLDER --out sorted/``."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from unshuffle._files import make_folder, write_atomically
from unshuffle._names import escape_name
from unshuffle._ranges import Range, SmallSeed, ranged
from unshuffle.cli.outputs import check_file, check_folder
from unshuffle.cli.parsing import parse
from unshuffle.cli.reading import Reading
from unshuffle.cli.where import opened

if TYPE_CHECKING:
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.ranking import Ordered

TABLE, SHEET = "order.csv", "sheet.png"


@ranged
@dataclass(frozen=True)
class OrderOptions:
    """Options of ``unshuffle order``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run that learnt to order whole images: recipe order, or deepperm-order."""
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder, .zip, .tar or folder of .tar with images to put in order."""
    out: Path = Path("sorted")
    """Folder to write order.csv and sheet.png into."""
    sheet: Annotated[int, Range(0, 10_000)] = 48
    """Images on the contact sheet, evenly spaced from the weakest to the strongest; 0 for no sheet."""
    saliency: bool = True
    """Show below each image of the sheet which pixels move the answer."""
    seed: SmallSeed = 0
    """Of the windows that a run on sequences is asked about."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()


def run(arguments: list[str]) -> int:
    """The command."""
    text = "Puts the images of a folder in the order that a run has learnt, weak to strong."
    options = parse(OrderOptions, command="order", arguments=arguments, description=text)
    from unshuffle.evals.ranking import put_in_order, refuse_others
    from unshuffle.report import fonts
    from unshuffle.train.progress import Terminal

    check_folder(options.out)
    reading = options.reading
    encoder = reading.encoder(options.run)
    refuse_others(encoder)
    for name in (TABLE, SHEET):
        check_file(options.out / name, (Path(name).suffix,))
    dataset = opened(encoder, options.data)
    terminal = Terminal()
    skipped = reading.skip_log(terminal)
    with terminal.stage("reading", len(dataset)) as progress:
        ordered = put_in_order(
            encoder, dataset, seed=options.seed, batch_size=reading.batch_size, workers=reading.workers,
            skipped=skipped, progress=progress,
        )  # fmt: skip
    make_folder(options.out)
    written = [_write_table(options.out / TABLE, ordered, dataset.names)]
    if options.sheet:
        written.append(_write_sheet(encoder, dataset, ordered, options))
    noun = f"{dataset.source.noun}s"
    print(f"{len(ordered.index)} {noun}, weak to strong, in {' and '.join(map(str, written))}.")
    print(f"{ordered.how} {skipped.summary()}")
    if (lacking := fonts.note()) is not None:
        print(lacking)
    return 0


def _write_table(path: Path, ordered: Ordered, names: list[str]) -> Path:
    """One row an image, weak to strong: its file, its rank from 1, its score."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["file", "rank", "score"])
    for rank, (index, score) in enumerate(zip(ordered.index, ordered.scores), start=1):
        table.writerow([escape_name(names[index]), rank, f"{score:.6g}"])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
    return path


def _write_sheet(encoder: Encoder, dataset: Any, ordered: Ordered, options: OrderOptions) -> Path:
    """Pictures weak to strong, with what the network looks at."""
    from unshuffle.evals.pictures import as_pixels
    from unshuffle.evals.ranking import sheet_of
    from unshuffle.report.sheet import draw_sheet

    shown = sheet_of(encoder, dataset, ordered, most=options.sheet, heat=options.saliency)
    names = [dataset.names[index] for index in ordered.index[shown.places]]
    title = f"weak to strong: {len(names)} of {len(ordered.index)}"
    if shown.heat is not None:
        title += "; below, the pixels that move the answer most"
    png = draw_sheet(as_pixels(shown.pictures), names, ordered.scores[shown.places], heat=shown.heat, title=title)
    write_atomically(options.out / SHEET, lambda file: file.write(png))
    return options.out / SHEET
