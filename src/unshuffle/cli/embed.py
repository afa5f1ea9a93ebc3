"""``unshuffle embed RUN --data FOLDER --out features.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from unshuffle._files import make_room
from unshuffle.cli.outputs import check_file
from unshuffle.cli.parsing import parse
from unshuffle.cli.reading import Reading
from unshuffle.cli.where import Where, opened


@dataclass(frozen=True)
class EmbedOptions:
    """Options of ``unshuffle embed``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    data: Path
    """Folder, .zip, .tar or folder of .tar with samples such as the run was trained on."""
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    out: Path = Path("features.parquet")
    """File to write, one row a sample: .parquet or .csv (name, label, features), .npz (arrays of these), or .npy (the
    features alone, and the names in a .names.txt beside it)."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()


def run(arguments: list[str]) -> int:
    """The command."""
    options = parse(EmbedOptions, command="embed", arguments=arguments, description="Embeds every sample of a folder.")
    from unshuffle.evals.embed import embed_dataset
    from unshuffle.evals.feature_files import WRITERS, write_features
    from unshuffle.evals.fits import refuse_without_embedding
    from unshuffle.train.progress import Terminal

    check_file(options.out, tuple(WRITERS))
    reading = options.reading
    encoder = reading.encoder(options.run)
    refuse_without_embedding(encoder)
    dataset = opened(encoder, options.data, options.where.layout())
    terminal = Terminal()
    skipped = reading.skip_log(terminal)
    with terminal.stage("embedding", len(dataset)) as progress:
        features = embed_dataset(
            {"features": encoder.embed}, dataset, batch_size=reading.batch_size, workers=reading.workers,
            skipped=skipped, progress=progress,
        )  # fmt: skip
    names = [dataset.names[i] for i in features.index]
    labels = None if features.labels is None else _told(features.labels, dataset.classes)
    make_room(options.out)
    written = write_features(options.out, features.vectors["features"], names, labels)
    size = features.vectors["features"].shape[1]
    places = " and ".join(map(str, written))
    print(f"{len(names)} {dataset.source.noun}s x {size} features in {places}. {skipped.summary()}")
    return 0


def _told(labels: np.ndarray, classes: Sequence[str]) -> list[Any]:
    """Labels as one reads them: a class by its name, a number as it is, of several classes the names of those there.

    A sample without a class has None.
    """
    if labels.ndim == 2:
        return [[name for name, there in zip(classes, row) if there == 1] for row in labels]
    return [classes[i] if i >= 0 else None for i in labels] if classes else labels.tolist()
