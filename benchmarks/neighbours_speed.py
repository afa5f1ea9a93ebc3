"""Measures the vote of nearest neighbours beside the same written out in PyTorch, in time and memory; see README.md.

Run: python benchmarks/neighbours_speed.py [--threads 1 2] [--out benchmarks/results/neighbours_speed.json]
     python benchmarks/neighbours_speed.py --markdown docs/guides/judging.md     (fills that page's table)
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timing import interleaved, machine, peak_memory, quartiles, versions
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


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when predictions disagree."""
    options = _options()
    if options.markdown is not None:
        page = options.markdown.read_text()
        options.markdown.write_text(filled(json.loads((options.out or RESULTS).read_text()), page))
        return 0
    rows = [row for threads in options.threads for row in _measured(threads, options.seconds)]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**_circumstances(), "measured": rows}, indent=1) + "\n")
    return int(any(row["different"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="PyTorch's threads, measured in turn")
    parser.add_argument("--seconds", type=float, default=15.0, help="time a case, but at least five rounds")
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="fill a page's table instead")
    return parser.parse_args()


def _measured(threads: int, seconds: float) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    rows = []
    for kind, make in KINDS.items():
        data = make()
        for k in KS:
            different = int((ours(data, k) != plain(data, k)).sum())
            calls = {"ours": lambda k=k: ours(data, k), "plain": lambda k=k: plain(data, k)}  # noqa: B023
            memory = {name: peak_memory(call) for name, call in calls.items()}
            times = interleaved(calls, seconds=seconds, repeats=50)
            row = {
                "data": kind, "k": k, "threads": threads, "different": different, "memory": memory,
                "ratio": quartiles([plain / mine for mine, plain in zip(times["ours"], times["plain"])]),
                "ours_seconds": quartiles(times["ours"]), "plain_seconds": quartiles(times["plain"]),
                "screened": screening.is_faster(ROWS, COLUMNS, k),
            }  # fmt: skip
            megabytes = {name: None if used is None else round(used / 2**20) for name, used in memory.items()}
            print(f"{kind}, k = {k}, {threads} thread(s): {row['ratio'][1]:.2f} x, {megabytes} MiB, {different} differ")
            rows.append(row)
    return rows


def _circumstances() -> dict[str, Any]:
    return {
        "rows": ROWS, "columns": COLUMNS, "queries": QUERIES, "classes": CLASSES, "machine": machine(),
        "versions": versions("torch", "numpy"),
        "command": shlex.join(["python", "benchmarks/neighbours_speed.py", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }  # fmt: skip


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the table of a report."""
    before, _, rest = text.partition(BEGIN)
    assert END in rest, f"the page has no {BEGIN} … {END}"
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table(report)}\n\n{END}{after}"


def _table(report: dict[str, Any]) -> str:
    lines = [
        "| rows | k | threads | ours | plain, its time in ours | memory | plain's | other predictions |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["measured"]:
        low, middle, high = row["ratio"]
        lines.append(
            f"| {row['data']} | {row['k']} | {row['threads']} | {row['ours_seconds'][1]:.2g} s | {middle:.2g} "
            f"({low:.2g}–{high:.2g}) | {_size(row['memory']['ours'])} | {_size(row['memory']['plain'])} | "
            f"{row['different']} |"
        )
    about = (
        f"{report['rows']:,} rows of {report['columns']} numbers, {report['queries']:,} queries, {report['classes']:,} "
        "classes, float32, CPU; medians (quartiles of the rounds' ratios); memory is the peak of one call above its "
        "input."
    )
    where = (
        f"Measured on {report['machine']['cpu']}, torch {report['versions']['torch'].split('+')[0]}, {report['date']}."
    )
    return "\n".join([*lines, "", about, where])


def _size(used: int | None) -> str:
    return "–" if used is None else f"{used / 2**20:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
