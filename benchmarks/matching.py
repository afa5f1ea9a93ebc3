"""Measures networks, matching and transport beside their peers, in one process, interleaved; see README.md.

Run: python benchmarks/matching.py [--threads 1 2] [--only sinkhorn ...] [--out benchmarks/results/matching.json]
     python benchmarks/matching.py --memory --out benchmarks/results/matching.json      (measures memory anew, no time)
     python benchmarks/matching.py --markdown docs/ops/matching.md      (fills that page's tables from the results)
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import matching_tables as tables
from matching_cases import Case, all_cases, from_their_start
from matching_peers import Answer, Function
from timing import Call, interleaved, machine, peak_memory, quartiles, versions
from unshuffle.ops import _native

RESULTS = Path(__file__).parent / "results" / "matching.json"
OPERATORS = tuple(dict.fromkeys(case.operator for case in all_cases()))

# Largest absolute errors relative to the largest magnitude: peers in float64; ours in float32 against ours in float64.
_SAME_VALUE, _SAME_GRADIENT, _SAME_TOTAL, _OUR_FLOAT32 = 1e-8, 1e-6, 1e-9, 2e-6
# Of transport in float32, beside float64: logarithms of the class scalings, share of samples labelled otherwise.
_SAME_OFFSETS, _OTHER_LABELS = 1e-3, 1e-3

Row = dict[str, Any]


def main() -> int:
    """Measures, prints and writes; or fills tables. 1 when outputs disagree."""
    options = _options()
    if options.peak is not None:
        print(_peak(all_cases()[options.peak], options.side))
        return 0
    if options.markdown is not None:
        tables.fill(options.out or RESULTS, options.markdown)
        return 0
    if options.memory:
        return _measure_memory(options.out or RESULTS)
    chosen = [(i, case) for i, case in enumerate(all_cases()) if case.operator in (options.only or OPERATORS)]
    rows = [row for i, case in chosen for row in _measured(i, case, options)]
    report = {**_circumstances(), "rows": rows}
    print("\n" + tables.summary(rows))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(tables.to_json(report))
    return int(any("differ" in row["verdict"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="PyTorch's threads, measured in turn")
    parser.add_argument("--repeats", type=int, default=200, help="most rounds a case")
    parser.add_argument("--seconds", type=float, default=1.0, help="time a case, but at least five rounds")
    parser.add_argument("--only", nargs="+", choices=OPERATORS, metavar="OPERATOR", help=", ".join(OPERATORS))
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, nargs="*", metavar="PAGE", help="fill pages; without one, print")
    parser.add_argument("--memory", action="store_true", help="measure memory alone, into the results there are")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)  # the number of a case, in a fresh process
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(number: int, case: Case, options: argparse.Namespace) -> list[Row]:
    """Rows of one case, one for each number of threads."""
    facts = {key: getattr(case, key) for key in ("operator", "size", "law", "peer", "target", "without_compiler")}
    torch.set_num_threads(1)
    values = case.inputs()
    try:
        verdict = compare(case, values)
    except ImportError as error:
        verdict = {"verdict": f"absent: {error}"}
    if verdict["verdict"] != "agree":
        return [_told({**facts, **verdict, "threads": threads}) for threads in options.threads]
    memory = _peaks(number) if case.answer == "labels" else {}
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        times = interleaved(_calls(case, values), seconds=options.seconds, repeats=5 if case.large else options.repeats)
        row = {**facts, **verdict, "threads": threads, **_summed_up(times)}
        row |= {"matrix_bytes": values.nbytes, "peak_bytes": memory} if memory else {}
        rows.append(_told(row))
    return rows


def _told(row: Row) -> Row:
    print(tables.line(row), flush=True)
    return row


# ----------------------------------------------------------------------------------------------- compared before timing


def compare(case: Case, values: Tensor) -> dict[str, object]:
    """The verdict, "agree" or what differs, and the errors behind it."""
    return {"values": _same_function, "positions": _same_totals, "labels": _same_labels}[case.answer](case, values)


def _same_function(case: Case, values: Tensor) -> dict[str, object]:
    """Values and gradients of ours and the peer's in float64, and of ours in float32."""
    truth = value_and_gradient(case.ours, values.double())
    peer = _errors(value_and_gradient(case.theirs, values.double()), truth)
    ours = _errors(value_and_gradient(case.ours, values), truth)
    with _native.disabled():
        plain = _errors(value_and_gradient(case.ours, values.double()), truth)
    same = peer[0] <= _SAME_VALUE and peer[1] <= _SAME_GRADIENT and plain[1] <= _SAME_GRADIENT
    verdict = "agree" if same and max(ours) <= _OUR_FLOAT32 else "they differ"
    return {"verdict": verdict, "errors": {"peer_float64": peer, "ours_float32": ours, "ours_in_pytorch": plain}}


