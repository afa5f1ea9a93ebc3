"""Made-up runs, small but complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unshuffle.report import write_report
from unshuffle.types import Figure, Result

RESULT = Result(
    "probe", "accuracy", 0.5, 10, 0, "digits", "test", "raw", "shuffle", "unshuffle demo", "2 cores", "2026-05-01"
)


@pytest.fixture
def result() -> Result:
    """One result to vary with ``_replace``."""
    return RESULT


@pytest.fixture
def write_lines() -> Callable[[Path, list[Result | Figure | str]], None]:
    """Writes results.jsonl from results and figures, or from raw text where a line is to be broken."""
    return _write_lines


@pytest.fixture
def arrays() -> dict[str, dict[str, np.ndarray]]:
    """The arrays of one picture of each kind."""
    return _arrays()


@pytest.fixture
def full_run(tmp_path) -> Path:
    """A run like that of the demo: two tasks, curves of its own and of two sub-folders, and four pictures."""
    return _full_run(tmp_path / "full")


@pytest.fixture(scope="session")
def full_page(tmp_path_factory) -> Path:
    """The page of such a run; only to be read."""
    return write_report(_full_run(tmp_path_factory.mktemp("full page") / "full"))


def _write_lines(folder: Path, lines: list[Result | Figure | str]) -> None:
    text = [line if isinstance(line, str) else _record(line) for line in lines]
    (folder / "results.jsonl").write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


def _arrays() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    images = rng.random((3, 3, 8, 12))
    return {
        "puzzle": {
            "before": images[0],
            "solved": images[1],
            "truth": images[2],
            "partial_ranks": np.array([1.0, 0.5, 0.25]),
            "spectrogram": np.array(True),
        },
        "series": {
            "before": images[0, :, :2],
            "solved": images[1, :, :2],
            "truth": images[2, :, :2],
            "partial_ranks": np.array([1.0, 0.5, 0.25]),
            "slices": np.array(4),
        },
        "map": {
            "xy": rng.normal(size=(40, 2)),
            "label": rng.integers(0, 4, 40),
            "names": np.array(["a", "b", "c", "d"]),
        },
        "neighbours": {
            "queries": rng.random((2, 8, 8, 3)),
            "found": rng.random((2, 3, 8, 8, 3)),
            "similarity": np.array([[0.9, 0.8, 0.7], [0.6, 0.5, np.nan]]),
            "same": np.array([[1, 0, 1], [0, 1, 0]]),
            "names": np.array(["a.png", "b.png"]),
        },
        "heat": {
            "values": rng.normal(size=(3, 6, 6)),
            "names": np.array(["F", "f", "_g"]),
            "extents": np.array([[0.0, 1.0, 1.0, 0.0]] * 3),
        },
        "costs": {
            "costs": rng.normal(size=(2, 4, 4)),
            "tiles": rng.random((2, 4, 5, 6)),
            "names": np.array(["left to right", "top to bottom"]),
        },
        "gradients": {
            "tiles": rng.random((3, 2, 2, 5, 6, 3)),
            "gradients": rng.normal(size=(3, 2, 2, 5, 6)),
            "names": np.array(["left to right", "top to bottom"]),
        },
        "stages": {
            "stages": rng.random((4, 3, 8, 8)),
            "names": np.array(["shuffled", "start", "step 1", "truth"]),
        },
        "saliency": {"images": rng.random((2, 3, 6, 6, 3)), "heat": rng.random((2, 3, 6, 6))},
        "filters": {"filters": rng.random((10, 5, 5, 3))},
        "gallery": {
            "images": rng.random((3, 9, 8, 8, 3)),
            "there": np.arange(9) < np.array([[9], [4], [1]]),
            "label": rng.integers(-1, 3, (3, 9)),
            "titles": np.array(["0: 12, 0.20 nats, 90% cat", "5: 4", "7: 1, cosine 0.80"]),
            "names": np.array(["cat", "dog", "_owl"]),
        },
        "labellings": {
            "step": np.array([0, 10, 40]),
            "consecutive": np.array([np.nan, 0.3, 0.7]),
            "classes": np.array([0.1, 0.2, 0.4]),
            "entropies": np.sort(rng.random((3, 5))),
        },
        "sets": {
            "images": rng.random((2, 5, 6, 6)),
            "scores": rng.normal(size=(2, 5)),
            "truth": rng.integers(0, 10, (2, 5)),
        },
    }


def _full_run(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    recipe = {"recipe": {"type": "Shuffle"}, "seed": 7, "versions": {"torch": "2.9"}, "revision": "abc123"}
    (folder / "recipe.json").write_text(json.dumps({**recipe, "title": "Put in order", "summary": "All of it."}))
    lines: list[Result | Figure | str] = [
        RESULT._replace(task=task, n=n, layer=layer, seed=seed, value=0.1 * seed + 0.01 * n)
        for task in ("probe", "neighbours")
        for layer in ("raw", "pretrained")
        for n in (10, 1)
        for seed in range(3)
    ]
    for kind in ("puzzle", "series", "map", "sets"):
        content = _arrays()[kind]
        np.savez(folder / "figures" / f"{kind}.npz", **content)
        lines.append(Figure(kind, f"{kind}.npz", f"The {kind}", f"What the {kind} shows."))
    _write_lines(folder, lines)
    for place in (folder, folder / "digits", folder / "notes"):
        place.mkdir(exist_ok=True)
        (place / "metrics.csv").write_text(
            "step,epoch,split,loss,partial_ranks,seconds\n1,0,train,2.5,,0.1\n2,0,train,2.0,,0.2\n2,0,holdout,2.2,0.4,\n"
        )
    return folder


def _record(noun: Result | Figure) -> str:
    return json.dumps({"record": type(noun).__name__.lower(), **noun._asdict()})
