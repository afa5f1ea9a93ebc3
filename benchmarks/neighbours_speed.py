"""Measures the votes of nearest neighbours beside two written out in PyTorch, in time and memory; see README.md.

Run: python benchmarks/neighbours_speed.py [--threads 1 2] [--out benchmarks/results/neighbours_speed.json]
     python benchmarks/neighbours_speed.py --markdown docs/guides/judging.md     (fills that page's table)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import one_table
from one_table import between, circumstances, fill, measured_by, save
from timing import interleaved, peak_memory, quartiles
from unshuffle.evals import knn_predict, screening

RESULTS = Path(__file__).parent / "results" / "neighbours_speed.json"
BEGIN, END = "<!-- neighbours: written by benchmarks/neighbours_speed.py -->", "<!-- end of neighbours -->"
ROWS, COLUMNS, QUERIES, CLASSES, TEMPERATURE = 50_000, 512, 1000, 1000, 0.07
KS = (20, 200)

Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def spread() -> Data:
    """Rows without any structure, in all directions: the nearest of 50,000 is hardly nearer than others."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS + QUERIES, COLUMNS), dtype=np.float32)
    return rows[:ROWS], rng.integers(0, CLASSES, ROWS), rows[ROWS:]


def clustered() -> Data:
    """Rows as a trained network gives them: rectified, sparse, around the centre of a class."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((CLASSES, COLUMNS), dtype=np.float32)
    classes = rng.integers(0, CLASSES, ROWS + QUERIES)
    rows = np.maximum(centres[classes] + 1.5 * rng.standard_normal((ROWS + QUERIES, COLUMNS), dtype=np.float32), 0)
    return rows[:ROWS], classes[:ROWS], rows[ROWS:]


KINDS: dict[str, Callable[[], Data]] = {"spread": spread, "clustered": clustered}


def ours(data: Data, k: int) -> np.ndarray:
    """The package's."""
    return knn_predict(*data, k=k, temperature=TEMPERATURE, num_classes=CLASSES)


def plain(data: Data, k: int) -> np.ndarray:
    """The whole matrix of similarities, its k largest a row, and one-hot votes."""
    bank, labels, queries = (torch.from_numpy(part) for part in data)
    bank, queries = torch.nn.functional.normalize(bank), torch.nn.functional.normalize(queries)
    similarity, index = (queries @ bank.T).topk(k, dim=1)
    weights = (similarity / TEMPERATURE).exp()
    votes = torch.nn.functional.one_hot(labels[index], CLASSES) * weights.unsqueeze(-1)
    return votes.sum(1).argmax(1).numpy()


def scattered(data: Data, k: int) -> np.ndarray:
    """The same with votes added up where they belong, as who minds the memory writes it."""
    bank, labels, queries = (torch.from_numpy(part) for part in data)
    bank, queries = torch.nn.functional.normalize(bank), torch.nn.functional.normalize(queries)
    similarity, index = (queries @ bank.T).topk(k, dim=1)
    votes = torch.zeros(len(queries), CLASSES).scatter_add_(1, labels[index], (similarity / TEMPERATURE).exp())
    return votes.argmax(1).numpy()


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when predictions disagree."""
    options = one_table.options(__doc__, seconds=15.0).parse_args()
    if options.markdown is not None:
        fill(filled, options.out or RESULTS, options.markdown)
        return 0
    rows = [row for threads in options.threads for row in _measured(threads, options.seconds)]
    size = {"rows": ROWS, "columns": COLUMNS, "queries": QUERIES, "classes": CLASSES}
    save({**size, **circumstances(), "measured": rows}, options.out)
    return int(any(row["different"] for row in rows))


def _measured(threads: int, seconds: float) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    rows = []
    for kind, make in KINDS.items():
        data = make()
        for k in KS:
            peers = {"plain": plain, "scattered": scattered}
            different = max(int((ours(data, k) != peer(data, k)).sum()) for peer in peers.values())
            calls = {name: partial(call, data, k) for name, call in {"ours": ours, **peers}.items()}
            memory = {name: peak_memory(call) for name, call in calls.items()}
            times = interleaved(calls, seconds=seconds, repeats=50)
            ratios = {name: [peer / mine for mine, peer in zip(times["ours"], times[name])] for name in peers}
            row = {
                "data": kind, "k": k, "threads": threads, "different": different, "memory": memory,
                "ratios": {name: quartiles(found) for name, found in ratios.items()},
                "ours_seconds": quartiles(times["ours"]), "screened": screening.is_faster(ROWS, COLUMNS, k),
            }  # fmt: skip
            told = ", ".join(f"{found[1]:.2f} x {name}" for name, found in row["ratios"].items())
            print(f"{kind}, k = {k}, {threads} thread(s): {told}, {memory} bytes, {different} differ", flush=True)
            rows.append(row)
    return rows


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the table of a report."""
    return between(text, BEGIN, END, _table(report))


def _table(report: dict[str, Any]) -> str:
    lines = [
        "| rows | k | threads | ours | one-hot | scattered | ours, memory | one-hot | scattered | others differ |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["measured"]:
        times = " | ".join(f"{mid:.2g} ({low:.2g}–{high:.2g})" for low, mid, high in row["ratios"].values())
        memory = " | ".join(_size(used) for used in row["memory"].values())
        lines.append(
            f"| {row['data']} | {row['k']} | {row['threads']} | {row['ours_seconds'][1]:.2g} s | {times} | {memory} | "
            f"{row['different']} |"
        )
    about = (
        f"{report['rows']:,} rows of {report['columns']} numbers, {report['queries']:,} queries, {report['classes']:,} "
        "classes, float32, CPU; times of the others in ours, medians (quartiles of the rounds' ratios); memory is the "
        "peak of one call above its input."
    )
    return "\n".join([*lines, "", about, measured_by(report)])


def _size(used: int | None) -> str:
    return "–" if used is None else f"{used / 2**20:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
