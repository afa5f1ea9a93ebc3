"""The demo: two acts on real data that come with the installation.

Act one reads digits from orderings alone: sets of five, of which only the order is told. Act two is Shuffle to Learn on
instrument notes: frequency bands, shuffled by permutations drawn from all 10!. Either way the encoder is then frozen,
and a probe on held-out samples compares it with the raw input and with the same network untrained. All choices were
made on training data; the test parts are read here only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unshuffle.data.samples import Bundle, digits, notes
from unshuffle.evals import Stamp, Task, compare, linear_probe, nearest_probe, stamp
from unshuffle.evals.encoder import Encoder, load
from unshuffle.evals.judge import Representations, representations
from unshuffle.evals.maps import map_figure
from unshuffle.evals.puzzles import pretext_results, puzzle_figure, solve
from unshuffle.evals.results import append
from unshuffle.evals.sets import item_scores, sets_figure
from unshuffle.losses import FixedPermutations
from unshuffle.recipes.order import order_digits
from unshuffle.recipes.shuffle import (
    ShuffleRecipe,
    shuffle_notes_fixed,
    shuffle_notes_mse,
    shuffle_notes_perturbed,
    shuffle_notes_sampled,
    shuffle_notes_soft,
)
from unshuffle.train import folder
from unshuffle.train.engine import train
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Reporter
from unshuffle.types import Figure, Result

DIGIT_LABELS = (10, 50, 1437)
NOTE_LABELS = (200, 500, 1640)
PRETRAINED = "perturbed ranks, exact"
LOSSES: dict[str, Callable[[], ShuffleRecipe]] = {
    "100 fixed permutations": shuffle_notes_fixed,
    "rank MSE": shuffle_notes_mse,
    "fast soft ranking": shuffle_notes_soft,
    "perturbed ranks, 10 samples": shuffle_notes_sampled,
    PRETRAINED: shuffle_notes_perturbed,
}


def run_demo(place: Path, *, full: bool, effort: float, seeds: int, reporter: Reporter) -> list[Result]:
    """Runs both acts into ``place`` and writes their results and figures there.

    A stopped demo goes on where it was: finished trainings are kept, unfinished ones resumed.

    Args:
        place: the demo's folder, one sub-folder a training.
        full: all five losses and several seeds, or the default loss once.
        effort: share of the usual epochs; 1 is the demo, less is a rehearsal.
        seeds: trainings of each loss, where ``full``.
        reporter: is told how it goes.

    Returns:
        All results, which are also in ``results.jsonl``.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / "results.jsonl").unlink(missing_ok=True)
    records: list[Result | Figure] = []
    for act in (_digits_act, _notes_act):
        records += act(place, full, effort, seeds if full else 1, reporter)
    append(place, records)
    return [r for r in records if isinstance(r, Result)]


def _digits_act(place: Path, full: bool, effort: float, seeds: int, reporter: Reporter) -> list[Result | Figure]:
    reporter.say("Act 1: handwritten digits, learnt from the order of sets of five; no digit is named.")
    bundle = digits()
    mark = stamp(bundle.name, "test", "order_digits")
    records: list[Result | Figure] = []
    for seed in range(seeds):
        recipe = replace(order_digits(), seed=seed)
        encoder = _trained(place / f"digits-{seed}", recipe, bundle, effort, reporter)
        both = representations(encoder, bundle.train, bundle.test, seed=seed)
        names = {"raw": "raw pixels", "random": "random embedding", "pretrained": "embedding learnt from order"}
        rows = _named(both, names, keep_raw=seed == 0)
        scores = [item_scores(encoder, part.items)[:, None] for part in (bundle.train, bundle.test)]
        rows["its single score"] = (scores[0], scores[1])
        task = Task("digit, nearest neighbour", "classification", *bundle.targets["digit"])
        records += compare(rows, [task], DIGIT_LABELS, draws=5, seed=0, probe=nearest_probe, balanced=True, stamp=mark)
        if seed == 0:
            records += _digit_figures(place, bundle, both, scores[1][:, 0])
    return records


