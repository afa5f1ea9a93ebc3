"""Measures the operators beside their peers: forward and backward, in one process, interleaved; see README.md.

Run: python benchmarks/ops.py [--threads 1 2] [--only soft_rank_l2 ...] [--out benchmarks/results/ops.json]
     python benchmarks/ops.py --markdown docs/ops/choosing.md      (fills that page's tables from the results)
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import peers
import render
from cases import OPERATORS, Case, Operator, all_cases, compare, pull
from timing import Call, interleaved, machine, peak_memory, quartiles, versions
from unshuffle.ops import _native

RESULTS = Path(__file__).parent / "results" / "ops.json"
_LARGE = 500_000  # entries from which the memory of a call says something
_FAILURES = ("differ", "our float32 is off")


def main() -> int:
    """Measures, prints and writes; or fills tables. 1 when outputs disagree that should not."""
    options = _options()
    if options.markdown is not None:
        render.fill(options.out or RESULTS, options.markdown)
        return 0
    chosen = [case for case in all_cases() if case.operator in (options.only or OPERATORS)]
    present = [case for case in chosen if case.peer not in peers.absent()]
    compared = [_compared(case) for case in present]
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{render.heading(threads)}", flush=True)
        for case, verdict in zip(present, compared):
            rows.append(_measured(case, verdict, threads, options))
            print(render.line(rows[-1]), flush=True)
    report = {**_circumstances(options), "crossover": crossovers(rows), "rows": rows}
    print("\n" + render.summary(report))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(render.to_json(report))
    return int(any(row["verdict"] in _FAILURES and not row["note"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="PyTorch's threads, one table each")
    parser.add_argument("--repeats", type=int, default=200, help="most rounds a case")
    parser.add_argument("--seconds", type=float, default=0.8, help="time a case, but at least five rounds")
    parser.add_argument("--only", nargs="+", choices=OPERATORS, metavar="OPERATOR", help=", ".join(OPERATORS))
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, nargs="*", metavar="PAGE", help="fill pages; without one, print")
    return parser.parse_args()


def _compared(case: Case) -> dict[str, object]:
    note = peers.DIFFERS.get((case.operator, case.peer), "")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    verdict = compare(case, case.inputs())
    if verdict["verdict"] in _FAILURES and not note:
        print(f"! {case.operator}, {case.peer}, {case.batch} x {case.n}: {verdict}", file=sys.stderr)
    return {**verdict, "note": note}


def _measured(case: Case, verdict: dict[str, object], threads: int, options: argparse.Namespace) -> dict[str, object]:
    """One row of the results: the case, what was compared, and the times where there is something to time."""
    row = {**vars(case), "threads": threads, **verdict}
    if verdict["verdict"] in _FAILURES:
        return row
    values, backward = case.inputs(), verdict["verdict"] == "agree"
    calls = {"ours": _call(case.ours(), values, backward), "peer": _call(case.theirs(), values, backward)}
    times = interleaved(calls, seconds=options.seconds, repeats=options.repeats)
    ours, peer = (quartiles(times[name]) for name in calls)
    ratio = peer[1] / ours[1]
    row |= {
        "timed": "forward and backward" if backward else "forward",
        "rounds": len(times["ours"]),
        "ours_us": [1e6 * t for t in ours],
        "peer_us": [1e6 * t for t in peer],
        "ratio": ratio,
        "ratio_quartiles": quartiles([p / o for p, o in zip(times["peer"], times["ours"])])[::2],
    }
    if case.target is not None:
        row["reached"] = ratio >= case.target
    if values.numel() >= _LARGE:
        row["peak_bytes"] = {name: peak_memory(call) for name, call in calls.items()}
    return row


def _call(operator: Operator, values: Tensor, backward: bool) -> Call:
    """The operator's call to time, with its gradient from one fixed lever."""
    leaf = values.clone().requires_grad_(backward)
    if not backward:
        return partial(operator, leaf)
    lever = pull(operator(leaf))

    def both() -> object:
        return torch.autograd.grad(operator(leaf), leaf, lever)

    return both


def crossovers(rows: list[dict]) -> list[dict[str, object]]:
    """Where the exact expected rank begins to cost more than ten draws: the sweep's ratio falls through one.

    Between two sizes, the logarithm of the ratio is a line over that of n; ``n`` is None where no size is beyond.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["operator"] == "crossover" and "ratio" in row:
            groups.setdefault((row["strength"], row["threads"]), []).append(row)
    found = []
    for (sigma, threads), points in groups.items():
        last_ahead = max((i for i, row in enumerate(points) if row["ratio"] >= 1), default=-1)
        found.append({"sigma": sigma, "threads": threads, "n": _between(points, last_ahead)})
    return found


def _between(points: list[dict], last: int) -> int | None:
    if last < 0:
        return points[0]["n"]
    if last == len(points) - 1:
        return None
    (n, high), (m, low) = ((row["n"], math.log(row["ratio"])) for row in points[last : last + 2])
    return round(n * (m / n) ** (high / (high - low)))


def _circumstances(options: argparse.Namespace) -> dict[str, object]:
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/ops.py", *arguments]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions("unshuffle", "torch", "numpy", "torchsort", "softtorch", "fast-soft-sort", "numba"),
        "native": _native.available(),
        "absent": peers.absent(),
    }


if __name__ == "__main__":
    sys.exit(main())
