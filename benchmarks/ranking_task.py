"""The operators in training: one small ordering task, in which only the operator differs.

Run: python benchmarks/ranking_task.py --out benchmarks/results/ranking_task.jsonl
     python benchmarks/ranking_task.py --only cost --out …          (measures the times again, keeps the other lines)
     python benchmarks/ranking_task.py --markdown docs/ops/choosing.md   (fills that page's table from the results)
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timing import interleaved, quartiles
from unshuffle import ops, permutations
from unshuffle.data.samples import digits
from unshuffle.data.sets import OrderedSets
from unshuffle.evals.results import Stamp, stamp
from unshuffle.losses import fenchel_young
from unshuffle.types import Raw, Result

RESULTS = Path(__file__).parent / "results" / "ranking_task.jsonl"
MARK = re.compile(r"(<!-- ranking: task -->\n).*?(<!-- end -->)", re.DOTALL)

SIZES = (5, 9)
STEPS, SETS = 300, 64  # sets a step
LEARNING_RATES = (1e-2, 3e-2)
CHOOSING_SEEDS, SEEDS = (10, 11), (0, 1, 2, 3, 4)
DEALINGS = 10  # of the items that are evaluated on, into sets
COST_BATCH = 128

Draws = torch.Generator
Ranker = Callable[[Tensor, float, Draws], Tensor]
Loss = Callable[[Tensor, Tensor, float, Draws], Tensor]


# ------------------------------------------------------------------------------------------------------- the operators


class Contender(NamedTuple):
    """A loss from scores, true ranks and a strength, and the strengths that are tried."""

    loss: Loss
    grid: tuple[float, ...]


def squared(rank: Ranker) -> Loss:
    """Half the squared distance between soft and true ranks: the same loss for every operator."""

    def loss(scores: Tensor, ranks: Tensor, strength: float, draws: Draws) -> Tensor:
        return 0.5 * (rank(scores, strength, draws) - ranks).square().sum(-1)

    return loss


def mean_positions(shares: Tensor) -> Tensor:
    """The ranks that a relaxed permutation matrix says: of each item, the mean position, weighted by its shares."""
    # These rows need not sum to one; left as they are, both matrices learn the task less well.
    positions = torch.arange(1, shares.shape[-1] + 1, dtype=shares.dtype)
    return shares @ positions / shares.sum(-1).clamp_min(1e-6)


def with_margin(scores: Tensor, ranks: Tensor, strength: float, draws: Draws) -> Tensor:
    """Hard ranks, of scores that must overcome a distance of one score a rank, as in Rolinek et al., section 4."""
    return squared(lambda s, e, _: ops.blackbox_rank(s - ranks, interpolation=e))(scores, ranks, strength, draws)


_WIDE, _SMALL = (0.03, 0.1, 0.3, 1.0, 3.0), (0.003, 0.01, 0.03, 0.1, 0.3)
CONTENDERS = {
    "`soft_rank`, l2": Contender(squared(lambda s, e, _: ops.soft_rank(s, regularization_strength=e)), _WIDE),
    "`soft_rank`, kl": Contender(
        squared(lambda s, e, _: ops.soft_rank(s, regularization="kl", regularization_strength=e)), _WIDE
    ),
    "`perturbed_rank`, exact": Contender(squared(lambda s, e, _: ops.perturbed_rank(s, sigma=e)), _WIDE),
    "`perturbed_rank`, 10 draws": Contender(
        squared(lambda s, e, draws: ops.perturbed_rank(s, sigma=e, num_samples=10, generator=draws)), _WIDE
    ),
    "`fenchel_young`": Contender(lambda s, ranks, e, _: fenchel_young(s, ranks, sigma=e), _WIDE),
    "`neural_sort`": Contender(squared(lambda s, e, _: mean_positions(ops.neural_sort(s, temperature=e))), _WIDE),
    "`soft_sort_matrix`": Contender(
        squared(lambda s, e, _: mean_positions(ops.soft_sort_matrix(s, temperature=e))), _WIDE
    ),
    "`ot_rank`": Contender(squared(lambda s, e, _: ops.ot_rank(s, regularization_strength=e)), _SMALL),
    "`blackbox_rank`": Contender(squared(lambda s, e, _: ops.blackbox_rank(s, interpolation=e)), _WIDE),
    "`blackbox_rank`, margin": Contender(with_margin, _WIDE),
    "no operator (scores as ranks)": Contender(squared(lambda s, _, __: s), (0.0,)),
}


# ------------------------------------------------------------------------------------------------------------ the task


class Part(NamedTuple):
    """Some of the digits: (N, 1, 8, 8) uint8 and their values."""

    items: Tensor
    label: Tensor


@lru_cache
def part(name: str) -> Part:
    """``test``, or ``train``, or the two parts of ``train``: ``fit`` (four fifths) and ``validation``."""
    bundle = digits()
    arrays = bundle.test if name == "test" else bundle.train
    items, label = (torch.stack([torch.as_tensor(x) for x in column]) for column in zip(*arrays))
    cut = len(items) * 4 // 5
    rows = {"fit": slice(0, cut), "validation": slice(cut, None)}.get(name, slice(None))
    return Part(items[rows], label[rows])


@lru_cache
def dealt(name: str, size: int, count: int, sets: int | None, seed: int) -> list[tuple[Tensor, Tensor]]:
    """``count`` times the part's items, dealt into sets with their ranks: the same for every contender."""
    items, label = part(name)
    raw, deal, draws = Raw(items, torch.arange(len(items)), label), OrderedSets(size), Draws().manual_seed(seed)
    return [(batch.items[:sets], batch.ranks[:sets]) for batch in (deal(raw, draws) for _ in range(count))]