def _digit_figures(place: Path, bundle: Bundle, both: Representations, scores: np.ndarray) -> list[Figure]:
    labels = bundle.targets["digit"][1]
    return [
        sets_figure(place, bundle.test.items, scores, labels, size=5, count=6),
        map_figure(
            place, both.test.vectors["pretrained"], labels, name="map-digits", names=bundle.classes["digit"],
            title="Digits, as learnt from order",
        ),
    ]  # fmt: skip


def _notes_act(place: Path, full: bool, effort: float, seeds: int, reporter: Reporter) -> list[Result | Figure]:
    reporter.say("Act 2: instrument notes, cut into ten frequency bands and shuffled; no label is used.")
    bundle = notes()
    mark = stamp(bundle.name, "test", "shuffle_notes")
    losses = LOSSES if full else {PRETRAINED: LOSSES[PRETRAINED]}
    tasks = [
        Task("pitch, linear probe", "regression", *bundle.targets["pitch"]),
        Task("instrument family, linear probe", "classification", *bundle.targets["family"]),
    ]
    records: list[Result | Figure] = []
    for seed in range(seeds):
        for name, recipe in losses.items():
            where = place / f"notes-{recipe.__name__.removeprefix('shuffle_notes_')}-{seed}"
            encoder = _trained(where, replace(recipe(), seed=seed), bundle, effort, reporter)
            both = representations(encoder, bundle.train, bundle.test, seed=seed)
            first = name == next(iter(losses))
            rows = _named(both, {"raw": "raw spectrogram", "random": "random embedding", "pretrained": name})
            rows = rows if first else {name: rows[name]}
            if seed > 0:
                rows.pop("raw spectrogram", None)
            reporter.say(f"probing {', '.join(rows)}")
            records += compare(rows, tasks, NOTE_LABELS, draws=5, seed=0, probe=linear_probe, stamp=mark)
            if not isinstance(encoder.objective, FixedPermutations):  # its puzzles are of another kind: 100, not 10!
                records += _pretext(place, encoder, bundle, mark, name, seed)
            if seed == 0 and name == PRETRAINED:
                records += _note_figures(place, encoder, bundle, both)
    return records


def _named(both: Representations, names: dict[str, str], *, keep_raw: bool = True) -> dict[str, Any]:
    """The representations under the names of the table."""
    return {names[k]: v for k, v in both.pairs().items() if keep_raw or k != "raw"}


def _pretext(place: Path, encoder: Encoder, bundle: Bundle, mark: Stamp, name: str, seed: int) -> list[Result]:
    solved = solve(encoder, bundle.test.items, seed=seed)
    lines = pretext_results(solved, mark, layer=name, seed=seed)
    return lines if seed == 0 and name in (PRETRAINED,) else [r for r in lines if r.layer != "chance"]


def _note_figures(place: Path, encoder: Encoder, bundle: Bundle, both: Representations) -> list[Figure]:
    solved = solve(encoder, bundle.test.items, seed=0)
    vectors, title = both.test.vectors["pretrained"], "Notes, as learnt from shuffled bands"
    return [
        puzzle_figure(place, encoder, bundle.test.items, solved),
        map_figure(
            place, vectors, bundle.targets["pitch"][1], name="map-pitch", title=f"{title}: pitch", continuous=True
        ),
        map_figure(
            place, vectors, bundle.targets["family"][1], name="map-family", title=f"{title}: family",
            names=bundle.classes["family"],
        ),
    ]  # fmt: skip


def _trained(place: Path, recipe: Any, bundle: Bundle, effort: float, reporter: Reporter) -> Encoder:
    """The encoder of one training: loaded if it is finished, else trained or resumed."""
    if (place / "encoder.json").exists():
        reporter.say(f"{place.name}: finished before")
        return load(place)
    recipe = replace(recipe, epochs=max(1, round(recipe.epochs * effort)))
    began = time.monotonic()
    done = train(
        recipe, bundle.train, out=place, machine=Machine(device="cpu", save_every=20.0),
        resume=(place / folder.RECIPE).exists(), title=place.name, progress=reporter,
    )  # fmt: skip
    reporter.say(f"{place.name}: trained in {time.monotonic() - began:.0f} s")
    return done.encoder