def _same_totals(case: Case, values: Tensor) -> dict[str, object]:
    totals = [_total(values, side(values)[0]) for side in (case.ours, case.theirs)]
    error = _relative(totals[1], totals[0])
    return {"verdict": "agree" if error <= _SAME_TOTAL else "they differ", "errors": {"total": error}}


def _total(scores: Tensor, positions: Tensor) -> Tensor:
    return scores.double().gather(-1, positions.unsqueeze(-1)).sum((-1, -2))


def _same_labels(case: Case, values: Tensor) -> dict[str, object]:
    ours, theirs = from_their_start(values), case.theirs(values)
    found = {
        "offsets": (ours[1] - theirs[1]).abs().max().item(),
        "other_labels": (ours[0] != theirs[0]).double().mean().item(),
    }
    same = found["offsets"] <= _SAME_OFFSETS and found["other_labels"] <= _OTHER_LABELS
    return {"verdict": "agree" if same else "they differ", "errors": found}


def value_and_gradient(function: Function, values: Tensor) -> tuple[Answer, Answer]:
    """An answer, and the gradient of its product with fixed random numbers."""
    leaf = values.detach().requires_grad_()
    answer = function(leaf)
    return tuple(part.detach() for part in answer), torch.autograd.grad(answer, leaf, _levers(answer))


def _levers(answer: Answer) -> Answer:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(part.shape, generator=generator).to(part.dtype) for part in answer)


def _errors(found: tuple[Answer, Answer], truth: tuple[Answer, Answer]) -> list[float]:
    """The largest error of the values, and of the gradient."""
    return [max(_relative(mine, true) for mine, true in zip(*pair)) for pair in zip(found, truth)]


def _relative(found: Tensor, true: Tensor) -> float:
    return float(f"{((found.double() - true).abs().max() / true.abs().max().clamp_min(1e-300)).item():.1e}")


# ------------------------------------------------------------------------------------------------ time and memory


def _calls(case: Case, values: Tensor) -> Mapping[str, Call]:
    """Ours in C, ours in PyTorch, and the peer's: forward and backward where there is a gradient."""
    ours, peer = (_call(function, values, case.answer == "values") for function in (case.ours, case.theirs))

    def plain() -> object:
        with _native.disabled():
            return ours()

    return {"ours": ours, "pytorch": plain, "peer": peer}


def _call(function: Function, values: Tensor, backward: bool) -> Call:
    """The call to time, with its gradient from fixed levers."""
    if not backward:
        return partial(function, values)
    leaf = values.clone().requires_grad_()
    levers = _levers(function(leaf))

    def both() -> object:
        return torch.autograd.grad(function(leaf), leaf, levers)

    return both


def _summed_up(times: dict[str, list[float]]) -> Row:
    """Medians with quartiles in microseconds, and how many times as long the peer takes."""
    row: Row = {"rounds": len(times["ours"])}
    row |= {f"{name}_us": [1e6 * t for t in quartiles(samples)] for name, samples in times.items()}
    for ratio, side in (("ratio", "ours"), ("pytorch_ratio", "pytorch")):
        row[ratio] = row["peer_us"][1] / row[f"{side}_us"][1]
        row[f"{ratio}_quartiles"] = quartiles([p / o for p, o in zip(times["peer"], times[side])])[::2]
    return row


def _measure_memory(results: Path) -> int:
    """Writes new peaks into the rows of a results file, and prints them."""
    report = json.loads(results.read_text())
    for number, case in enumerate(all_cases()):
        if case.answer != "labels":
            continue
        same = {key: getattr(case, key) for key in ("operator", "size", "law", "peer")}
        rows = [row for row in report["rows"] if "peak_bytes" in row and same.items() <= row.items()]
        peaks = _peaks(number)
        print(*same.values(), peaks, flush=True)
        for row in rows:
            row["peak_bytes"] = peaks
    report["memory_command"] = _command()
    results.write_text(tables.to_json(report))
    return 0


def _peaks(number: int) -> dict[str, int | None]:
    return {side: _peak_apart(number, side) for side in ("ours", "peer")}


def _peak(case: Case, side: str) -> int | None:
    """By how much one call raises the peak of this process's memory, after a small one that loads what it needs."""
    torch.set_num_threads(1)
    values, function = case.inputs(), case.ours if side == "ours" else case.theirs
    function(values[:1000].clone())
    return peak_memory(partial(function, values))


def _peak_apart(number: int, side: str) -> int | None:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--peak", str(number), "--side", side]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    return None if said == "None" else int(said)


def _command() -> str:
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return shlex.join(["python", "benchmarks/matching.py", *arguments])


def _circumstances() -> dict[str, object]:
    return {
        "command": _command(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions("unshuffle", "torch", "numpy", "scipy", "diffsort", "POT", "lapx", "lapjv"),
        "native": _native.available(),
    }


if __name__ == "__main__":
    sys.exit(main())