class Scorer(nn.Module):
    """A perceptron of two hidden layers that scores every digit alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, sets: Tensor) -> Tensor:
        """(B, n, 1, 8, 8) to (B, n)."""
        return self.layers(sets.flatten(2)).squeeze(-1)


def trained(contender: Contender, strength: float, rate: float, *, on: str, size: int, seed: int) -> Scorer:
    """A scorer after ``STEPS`` steps of Adam."""
    scorer, draws = Scorer(seed), Draws().manual_seed(seed)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=rate)
    for items, ranks in dealt(on, size, STEPS, SETS, seed):
        optimizer.zero_grad()
        # A sum, so that the gradient that meets an operator is that of a set alone, whatever the batch.
        contender.loss(scorer(items), ranks, strength, draws).sum().backward()
        optimizer.step()
    return scorer


@torch.no_grad()
def judged(scorer: Scorer, name: str, size: int) -> dict[str, float]:
    """Shares of the sets, and of the items, that are placed right."""
    batches = dealt(name, size, DEALINGS, None, 0)
    scores, true = torch.cat([scorer(items) for items, _ in batches]), torch.cat([ranks for _, ranks in batches])
    ranks = (permutations.invert(scores.argsort(-1)) + 1).float()  # equal scores are placed as they stand, not forgiven
    measures = {"exact order": permutations.exact_order, "partial ranks": permutations.partial_ranks}
    return {metric: measure(ranks, true).double().mean().item() for metric, measure in measures.items()}


# ------------------------------------------------------------------------------------------------------- measurements


def accuracy(name: str, contender: Contender, size: int) -> list[Result]:
    """Strength and learning rate by validation, then the test figures of all seeds."""

    def validated(options: tuple[float, float]) -> float:
        scorers = [trained(contender, *options, on="fit", size=size, seed=seed) for seed in CHOOSING_SEEDS]
        return statistics.mean(judged(scorer, "validation", size)["partial ranks"] for scorer in scorers)

    best = max(product(contender.grid, LEARNING_RATES), key=validated)
    chosen = dict(zip(("strength", "learning rate"), best))
    lines = [_line(size, metric, value, 1, 0, "validation", name) for metric, value in chosen.items()]
    for seed in SEEDS:
        found = judged(trained(contender, *best, on="train", size=size, seed=seed), "test", size)
        count = sum(len(ranks) for _, ranks in dealt("test", size, DEALINGS, None, 0))
        lines += [_line(size, metric, value, count, seed, "test", name) for metric, value in found.items()]
    return lines


def costs(size: int) -> list[Result]:
    """Microseconds of every loss, forward and backward, on (COST_BATCH, size) normal scores, at mid-grid strength."""
    draws = Draws().manual_seed(0)
    scores = torch.randn(COST_BATCH, size, generator=draws).requires_grad_()
    ranks = permutations.to_ranks(torch.randn(COST_BATCH, size, generator=draws))

    def both(contender: Contender) -> object:
        strength = contender.grid[len(contender.grid) // 2]
        return torch.autograd.grad(contender.loss(scores, ranks, strength, draws).sum(), scores)

    calls = {name: partial(both, contender) for name, contender in CONTENDERS.items()}
    times = interleaved(calls, seconds=4.0, repeats=100)
    middle = {name: 1e6 * quartiles(times[name])[1] for name in calls}
    return [_line(size, "microseconds", middle[name], COST_BATCH, 0, "timing", name) for name in calls]


def _line(size: int, metric: str, value: float, n: int, seed: int, split: str, layer: str) -> Result:
    return Result(f"sets of {size}", metric, value, n, seed, layer=layer, **_stamp("digits", split)._asdict())


@lru_cache
def _stamp(data: str, split: str) -> Stamp:
    here = stamp(data, split, "ranking_task")
    return here._replace(command=f"python benchmarks/{here.command}")


# ------------------------------------------------------------------------------------------------------------ results


def read(path: Path) -> list[Result]:
    """The lines of a results file, none if it is not there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Result(**{k: v for k, v in json.loads(line).items() if k != "record"}) for line in lines]


