"""``unshuffle labels RUN --out labels.parquet``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from unshuffle._files import make_room, write_atomically
from unshuffle._names import escape_name
from unshuffle.cli.outputs import check_file
from unshuffle.cli.parsing import parse
from unshuffle.cli.runs import stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from unshuffle.train.folder import Stored


SUFFIXES = (".parquet", ".csv")
_NONE = "{} found no labels: train sela, kmeans, or another self-labelling recipe."


@dataclass(frozen=True)
class LabelsOptions:
    """Options of ``unshuffle labels``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of a self-labelling recipe, finished or not."""
    out: Path = Path("labels.parquet")
    """Table to write, .parquet or .csv: file, head, label and confidence, one row a sample and head."""
    data: Path | None = None
    """Where the samples lie, if they were moved since."""


def run(arguments: list[str]) -> int:
    """The command."""
    options = parse(
        LabelsOptions, command="labels", arguments=arguments, description="Writes down the labels that a run found."
    )
    from unshuffle.recipes import SelfLabelRecipe
    from unshuffle.train import checkpoints, folder

    check_file(options.out, SUFFIXES)
    trained, path = stored(options.run), folder.checkpoint(options.run)
    if not path.is_file():
        if not isinstance(trained.recipe, (str, SelfLabelRecipe)):  # waiting for it would be in vain
            raise ValueError(_NONE.format(options.run))
        if (options.run / "encoder.json").is_file():  # training writes it at its end
            raise FileNotFoundError(f"no checkpoint {str(path)!r}: it was removed, and held the labels; train again.")
        raise FileNotFoundError(f"no checkpoint {str(path)!r}: the run has saved nothing yet; let it train on.")
    state = checkpoints.load(path)["method"]
    if "labels" not in state or "confidences" not in state:
        raise ValueError(_NONE.format(options.run))
    names = _names(options.run, trained, options.data, state["labels"].shape[1])
    columns = table(names, state["labels"], state["confidences"])
    make_room(options.out)
    _write(options.out, columns)
    heads, labelled = len(state["labels"]), int((state["labels"][0] >= 0).sum())
    print(f"Labels of {labelled} of {len(names)} samples, {heads} a sample, in {options.out}.")
    print(f"Next: unshuffle train supervised --data {options.data or trained.data or 'FOLDER'} --labels {options.out}")
    return 0


def table(names: Sequence[str], labels: Tensor, confidences: Tensor) -> dict[str, Any]:
    """Columns of a row a sample and head: all heads of the first sample, then of the second; none without a label.

    Args:
        names: of the samples.
        labels: (heads, N), -1 for none.
        confidences: (heads, N), the probabilities of these labels.
    """
    import numpy as np

    samples, heads = (labels.T >= 0).nonzero().unbind(1)
    return {
        "file": np.array([escape_name(name) for name in names], dtype=object)[samples.numpy()],
        "head": heads.int().numpy(),
        "label": labels.T[samples, heads].int().numpy(),
        "confidence": confidences.T[samples, heads].float().numpy(),
    }


def _names(run: Path, trained: Stored, moved: Path | None, count: int) -> Sequence[str]:
    """The samples' names, as the run's list has them; how the data differ from it by now is said.

    Raises:
        ValueError: the list is of another number of samples, or --data holds none of them.
    """
    from unshuffle.train import manifest, resuming

    listed = manifest.read(run)
    if listed is None or listed.names is None:
        return _names_by_number(run, trained, moved, count)
    if listed.samples != count:
        raise ValueError(f"{run / manifest.FILE} lists {listed.samples} samples, and the run labelled {count}.")
    try:
        dataset = _opened(trained, moved)
    except OSError as error:
        if moved is not None:
            raise
        print(f"The data cannot be opened ({error}); files have the names that the run began with.", file=sys.stderr)
        return listed.names
    change = None if dataset is None else resuming.changed(run, dataset)
    if change:
        if not (change.rows >= 0).any():
            raise ValueError(f"{moved or trained.data} holds none of the samples that {run} labelled: {change}.")
        print(
            f"The data have changed since the run began: {change}. Labels go by name: files that are missing keep "
            "their rows, new ones have none.", file=sys.stderr,
        )  # fmt: skip
    return listed.names


def _opened(trained: Stored, moved: Path | None) -> Any:
    """The data set that was labelled, as it is now; None of a run that was started from Python."""
    from unshuffle.data import SELF_CONTAINED

    place = trained.data if moved is None else str(moved)
    if isinstance(trained.recipe, str) or (place is None and not isinstance(trained.recipe.source, SELF_CONTAINED)):
        return None
    source = trained.recipe.source
    return source.open() if isinstance(source, SELF_CONTAINED) else source.open(place)


def _names_by_number(run: Path, trained: Stored, moved: Path | None, count: int) -> Sequence[str]:
    """The names of the data as they are now, of a run without a list of names; their numbers where they have none."""
    dataset = _opened(trained, moved)
    numbers = [str(number) for number in range(count)]
    if dataset is None:
        return numbers
    if len(dataset) != count:
        where = moved or trained.data
        raise ValueError(f"{where} has {len(dataset)} samples, and the run labelled {count}: give the same --data.")
    if not hasattr(dataset, "names"):
        return numbers
    print(
        f"{run} keeps no list of its samples: labels are matched with files by number. They are right only if no file "
        "was added, removed or renamed since.", file=sys.stderr,
    )  # fmt: skip
    return dataset.names


def _write(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    made = pa.table({name: pa.array(values) for name, values in columns.items()})
    written = pyarrow.csv.write_csv if path.suffix.lower() == ".csv" else pq.write_table
    write_atomically(path, lambda file: written(made, file))
