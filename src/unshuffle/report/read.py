"""A run's folder, read into plain values.

Runs are interrupted, copied and edited by hand: what cannot be read is skipped and becomes a note that the page shows,
never a crash. Only a folder that is no run at all is an error. Nothing read here can run code.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unshuffle.types import Figure, Result

_FILES = ("recipe.json", "results.jsonl", "metrics.csv")
_NUMBERS = {"value": float, "n": int, "seed": int}
_NO_CURVES = {"step", "epoch", "split", None}


class Metrics(NamedTuple):
    """One ``metrics.csv``: ``series[column, split]`` is a pair of equally long arrays, steps and values.

    Empty cells are left out. ``name`` is that of the sub-folder, empty for the run's own file.
    """

    name: str
    series: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


class RunFolder(NamedTuple):
    """Everything a run's folder says about itself; ``notes`` name what could not be read."""

    path: Path
    recipe: dict[str, Any]
    results: list[Result]
    figures: list[Figure]
    metrics: list[Metrics]
    notes: list[str]

    @property
    def title(self) -> str:
        """The recipe's ``title`` where it has one, else the folder's name."""
        title = self.recipe.get("title")
        return title if isinstance(title, str) and title.strip() else Path(os.path.abspath(self.path)).name

    @property
    def summary(self) -> str:
        """The recipe's ``summary`` where it has one, else nothing."""
        summary = self.recipe.get("summary")
        return summary if isinstance(summary, str) else ""


def read_run(folder: Path) -> RunFolder:
    """Reads recipe, results and metrics of one run; pictures are read later, one at a time, by :func:`read_arrays`.

    Args:
        folder: a run's folder. The ``metrics.csv`` of its direct sub-folders are read too.

    Returns:
        The folder's content, with a note for everything that was skipped.

    Raises:
        ValueError: ``folder`` holds none of recipe.json, results.jsonl and metrics.csv.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in _FILES):
        raise ValueError(
            f"read_run: `folder` must be a run's folder, with at least one of {', '.join(_FILES)}; "
            f"got {str(folder)!r}, which {'has none of them' if folder.is_dir() else 'is no folder'}. "
            "Give the folder that the run wrote to."
        )
    recipe, recipe_notes = _read_recipe(folder / "recipe.json")
    results, figures, result_notes = _read_results(folder / "results.jsonl")
    metrics, metrics_notes = _read_all_metrics(folder)
    return RunFolder(folder, recipe, results, figures, metrics, recipe_notes + result_notes + metrics_notes)


def read_arrays(folder: Path, figure: Figure) -> dict[str, np.ndarray]:
    """Reads the arrays behind a picture, without unpickling anything and from below ``figures/`` only.

    Args:
        folder: the run's folder.
        figure: its ``file`` is relative to ``figures/``; a leading ``figures/`` is allowed.

    Returns:
        The arrays by name.

    Raises:
        ValueError: the file lies elsewhere, is missing, or is no .npz of plain arrays.
    """
    root = (Path(folder) / "figures").resolve()
    path = (root / figure.file.removeprefix("figures/")).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"its file {figure.file!r} lies outside the run's figures/.")
    if not path.is_file():
        raise ValueError(f"its file {figure.file!r} is missing from the run's figures/.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, AttributeError) as error:
        # numpy's own advice here is to load the file unsafely; a bare array is no context manager.
        raise ValueError(
            f"its file {figure.file!r} must be an .npz of named arrays; it holds something else, or pickled objects, "
            "which are never loaded."
        ) from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _read_recipe(path: Path) -> tuple[dict[str, Any], list[str]]:
    if not path.is_file():
        return {}, []
    try:
        recipe = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        return {}, [f"recipe.json could not be read ({error})."]
    return (recipe, []) if isinstance(recipe, dict) else ({}, ["recipe.json holds no JSON object and was left out."])


def _read_results(path: Path) -> tuple[list[Result], list[Figure], list[str]]:
    if not path.is_file():
        return [], [], []
    results, figures, broken, unknown = [], {}, 0, 0
    for line in filter(str.strip, _text(path).split("\n")):
        try:
            noun = _parse_line(line)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            broken += 1
            continue
        if isinstance(noun, Result):
            results.append(noun)
        elif isinstance(noun, Figure):
            # A second evaluation overwrites the arrays, so its line replaces the first.
            figures[noun.file] = noun
        else:
            unknown += 1
    notes = []
    if broken:
        notes.append(f"{_lines(broken)} of results.jsonl could not be read (an interrupted run cuts its last line).")
    if unknown:
        notes.append(f"{_lines(unknown)} of results.jsonl hold a record that is neither a result nor a figure.")
    return results, list(figures.values()), notes


def _parse_line(line: str) -> Result | Figure | None:
    record = json.loads(line)
    if not isinstance(record, dict):
        return None
    if record.get("record") == "result":
        return Result(**{name: _NUMBERS.get(name, str)(record[name]) for name in Result._fields})
    if record.get("record") == "figure":
        return Figure(**{name: str(record[name]) for name in Figure._fields})
    return None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _read_all_metrics(folder: Path) -> tuple[list[Metrics], list[str]]:
    files = [folder / "metrics.csv", *sorted(folder.glob("*/metrics.csv"))]
    metrics, notes = [], []
    for path in filter(Path.is_file, files):
        name = "" if path.parent == folder else path.parent.name
        series, problems = _read_metrics(_text(path))
        metrics.append(Metrics(name, series))
        notes += [f"{path.relative_to(folder).as_posix()}: {problem}" for problem in problems]
    return metrics, notes


def _read_metrics(text: str) -> tuple[dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], list[str]]:
    notes = []
    if text and not text.endswith("\n"):
        # Half a number is a number too, and a wrong one.
        text = text[: text.rfind("\n") + 1]
        notes.append("the last line is cut short and was skipped.")
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        return {}, [*notes, f"it could not be read ({error})."]
    if rows and "step" not in rows[0]:
        return {}, [*notes, "it has no column `step` and was left out."]
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        step = _number(row["step"])
        for column in row.keys() - _NO_CURVES:
            value = _number(row[column])
            if step is not None and value is not None:
                points.setdefault((column, row.get("split") or "train"), []).append((step, value))
    order = list(rows[0]) if rows else []
    ordered = sorted(points, key=lambda key: order.index(key[0]))
    return {key: (np.array(points[key])[:, 0], np.array(points[key])[:, 1]) for key in ordered}, notes


def _number(cell: str | None) -> float | None:
    try:
        return float(cell) if cell is not None else None
    except ValueError:
        return None
