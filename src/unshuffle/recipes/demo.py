"""The demo: two acts on real data that come with the installation.

Act one reads digits from orderings alone: sets of five, of which only the order is told. Act two is Shuffle to Learn on
instrument notes: frequency bands, shuffled by permutations drawn from all 10!. Either way the encoder is then frozen,
and a probe on held-out samples compares it with the raw input and with the same network untrained. All choices were
made on training data; the test parts are read here only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np

from unshuffle._files import check_folder, write_atomically
from unshuffle._ranges import Few, Range
from unshuffle.data.samples import Bundle, digits, notes
from unshuffle.evals import Stamp, Task, compare, linear_probe, nearest_probe, stamp, supersede
from unshuffle.evals.encoder import Encoder, load
from unshuffle.evals.judge import Representations, representations
from unshuffle.evals.maps import map_figure
from unshuffle.evals.puzzles import Solved, pretext_results, puzzle_figure, solve
from unshuffle.evals.sets import item_scores, sets_figure
from unshuffle.losses import FixedPermutations
from unshuffle.recipes.order import OrderRecipe, order_digits
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
from unshuffle.values import register

SUMMARY = (
    "Act 1 learns to read digits from the order of sets of five, without a single label. Act 2 cuts the spectrograms "
    "of instrument notes into ten frequency bands, shuffles them by permutations drawn from all 10!, and learns to put "
    "them back in order. The encoders are then frozen and compared, on held-out samples, with the raw input and with "
    "the same network untrained (its batch-norm statistics set on the unlabelled data)."
)
MACHINE = Machine(device="cpu", save_every=20.0)
DIGIT_LABELS = (10, 50, 1437)
NOTE_LABELS = (200, 500, 1640)
DIGIT_ROWS = {"raw": "raw pixels", "random": "random embedding", "pretrained": "embedding learnt from order"}
NOTE_ROWS = {"raw": "raw spectrogram", "random": "random embedding"}
PRETRAINED = "perturbed ranks, exact"
LOSSES: dict[str, Callable[[], ShuffleRecipe]] = {
    "100 fixed permutations": shuffle_notes_fixed,
    "rank MSE": shuffle_notes_mse,
    "fast soft ranking": shuffle_notes_soft,
    "perturbed ranks, 10 samples": shuffle_notes_sampled,
    PRETRAINED: shuffle_notes_perturbed,
}
Rows = dict[str, tuple[np.ndarray, np.ndarray]]
Records = list[Result | Figure]


@register
@dataclass(frozen=True)
class Demo:
    """Everything that decides the demo's numbers."""

    full: bool
    """All five losses and several seeds, or the default loss once."""
    effort: Annotated[float, Range(0, 1000, open_low=True)]
    """Share of the usual epochs; 1 is the demo, less is a rehearsal."""
    seeds: Few
    """Trainings of each loss, where ``full``."""

    @property
    def losses(self) -> dict[str, Callable[[], ShuffleRecipe]]:
        """The losses of the second act, by their names in the tables."""
        return LOSSES if self.full else {PRETRAINED: LOSSES[PRETRAINED]}

    @property
    def trainings(self) -> range:
        """The seeds."""
        return range(self.seeds if self.full else 1)


def run_demo(place: Path, demo: Demo, *, reporter: Reporter) -> list[Result]:
    """Runs both acts into ``place`` and writes their results and figures there.

    A stopped demo goes on where it was: finished trainings are kept, unfinished ones resumed.

    Args:
        place: the demo's folder, one sub-folder a training; new, empty, or that of the same demo.
        demo: what to run.
        reporter: is told how it goes.

    Returns:
        All results, which are also in ``results.jsonl``.

    Raises:
        RunError: ``place`` holds something else, or was made by another version of a recipe.
    """
    _open(place, demo)
    records = [*_digits_act(place, demo, reporter), *_notes_act(place, demo, reporter)]
    supersede(place, records)
    return [r for r in records if isinstance(r, Result)]


def _open(place: Path, demo: Demo) -> None:
    """Makes the demo's folder, or finds it made."""
    if place.is_dir() and any(place.iterdir()):
        stored = folder.read(place, kind=object).recipe if (place / folder.RECIPE).exists() else None
        if not isinstance(stored, Demo):
            raise folder.RunError(f"{place} holds something else than a demo; give another --out.")
        if stored != demo:
            raise folder.RunError(f"{place} holds another demo, {stored}; give its options, or another --out.")
        return
    folder.create(place, demo, MACHINE, data=None, title="unshuffle demo")
    described = json.loads((place / folder.RECIPE).read_text()) | {"summary": SUMMARY}
    write_atomically(place / folder.RECIPE, lambda file: file.write(json.dumps(described, indent=2).encode()))