def section(results: Iterable[Result]) -> str:
    """The tables of all sizes in Markdown, and how they were measured."""
    results = list(results)
    parts = [_table(task, [r for r in results if r.task == task]) for task in dict.fromkeys(r.task for r in results)]
    made = sorted({(r.command, r.machine, r.date) for r in results})
    how = "; ".join(f"`{command}` on {machine}, {date}" for command, machine, date in made)
    return "\n".join(["", *parts, f"Measured by {how}.", "", ""])


def _table(task: str, results: list[Result]) -> str:
    names = list(dict.fromkeys(r.layer for r in results))
    values = {(name, r.metric): [] for name in names for r in results}
    for r in results:
        values[r.layer, r.metric].append(r.value)
    count = next((r.n for r in results if r.metric == "exact order"), 0)
    batch = next((r.n for r in results if r.metric == "microseconds"), 0)
    head = [task, "strength", "learning rate", "exact order", "partial ranks", f"µs a batch of {batch}"]
    rows = [[name, *(_cell(values.get((name, metric), []), metric) for metric in _COLUMNS)] for name in names]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    title = f"{task.capitalize()}, {count} of them dealt from the test digits, mean ± standard deviation over seeds"
    return f"{title}:\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


_COLUMNS = ("strength", "learning rate", "exact order", "partial ranks", "microseconds")


def _cell(values: list[float], metric: str) -> str:
    if not values or (metric == "strength" and values == [0.0]):
        return "–"
    if metric in ("strength", "learning rate"):
        return f"{values[0]:g}"
    if metric == "microseconds":
        return f"{values[0]:,.0f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def fill(results: Path, page: Path) -> str:
    """The page's text with the table of the results."""
    return MARK.sub(lambda m: m[1] + section(read(results)) + m[2], page.read_text())


def main() -> None:
    """Measures and writes, or fills tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("accuracy", "cost"), help="measure this, and keep the other lines of --out")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="items in a set")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    parser.add_argument("--markdown", type=Path, nargs="+", help="fill these pages from the results, measure nothing")
    options = parser.parse_args()
    if options.markdown:
        for page in options.markdown:
            page.write_text(fill(options.out, page))
        return
    torch.set_num_threads(1)
    is_cost = {"accuracy": False, "cost": True}.get(options.only)
    lines = [r for r in read(options.out) if is_cost is not None and (r.metric == "microseconds") != is_cost]
    for size in options.sizes:
        for name, contender in CONTENDERS.items() if is_cost is not True else ():
            lines += accuracy(name, contender, size)
            print(f"{size} {name}: {[f'{r.metric} {r.value:.4g}' for r in lines if r.layer == name][-8:]}", flush=True)
        lines += [] if is_cost is False else costs(size)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps({"record": "result", **r._asdict()}) + "\n" for r in lines))
    print(section(lines))


if __name__ == "__main__":
    main()
