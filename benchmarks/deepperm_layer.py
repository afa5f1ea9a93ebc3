"""Measures DeepPermNet's Sinkhorn layer with its loss, beside the same written out in PyTorch; see README.md.

Run: python benchmarks/deepperm_layer.py [--threads 1 2] [--out benchmarks/results/deepperm_layer.json]
     python benchmarks/deepperm_layer.py --markdown docs/methods/deeppermnet.md     (fills that page's table)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import one_table
from one_table import between, circumstances, fill, measured_by, save
from timing import interleaved, quartiles
from unshuffle import permutations
from unshuffle.losses import AuthorsSinkhorn, SinkhornCrossEntropy

RESULTS = Path(__file__).parent / "results" / "deepperm_layer.json"
BEGIN, END = "<!-- layer: written by benchmarks/deepperm_layer.py -->", "<!-- end of layer -->"
BATCH, LENGTHS = 64, (9, 16, 64)
NUM_ITERS = 20  # of both sides, so that they compute the same
_SAME = 1e-8  # loss and gradient in float64, relative to the largest magnitude: the iterations have nearly converged

Loss = Callable[[Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """One layer: ours, and what it is compared with."""

    layer: str
    ours: Loss
    theirs: Loss


def unrolled(scores: Tensor, ranks: Tensor) -> Tensor:
    """The cross-entropy of the same iterations on logarithms, differentiated through all of them."""
    n = ranks.shape[-1]
    log_plan = scores.unflatten(-1, (n, n))
    for _ in range(NUM_ITERS):
        log_plan = log_plan - log_plan.logsumexp(-1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(-2, keepdim=True)
    return -(permutations.rank_matrix(ranks) * log_plan).sum((-2, -1))


def ours(scores: Tensor, ranks: Tensor) -> Tensor:
    """Our layer, with as many iterations."""
    return SinkhornCrossEntropy(num_iters=NUM_ITERS, tolerance=1e-300).loss(scores, ranks, None)


def authors(scores: Tensor, ranks: Tensor) -> Tensor:
    """One step each: how much the converged layer costs above it."""
    return AuthorsSinkhorn().loss(scores, ranks, None)


CASES = (Case("written out in PyTorch", ours, unrolled), Case("one step each, the authors'", ours, authors))


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when outputs disagree."""
    options = one_table.options(__doc__, seconds=1.0).parse_args()
    if options.markdown is not None:
        fill(filled, options.out or RESULTS, options.markdown)
        return 0
    rows = [row for threads in options.threads for row in _measured(threads, options.seconds)]
    save({"batch": BATCH, "iterations": NUM_ITERS, **circumstances(), "rows": rows}, options.out)
    return int(any(row["difference"] is not None and row["difference"] > _SAME for row in rows))


def _measured(threads: int, seconds: float) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    rows = []
    for n in LENGTHS:
        for case in CASES:
            scores, ranks = inputs(n)
            calls = {name: _call(loss, scores, ranks) for name, loss in (("ours", case.ours), ("theirs", case.theirs))}
            times = interleaved(calls, seconds=seconds, repeats=200)
            ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"])]
            row = {
                "n": n, "peer": case.layer, "threads": threads, "ratio": quartiles(ratios),
                "ours_seconds": quartiles(times["ours"]), "peer_seconds": quartiles(times["theirs"]),
                "difference": difference(case, n) if case.theirs is unrolled else None,
            }  # fmt: skip
            print(f"n = {n}, {case.layer}, {threads} thread(s): {row['ratio'][1]:.2f} times our time", flush=True)
            rows.append(row)
    return rows


def inputs(n: int) -> tuple[Tensor, Tensor]:
    """Standard normal scores, and true ranks without ties."""
    generator = torch.Generator().manual_seed(n)
    return torch.randn(BATCH, n * n, generator=generator), permutations.sample(BATCH, n, generator=generator) + 1.0


def _call(loss: Loss, scores: Tensor, ranks: Tensor) -> Callable[[], object]:
    return lambda: slope(loss, scores, ranks)


def slope(loss: Loss, scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward: the losses, and the gradient of their mean."""
    scores = scores.clone().requires_grad_()
    losses = loss(scores, ranks)
    return losses.detach(), torch.autograd.grad(losses.mean(), scores)[0]


def difference(case: Case, n: int) -> float:
    """The largest difference of losses and gradients in float64, relative, after enough iterations for both."""
    scores, ranks = (part.double() for part in inputs(n))
    pairs = zip(slope(case.ours, scores, ranks), slope(case.theirs, scores, ranks))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the table of a report."""
    return between(text, BEGIN, END, _table(report))


def _table(report: dict[str, Any]) -> str:
    lines = ["| n | beside | threads | ours | its time in ours |", "| ---: | --- | ---: | ---: | ---: |"]
    for row in report["rows"]:
        low, middle, high = row["ratio"]
        lines.append(
            f"| {row['n']} | {row['peer']} | {row['threads']} | {1000 * row['ours_seconds'][1]:.2g} ms | "
            f"{middle:.2g} ({low:.2g}–{high:.2g}) |"
        )
    about = f"{report['batch']} matrices, {report['iterations']} iterations, forward and backward, float32, CPU"
    told = f"{about}; medians (quartiles of the rounds' ratios). {measured_by(report)}"
    return "\n".join([*lines, "", told])


if __name__ == "__main__":
    sys.exit(main())
