"""Measures group ordering, forward and backward, beside a plain InfoNCE on the same embeddings; see README.md.

Run: python benchmarks/group_order.py [--threads 1 2] [--out benchmarks/results/group_order.json]
     python benchmarks/group_order.py --markdown docs/ops/group_order.md     (fills that page's table)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import one_table
from one_table import between, circumstances, fill, measured_by, save
from timing import interleaved, peak_memory, quartiles
from unshuffle.losses import GroupOrder, InfoNCE, Triplet, group_order

RESULTS = Path(__file__).parent / "results" / "group_order.json"
BEGIN, END = "<!-- group order: written by benchmarks/group_order.py -->", "<!-- end of group order -->"
VIEWS, IMAGES, FEATURES = 2, 1024, 2048  # 2 B = 2,048 embeddings
TEMPERATURE = 0.1
_SAME = 1e-9  # loss and gradient in float64, relative to the largest magnitude

Loss = Callable[[Tensor], Tensor]


def plain(z: Tensor) -> Tensor:
    """InfoNCE of two views as scripts have it: one matrix of similarities and a cross-entropy."""
    units = F.normalize(z.flatten(0, 1), dim=-1)
    n = len(units)
    logits = (units @ units.T / TEMPERATURE).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(n).roll(n // 2))


def gathered(z: Tensor) -> Tensor:
    """Group ordering with the vectors of the ten strongest negatives gathered by index."""
    units = F.normalize(z.flatten(0, 1), dim=-1)
    n, others = len(units), units.detach()
    own = torch.eye(n // 2, dtype=torch.bool).repeat(2, 2)
    strongest = (others @ others.T).masked_fill(own, -torch.inf).topk(10).indices
    negatives = torch.einsum("nd,nkd->nk", units, others[strongest])
    positives = (units * others.roll(n // 2, 0)).sum(-1, keepdim=True)
    return group_order(-positives, -negatives).mean()


def ours(objective: GroupOrder | InfoNCE | Triplet, z: Tensor) -> Tensor:
    """The mean of an objective over all anchors."""
    return objective.loss(z, z).mean()


PLAIN = "InfoNCE, plain PyTorch"
LOSSES: dict[str, Loss] = {
    PLAIN: plain,
    "`GroupOrder()`": partial(ours, GroupOrder()),
    "`GroupOrder(stop_gradient=False)`": partial(ours, GroupOrder(stop_gradient=False)),
    "the same as `GroupOrder()`, vectors gathered by index": gathered,
    "`Triplet()`": partial(ours, Triplet()),
    "`InfoNCE()`": partial(ours, InfoNCE(TEMPERATURE)),
}
TWINS = (("`InfoNCE()`", PLAIN), ("`GroupOrder()`", "the same as `GroupOrder()`, vectors gathered by index"))


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when outputs disagree."""
    parser = one_table.options(__doc__, seconds=60.0)
    parser.add_argument("--peak", choices=LOSSES, help="print the bytes that one loss needs, and nothing else")
    options = parser.parse_args()
    if options.peak is not None:
        print(_peak(options.peak))
        return 0
    if options.markdown is not None:
        fill(filled, options.out or RESULTS, options.markdown)
        return 0
    differences = {one: difference(LOSSES[one], LOSSES[other]) for one, other in TWINS}
    peaks = {name: _peak_apart(name) for name in LOSSES}
    rows = [row for threads in options.threads for row in _measured(threads, options.seconds, peaks)]
    size = {"views": VIEWS, "images": IMAGES, "features": FEATURES}
    save({**size, **circumstances(), "differences": differences, "rows": rows}, options.out)
    return int(max(differences.values()) > _SAME)


def embeddings(images: int = IMAGES, features: int = FEATURES) -> Tensor:
    """Two views of each image, alike."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(VIEWS, images, features, generator=generator)
    return views + torch.randn(images, features, generator=generator)


def step(loss: Loss, z: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward: the loss and its gradient."""
    z = z.detach().requires_grad_()
    value = loss(z)
    return value.detach(), torch.autograd.grad(value, z)[0]


def difference(one: Loss, other: Loss) -> float:
    """The largest difference of values and gradients in float64, relative, on a small batch."""
    z = embeddings(64, 32).double()
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(step(one, z), step(other, z)))


def _measured(threads: int, seconds: float, peaks: dict[str, int | None]) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    z = embeddings()
    times = interleaved({name: partial(step, loss, z) for name, loss in LOSSES.items()}, seconds=seconds, repeats=50)
    rows = []
    for name, samples in times.items():
        ratios = [sample / base for sample, base in zip(samples, times[PLAIN])]
        row = {"loss": name, "threads": threads, "seconds": quartiles(samples), "ratio": quartiles(ratios)}
        rows.append(row | {"peak_bytes": peaks[name]})
        said = f"{row['ratio'][1]:.2f} times plain InfoNCE, {peaks[name]} bytes"
        print(f"{name}, {threads} thread(s): {said}", flush=True)
    return rows


def _peak(name: str) -> int | None:
    """By how much one step raises the peak of this process's memory, after a small one that loads what it needs."""
    torch.set_num_threads(1)
    z = embeddings()
    step(LOSSES[name], z[:, :16, :8].contiguous())
    return peak_memory(partial(step, LOSSES[name], z))


def _peak_apart(name: str) -> int | None:
    """The same in a fresh process, where what is freed is gone: no holes in the heap are counted."""
    alone = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    command = [sys.executable, __file__, "--peak", name]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=alone).stdout.split()[-1]
    return None if said == "None" else int(said)


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the table of a report."""
    return between(text, BEGIN, END, _table(report))


def _table(report: dict[str, Any]) -> str:
    lines = ["| loss | threads | time | in times of plain InfoNCE | memory above the input |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for row in report["rows"]:
        low, middle, high = row["ratio"]
        memory = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f} MiB"
        lines.append(
            f"| {row['loss']} | {row['threads']} | {1000 * row['seconds'][1]:.0f} ms | "
            f"{middle:.2f} ({low:.2f}–{high:.2f}) | {memory} |"
        )
    about = (
        f"{report['views']} views of {report['images']:,} images, {report['features']:,} numbers each; forward and "
        "backward, float32, CPU; medians (quartiles of the rounds' ratios), memory with one thread."
    )
    return "\n".join([*lines, "", f"{about} {measured_by(report)}"])


if __name__ == "__main__":
    sys.exit(main())