def _digits_act(place: Path, demo: Demo, reporter: Reporter) -> Records:
    reporter.say("Act 1: handwritten digits, learnt from the order of sets of five; no digit is named.")
    bundle = digits()
    mark = stamp(bundle.name, "test", "order_digits")
    task = Task("digit, nearest neighbour", "classification", *bundle.targets["digit"])
    records: Records = []
    for seed in demo.trainings:
        encoder = _trained(place / f"digits-{seed}", replace(order_digits(), seed=seed), bundle, demo, reporter)
        both = representations(encoder, bundle.train, bundle.test, seed=seed)
        known, scores = (item_scores(encoder, part.items)[:, None] for part in (bundle.train, bundle.test))
        rows = _rows(both, DIGIT_ROWS, seed=seed) | {"its single score": (known, scores)}
        records += compare(rows, [task], DIGIT_LABELS, draws=5, seed=0, probe=nearest_probe, balanced=True, stamp=mark)
        if seed == 0:
            records += _digit_figures(place, bundle, both, scores[:, 0])
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


def _notes_act(place: Path, demo: Demo, reporter: Reporter) -> Records:
    reporter.say("Act 2: instrument notes, cut into ten frequency bands and shuffled; no label is used.")
    bundle = notes()
    mark = stamp(bundle.name, "test", "shuffle_notes")
    tasks = [
        Task("pitch, linear probe", "regression", *bundle.targets["pitch"]),
        Task("instrument family, linear probe", "classification", *bundle.targets["family"]),
    ]
    records: Records = []
    for seed, (name, recipe) in product(demo.trainings, demo.losses.items()):
        where = place / f"notes-{recipe.__name__.removeprefix('shuffle_notes_')}-{seed}"
        encoder = _trained(where, replace(recipe(), seed=seed), bundle, demo, reporter)
        both = representations(encoder, bundle.train, bundle.test, seed=seed)
        first = name == next(iter(demo.losses))
        rows = _rows(both, {**NOTE_ROWS, "pretrained": name} if first else {"pretrained": name}, seed=seed)
        reporter.say(f"probing {', '.join(rows)}")
        records += compare(rows, tasks, NOTE_LABELS, draws=5, seed=0, probe=linear_probe, stamp=mark)
        if isinstance(encoder.objective, FixedPermutations):
            continue  # its puzzles are of another kind: 100, not 10!
        solved = solve(encoder, bundle.test.items, seed=seed)
        shown = seed == 0 and name == PRETRAINED
        records += _pretext(solved, mark, name, seed, chance=shown)
        records += _note_figures(place, encoder, bundle, both, solved) if shown else []
    return records


def _rows(both: Representations, names: dict[str, str], *, seed: int) -> Rows:
    """The named representations under their names in the table; the raw input, the same for every seed, only once."""
    return {names[k]: pair for k, pair in both.pairs().items() if k in names and (k != "raw" or seed == 0)}


def _pretext(solved: Solved, mark: Stamp, name: str, seed: int, *, chance: bool) -> list[Result]:
    lines = pretext_results(solved, mark, layer=name, seed=seed)
    return [line for line in lines if chance or line.layer != "chance"]


def _note_figures(place: Path, encoder: Encoder, bundle: Bundle, both: Representations, solved: Solved) -> list[Figure]:
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


def _trained(
    place: Path, recipe: ShuffleRecipe | OrderRecipe, bundle: Bundle, demo: Demo, reporter: Reporter
) -> Encoder:
    """The encoder of one training: loaded if it is finished, else trained or resumed."""
    recipe = replace(recipe, epochs=max(1, round(recipe.epochs * demo.effort)))
    check_folder(place)  # the demo's folder may be a stranger's, and this one in it a link
    begun = (place / folder.RECIPE).exists()
    if begun and folder.read(place).recipe != recipe:
        raise folder.RunError(f"{place} was made by another version of its recipe; give another --out.")
    if begun and (place / "encoder.json").exists():
        reporter.say(f"{place.name}: finished before")
        return load(place)
    began = time.monotonic()
    done = train(recipe, bundle.train, out=place, machine=MACHINE, resume=begun, title=place.name, progress=reporter)
    reporter.say(f"{place.name}: trained in {time.monotonic() - began:.0f} s")
    return done.encoder
