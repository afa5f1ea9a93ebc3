"""How near balanced labels are to the best ones, and what a warm start saves.

Random log-probabilities of one scale. The gap is that of the plan, and of the labels, to the optimum of the linear
programme, in nats a sample; all of it is small, so that an exact solver can say what the optimum is. Iterations are
those of a round after the scores have drifted, begun anew and at the last round's offsets, plain and accelerated.

Run: python benchmarks/labelling.py
     python benchmarks/labelling.py --markdown docs/methods/sela.md    (fills that page's tables)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from one_table import Report, between, circumstances, fill, measured_by, save
from render import table
from unshuffle.ops import transport

RESULTS = Path(__file__).parent / "results" / "labelling.json"

POWERS, DRIFTS = (1, 5, 10, 25, 100), (0.01, 0.1, 0.5)
SAMPLES, CLUSTERS, SCALE, SEEDS = 200, 10, 2.0, 5
STARTS = ("cold", "warm", "accelerated_cold", "accelerated_warm")
GAP_HEAD = ["λ", "plan above the optimum", "labels of exact sizes above it", "sizes off by, otherwise", "iterations"]
WARM_HEAD = [
    "scores have moved by", "iterations from the start", "at the last offsets", "accelerated, from the start",
    "at the last offsets",
]  # fmt: skip
MARKS = ("<!-- labelling: written by benchmarks/labelling.py -->", "<!-- end of labelling -->")


def scores(samples: int, clusters: int, seed: int) -> Tensor:
    """Log-probabilities of random logits."""
    generator = torch.Generator().manual_seed(seed)
    return (SCALE * torch.randn(samples, clusters, generator=generator, dtype=torch.float64)).log_softmax(-1)


def cost(log_p: Tensor, labels: Tensor) -> float:
    """Cross-entropy of labels."""
    return float(-log_p.gather(1, labels[:, None]).mean())


def best(log_p: Tensor) -> float:
    """The optimum for clusters of one size, by an exact solver: every cluster is as many columns as it has places."""
    places = len(log_p) // log_p.shape[1]
    _, columns = linear_sum_assignment(-log_p.repeat_interleave(places, 1).numpy())
    return cost(log_p, torch.from_numpy(columns // places))


def gap(power: float) -> dict[str, float]:
    """Averages over several matrices."""
    rows = []
    for seed in range(SEEDS):
        log_p = scores(SAMPLES, CLUSTERS, seed)
        least = best(log_p)
        soft = transport(log_p, power=power, tolerance=1e-6, max_iters=100_000)
        exact = transport(log_p, power=power, tolerance=1e-6, max_iters=100_000, equal_sizes=True)
        sizes = soft.sizes().double() * CLUSTERS / SAMPLES
        rows.append(
            (
                float(-(soft.plan() * log_p).sum()) - least,
                cost(log_p, exact.labels) - least,
                float((sizes - 1).abs().max()),
                float(soft.iterations),
            )
        )
    names = ("plan", "exact", "sizes", "iterations")
    return {"power": power, **dict(zip(names, torch.tensor(rows).double().mean(0).tolist()))}


def warm(drift: float, power: float = 25.0) -> dict[str, float]:
    """Iterations of a round after scores have moved by so much, in units of their own deviation."""
    counts = []
    for seed in range(SEEDS):
        before, noise = scores(5000, 50, seed), torch.Generator().manual_seed(100 + seed)
        moved = before + drift * SCALE * torch.randn(before.shape, generator=noise, dtype=torch.float64)
        after = moved.log_softmax(-1)
        offsets = transport(before, power=power).class_offsets
        counts.append(
            [
                transport(after, power=power, start=start, accelerate=accelerate).iterations
                for accelerate in (False, True)
                for start in (None, offsets)
            ]
        )
    return {"drift": drift, **dict(zip(STARTS, torch.tensor(counts).double().mean(0).tolist()))}


def filled(found: Report, text: str) -> str:
    """The page's text with both tables."""
    gaps = [
        [
            str(r["power"]),
            f"{r['plan']:.4f}",
            f"{r['exact']:.5f}",
            f"{100 * r['sizes']:.0f} %",
            f"{r['iterations']:.0f}",
        ]
        for r in found["gap"]
    ]
    starts = [
        [f"{r['drift']} of their deviation", *(f"{r[name]:.1f}" for name in STARTS)] for r in found["warm"]
    ]  # fmt: skip
    told = (
        f"Gaps in nats a sample, {SAMPLES} samples, {CLUSTERS} clusters; iterations of 5,000 samples and 50 clusters "
        f"at λ = 25 to a tolerance of 0.001; means of {SEEDS} matrices. {measured_by(found, 'scipy')}"
    )
    return between(text, *MARKS, "\n\n".join([table(GAP_HEAD, gaps), table(WARM_HEAD, starts), told]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, or are")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="fill a page's tables instead")
    given = parser.parse_args()
    if given.markdown is not None:
        fill(filled, given.out, given.markdown)
        return
    gaps, starts = [gap(power) for power in POWERS], [warm(drift) for drift in DRIFTS]
    save({**circumstances("scipy"), "gap": gaps, "warm": starts}, given.out)


if __name__ == "__main__":
    main()
