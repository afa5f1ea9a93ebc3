"""Three networks that answer questions about drawn objects: attention alone, with an LSTM, with a learnt order.

Run: python benchmarks/visual_questions.py                    (trains what is not in the results yet; can be stopped)
     python benchmarks/visual_questions.py --rows clevr_ban --seeds 0 1
     python benchmarks/visual_questions.py --only cost        (measures the times again, keeps the other lines)
     python benchmarks/visual_questions.py --markdown docs/guides/questions.md   (fills that page's tables)
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

import torch

import unshuffle
from timing import interleaved, quartiles
from unshuffle import recipes
from unshuffle.data.sort_of_clevr import QUESTIONS, RELATIONAL, write
from unshuffle.evals.answers import TASK, answer, answer_results
from unshuffle.evals.results import Stamp, stamp
from unshuffle.recipes import AnswerRecipe
from unshuffle.train.machine import Machine
from unshuffle.train.progress import Silent
from unshuffle.types import Asked, Questions, Result

RESULTS = Path(__file__).parent / "results" / "visual_questions.jsonl"
MARK = re.compile(r"(<!-- questions: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

ROWS = {
    "clevr_ban": "attention alone",
    "clevr_ban_lstm": "with an LSTM",
    "clevr_ban_po_u": "with a learnt order (PO-U)",
}
UNCOUNTED = {f"{row} --counted 0": f"{name}, no counting" for row, name in ROWS.items()}
"""The same networks without the counting module, which answers all that is asked of counts by itself."""
FULL_SIZE = {"clevr_ban": "vqa2_ban", "clevr_ban_lstm": "vqa2_ban_lstm", "clevr_ban_po_u": "vqa2_ban_po_u"}
PAPER = {
    "clevr_ban": ("BAN", "65.96 ± 0.16", "83.34 ± 0.09", "49.24 ± 0.56", "57.17 ± 0.14"),
    "clevr_ban_lstm": ("BAN + LSTM", "66.06 ± 0.13", "83.29 ± 0.13", "49.64 ± 0.37", "57.30 ± 0.13"),
    "clevr_ban_po_u": ("BAN + PO-U", "66.33 ± 0.09", "83.50 ± 0.10", "50.42 ± 0.46", "57.48 ± 0.10"),
}
"""Zhang et al. 2019, Table 3: accuracy on VQA v2's validation set, mean of 10 runs."""
GROUPS = {
    "all": QUESTIONS,
    "about one object": tuple(kind for kind in QUESTIONS if kind not in RELATIONAL),
    "about several": RELATIONAL,
}
IMAGES, SCENES_SEED, SEEDS = 4000, 0, (0, 1, 2, 3, 4)
FULL_BATCH, FULL_OBJECTS = 8, 36
COST, RATIO = "milliseconds of loss and gradient", "time, as a multiple"


# ----------------------------------------------------------------------------------------------------------- accuracy


def cell(row: str, seed: int, scenes: Path, epochs: int | None) -> list[Result]:
    """One training, and its accuracy by kind of question on the scenes kept for testing."""
    recipe, _ = recipes.ALL[row.split()[0]]().settle(scenes)  # type: ignore[union-attr]
    assert isinstance(recipe, AnswerRecipe)
    counted = 0 if row in UNCOUNTED else recipe.counted
    recipe = replace(recipe, seed=seed, epochs=epochs or recipe.epochs, counted=counted)
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        machine = Machine(device="cpu", save_every=1e9)
        encoder = unshuffle.fit(
            recipe, recipe.source.open(scenes), out=Path(folder) / "run", machine=machine, progress=Silent()
        )
        seconds = perf_counter() - began
    tested = replace(recipe.source, split="test").open(scenes)
    lines = answer_results(answer(encoder, tested), tested.asking.kind_names, _stamp("test"), layer=row, seed=seed)
    trained = Result("training", "seconds", seconds, len(recipe.source.open(scenes)), seed, layer=row,
                     **_stamp("train")._asdict())  # fmt: skip
    return [*lines, trained]


def done(results: Iterable[Result]) -> set[tuple[str, int]]:
    """The cells that are in the results."""
    return {(r.layer, r.seed) for r in results if r.task == "training"}


# --------------------------------------------------------------------------------------------------------------- cost


