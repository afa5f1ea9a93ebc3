"""``unshuffle embed RUN --data FOLDER --out features.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from unshuffle._files import write_atomically
from unshuffle.cli.parsing import parse
from unshuffle.cli.reading import Reading
from unshuffle.cli.where import Where


@dataclass(frozen=True)
class EmbedOptions:
    """Options of ``unshuffle embed``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    data: Path
    """Folder, .zip, .tar or folder of .tar with samples such as the run was trained on."""
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    out: Path = Path("features.parquet")
    """Table to write: name, label and features, one row a sample."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()


def run(arguments: list[str]) -> int:
    """The command."""
    options = parse(EmbedOptions, command="embed", arguments=arguments, description="Embeds every sample of a folder.")
    from unshuffle.evals.embed import embed_dataset
    from unshuffle.train.progress import Terminal

    if options.out.is_dir():
        raise ValueError(
            f"--out {options.out} is a folder; give the table's file, for example {options.out}/a.parquet."
        )
    reading = options.reading
    encoder = reading.encoder(options.run)
    dataset = encoder.open(options.data, options.where.layout())
    terminal = Terminal()
    skipped = reading.skip_log(terminal)
    with terminal.stage("embedding", len(dataset)) as progress:
        features = embed_dataset(
            {"features": encoder.embed}, dataset, batch_size=reading.batch_size, workers=reading.workers,
            skipped=skipped, progress=progress,
        )  # fmt: skip
    names = [dataset.names[i] for i in features.index]
    labels = None if features.labels is None else _told(features.labels, dataset.classes)
    _write(options.out, features.vectors["features"], names, labels)
    size = features.vectors["features"].shape[1]
    print(f"{len(names)} {dataset.source.noun}s x {size} features in {options.out}. {skipped.summary()}")
    return 0


def _told(labels: np.ndarray, classes: Sequence[str]) -> list[Any]:
    """Labels as one reads them: a class by its name, a number as it is, of several classes the names of those there."""
    if labels.ndim == 2:
        return [[name for name, there in zip(classes, row) if there == 1] for row in labels]
    return [classes[i] for i in labels] if classes else labels.tolist()


def _write(path: Path, vectors: np.ndarray, names: list[str], labels: list[Any] | None) -> None:
    """A Parquet table with columns name, label (where known) and features, a list of float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
    columns = {"name": pa.array(names)} | ({} if labels is None else {"label": pa.array(labels)})
    columns["features"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: pq.write_table(pa.table(columns), file))