def costs(scenes: Path) -> list[Result]:
    """Loss and gradient of every row, interleaved: of the small networks, and of the full ones on random numbers."""
    small, full = {}, {}
    for row, large in FULL_SIZE.items():
        recipe, _ = recipes.ALL[row]().settle(scenes)  # type: ignore[union-attr]
        data = recipe.source.open(scenes)  # type: ignore[union-attr, arg-type]
        rows = torch.stack([data[k][0] for k in range(recipe.batch_size)])
        small[row] = stepping(recipe, Asked(data.ask.prepare(rows), torch.eye(10)[torch.arange(len(rows)) % 10], rows))
        full[row] = stepping(*_full(recipes.ALL[large]()))
    sizes = {
        f"{recipe.batch_size} questions, six objects": small,
        f"{FULL_BATCH} questions at VQA's sizes, {FULL_OBJECTS} objects": full,
    }
    return [line for task, calls in sizes.items() for line in _timed(task, calls)]


def _full(recipe: object) -> tuple[AnswerRecipe, Asked]:
    """The recipe for VQA v2, and a batch of its sizes."""
    assert isinstance(recipe, AnswerRecipe)
    words, answers = (tuple(map(str, range(size))) for size in (19_901, 3129))
    sized = replace(recipe.source, objects=FULL_OBJECTS, features=2048, vocabulary=words, answers=answers)
    draws = torch.Generator().manual_seed(0)
    corner = torch.rand(FULL_BATCH, FULL_OBJECTS, 2, generator=draws) / 2
    questions = Questions(
        torch.randint(1, 19_901, (FULL_BATCH, 14), generator=draws),
        torch.rand(FULL_BATCH, FULL_OBJECTS, 2048, generator=draws), torch.cat([corner, corner + 0.3], -1),
        torch.ones(FULL_BATCH, FULL_OBJECTS, dtype=torch.bool),
    )  # fmt: skip
    return replace(recipe, source=sized), Asked(questions, torch.zeros(FULL_BATCH, 3129), torch.arange(FULL_BATCH))


def stepping(recipe: AnswerRecipe, batch: Asked) -> Callable[[], None]:
    """A call that computes a loss and its gradient."""
    torch.manual_seed(0)
    method = recipe.build(recipe.source.item_shape).method

    def step() -> None:
        method.zero_grad(set_to_none=True)
        method.step(batch).loss.backward()  # type: ignore[operator]

    return step


def _timed(task: str, calls: dict[str, Callable[[], None]]) -> list[Result]:
    """Median times, and medians of the ratio to the first row in the same round."""
    times = interleaved(calls, seconds=60.0, repeats=40)
    first = times[next(iter(calls))]
    line = partial(Result, task, n=len(first), seed=0, **_stamp("timing")._asdict())
    return [
        line(metric=metric, value=value, layer=row)
        for row, samples in times.items()
        for metric, value in (
            (COST, 1e3 * quartiles(samples)[1]),
            (RATIO, quartiles([mine / plain for mine, plain in zip(samples, first)])[1]),
        )
    ]


@lru_cache
def _stamp(split: str) -> Stamp:
    here = stamp("sort-of-CLEVR", split, "visual_questions")
    return here._replace(command=f"python benchmarks/{here.command}")


# ------------------------------------------------------------------------------------------------------------- tables


def read(path: Path) -> list[Result]:
    """The lines of a results file, none if it is not there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Result(**{k: v for k, v in json.loads(line).items() if k != "record"}) for line in lines]


def section(results: list[Result], name: str) -> str:
    """One table of the page: ``accuracy``, ``kinds``, ``differences``, the same ``uncounted``, ``cost``, ``paper``."""
    if name == "paper":
        head = ["VQA v2, validation (paper)", "overall", "yes/no", "number", "other"]
        return _table(head, [list(PAPER[row]) for row in ROWS])
    if name == "cost":
        return _cost(results)
    what, _, without = name.partition("_")
    rows = UNCOUNTED if without else ROWS
    if not any(r.layer in rows for r in results):
        return "Not run yet: `python benchmarks/visual_questions.py`.\n"
    return {"accuracy": _groups, "kinds": _kinds, "differences": _differences}[what](results, rows)


def accuracies(results: list[Result], layer: str, kinds: Iterable[str]) -> dict[int, float]:
    """Seed to the share of the right answers over all questions of some kinds."""
    mine = [r for r in results if r.layer == layer and r.task in {f"{TASK}: {kind}" for kind in kinds}]
    seeds = sorted({r.seed for r in mine})
    parts = {seed: [r for r in mine if r.seed == seed] for seed in seeds}
    return {seed: sum(r.value * r.n for r in part) / sum(r.n for r in part) for seed, part in parts.items()}


def _accuracy(results: list[Result], rows: dict[str, str], columns: dict[str, tuple[str, ...]]) -> list[list[str]]:
    names = {**rows, "best constant": "best constant answer of each kind"}
    return [
        [name, *(_spread(list(accuracies(results, row, kinds).values())) for kinds in columns.values())]
        for row, name in names.items()
    ]


def _groups(results: list[Result], rows: dict[str, str]) -> str:
    seeds = ", ".join(str(len(accuracies(results, row, QUESTIONS))) for row in rows)
    tested = next(r.n for r in results if r.task == f"{TASK}: all")
    made = sorted({(r.command, r.machine, r.date) for r in results if r.task == "training"})
    how = "; ".join(f"`{command}` on {machine}, {date}" for command, machine, date in made)
    told = (
        f"Accuracy in % on {tested:,} questions about scenes not trained on, mean ± sd over seeds ({seeds}). By {how}."
    )
    return _table(["questions", *GROUPS], _accuracy(results, rows, GROUPS)) + f"\n{told}\n"


def _kinds(results: list[Result], rows: dict[str, str]) -> str:
    return _table(["questions", *QUESTIONS], _accuracy(results, rows, {kind: (kind,) for kind in QUESTIONS}))


def _differences(results: list[Result], rows: dict[str, str]) -> str:
    """What each step of the construction adds, seed by seed."""
    first, second, third = rows
    columns = {**GROUPS, QUESTIONS[-1]: QUESTIONS[-1:]}
    body = []
    for before, after in ((first, second), (second, third), (first, third)):
        cells = []
        for kinds in columns.values():
            old, new = (accuracies(results, row, kinds) for row in (before, after))
            cells.append(_spread([new[seed] - old[seed] for seed in old if seed in new], sign="+"))
        body.append([f"{rows[after]}, beside {rows[before]}", *cells])
    return _table(["points of accuracy", *columns], body)


def _cost(results: list[Result]) -> str:
    tasks = list(dict.fromkeys(r.task for r in results if r.metric == COST))
    value = {(r.task, r.layer, r.metric): r.value for r in results if r.metric in (COST, RATIO)}
    body = [
        [name, *(f"{value[task, row, COST]:,.0f} ms, {value[task, row, RATIO]:.2f}" for task in tasks)]
        for row, name in ROWS.items()
        if tasks
    ]
    return _table(["time, and as a multiple of the first", *tasks], body) if tasks else "Times: not measured yet.\n"


def _spread(values: list[float], *, sign: str = "") -> str:
    if not values:
        return "–"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):{sign}.1f}{spread}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def fill(results: Path, page: Path) -> str:
    """The page's text with the tables of the results."""
    lines = read(results)
    return MARK.sub(lambda m: f"{m[1]}\n{section(lines, m[2])}\n{m[3]}", page.read_text())


# --------------------------------------------------------------------------------------------------------------- main


def append(path: Path, results: list[Result]) -> None:
    """Writes lines behind those that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps({"record": "result", **r._asdict()}) + "\n" for r in results)


def main() -> None:
    """Measures and writes, or fills tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("accuracy", "cost"), help="measure this alone")
    parser.add_argument(
        "--rows", nargs="+", choices=(*ROWS, *UNCOUNTED), default=[*ROWS, *UNCOUNTED], help="networks to train"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of the trainings")
    parser.add_argument("--epochs", type=int, help="of each training, in place of the recipe's")
    parser.add_argument("--data", type=Path, help=f"scenes; by default {IMAGES:,} are drawn")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="the results file; cells that are in it are not repeated"
    )
    parser.add_argument("--markdown", type=Path, nargs="+", help="fill these pages from the results, measure nothing")
    options = parser.parse_args()
    if options.markdown:
        for page in options.markdown:
            page.write_text(fill(options.out, page))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scenes = options.data or Path(folder) / "scenes.npz"
        if options.data is None:
            write(scenes, images=IMAGES, seed=SCENES_SEED)
        if options.only != "cost":
            train(options, scenes)
        if options.only == "cost" or (options.only is None and not any(r.metric == COST for r in read(options.out))):
            kept = [r for r in read(options.out) if r.metric not in (COST, RATIO)]
            lines = costs(scenes)
            options.out.unlink(missing_ok=True)
            append(options.out, [*kept, *lines])
            print(_cost(lines))


def train(options: argparse.Namespace, scenes: Path) -> None:
    """All cells that are asked for and not done, seed by seed, so that rows can be compared as early as possible."""
    for seed in options.seeds:
        for row in options.rows:
            if (row, seed) in done(read(options.out)):
                continue
            lines = cell(row, seed, scenes, options.epochs)
            append(options.out, lines)
            value = {r.task: r.value for r in lines if r.layer == row}
            print(f"{row}, seed {seed}: {value[f'{TASK}: all']:.3f} in {value['training']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
