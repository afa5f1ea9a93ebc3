"""Measures a training step of Permutation-Optimisation beside the plain form of it, in one process, interleaved.

Run: python benchmarks/ordering.py [--threads 1 2] [--out benchmarks/results/ordering.json]
     python benchmarks/ordering.py --markdown docs/ops/ordering.md      (fills that page's tables from the results)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ordering_peer import PlainOptimizer
from render import table, time, to_json, with_quartiles
from timing import interleaved, machine, peak_memory, quartiles, versions
from unshuffle import PermutationOptimizer
from unshuffle.ops import _native

RESULTS = Path(__file__).parent / "results" / "ordering.json"
MARK = re.compile(r"(<!-- ordering: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SIDES = ("ours", "peer")

# Largest errors of values and gradients, relative to the largest magnitude: the peer in float64, ours in float32, where
# rounding may decide whether a hidden unit is on.
_SAME, _OUR_FLOAT32 = 1e-9, 1e-3

Row = dict[str, Any]


class Case(NamedTuple):
    """Sets of n items with d features, compared by so many hidden units, ordered in so many steps."""

    what: str
    batch: int
    n: int
    features: int
    hidden: int
    steps: int

    def sets(self) -> Tensor:
        """Uniform numbers, as the paper sorts."""
        shape = (self.batch, self.n, self.features)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def nets(self) -> dict[str, nn.Module]:
        """Ours and the peer's, with the same weights."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ours = PermutationOptimizer(self.features, hidden=self.hidden, steps=self.steps, bias_out=True)
        peer = PlainOptimizer(self.features, self.hidden, self.steps)
        shapes = {name: value.shape for name, value in peer.state_dict().items()}
        peer.load_state_dict({name: value.reshape(shapes[name]) for name, value in ours.state_dict().items()})
        return {"ours": ours, "peer": peer}


# The sorting network 2-16-1 with T = 6 (appendix F.1) up to the paper's largest set, and tiles with T = 4 (F.2).
CASES = (
    Case("numbers", 1, 1024, 1, 16, 6),
    Case("numbers", 1, 512, 1, 16, 6),
    Case("numbers", 16, 100, 1, 16, 6),
    Case("numbers", 512, 10, 1, 16, 6),
    Case("tiles", 32, 25, 400, 64, 4),
    Case("tiles", 32, 9, 400, 64, 4),
    Case("tiles", 32, 4, 400, 64, 4),
)


def main() -> int:
    """Measures, prints and writes; or fills tables. 1 when outputs disagree."""
    options = _options()
    if options.peak is not None:
        print(_peak(CASES[options.peak], options.side))
        return 0
    if options.markdown is not None:
        for page in options.markdown:
            page.write_text(filled(json.loads((options.out or RESULTS).read_text()), page.read_text()))
        return 0
    rows = [row for number, case in enumerate(CASES) for row in _measured(number, case, options)]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(to_json({**_circumstances(), "rows": rows}))
    return int(any(row["verdict"] != "agree" for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="PyTorch's threads, measured in turn")
    parser.add_argument("--repeats", type=int, default=200, help="most rounds a case")
    parser.add_argument("--seconds", type=float, default=4.0, help="time a case, but at least five rounds")
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="PAGE", help="fill pages")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)  # the number of a case, in a fresh process
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(number: int, case: Case, options: argparse.Namespace) -> list[Row]:
    """Rows of one case, one for each number of threads."""
    torch.set_num_threads(1)
    facts = {key: getattr(case, key) for key in ("what", "batch", "n", "features", "hidden", "steps")}
    facts |= compare(case)
    if facts["verdict"] == "agree":
        facts["peak_bytes"] = {side: _peak_apart(number, side) for side in SIDES}
    rows = []
    for threads in options.threads:
        row = {**facts, "threads": threads}
        if facts["verdict"] == "agree":
            torch.set_num_threads(threads)
            calls = {side: partial(step, net, case.sets()) for side, net in case.nets().items()}
            calls["pytorch"] = partial(_without_library, calls["ours"])
            row |= _summed_up(interleaved(calls, seconds=options.seconds, repeats=options.repeats))
        print(_line(row), flush=True)
        rows.append(row)
    return rows


def step(net: nn.Module, sets: Tensor) -> dict[str, Tensor]:
    """Forward and backward: what was put in order, and the gradients of its squared distance to the sorted set."""
    net.zero_grad()
    sequence = net(sets)[0]
    (sequence - sets.sort(1).values).square().mean().backward()
    slopes = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {"sequence": sequence.detach(), **slopes}


def _without_library(call: partial[dict[str, Tensor]]) -> object:
    with _native.disabled():
        return call()


def compare(case: Case) -> Row:
    """The verdict, "agree" or what differs, and the errors behind it."""
    single = {f"{side}_float32": step(net, case.sets()) for side, net in case.nets().items()}
    double = {side: step(net.double(), case.sets().double()) for side, net in case.nets().items()}
    found = {"peer_float64": double["peer"], **single}
    errors = {name: _error(answer, double["ours"]) for name, answer in found.items()}
    same = errors["peer_float64"] <= _SAME and errors["ours_float32"] <= _OUR_FLOAT32
    return {"verdict": "agree" if same else "they differ", "errors": errors}


def _error(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    """The largest one, of the sequence or of the slopes, relative to its largest magnitude (some slopes are 0)."""
    errors = {name: float((found[name].reshape(t.shape).double() - t).abs().max()) for name, t in truth.items()}
    sizes = {name: float(t.abs().max()) for name, t in truth.items()}
    sequence = errors.pop("sequence") / sizes.pop("sequence")
    return max(sequence, max(errors.values()) / max(sizes.values()))


def _summed_up(times: dict[str, list[float]]) -> Row:
    """Medians with quartiles in microseconds, and how many times as long the peer takes."""
    row: Row = {"rounds": len(times["ours"])}
    row |= {f"{name}_us": [1e6 * t for t in quartiles(samples)] for name, samples in times.items()}
    for ratio, side in (("ratio", "ours"), ("pytorch_ratio", "pytorch")):
        row[ratio] = row["peer_us"][1] / row[f"{side}_us"][1]
        row[f"{ratio}_quartiles"] = quartiles([p / o for p, o in zip(times["peer"], times[side])])[::2]
    return row


# ------------------------------------------------------------------------------------------------------------- memory


def _peak(case: Case, side: str) -> int | None:
    """By how much one step raises the peak of this process's memory, after a small one that loads what it needs."""
    torch.set_num_threads(1)
    net, sets = case.nets()[side], case.sets()
    step(net, sets[:1, :4].clone())
    return peak_memory(partial(step, net, sets))


def _peak_apart(number: int, side: str) -> int | None:
    """The same in a fresh process, where what is freed is gone: no holes in the heap are counted."""
    command = [sys.executable, __file__, "--peak", str(number), "--side", side]
    alone = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=alone).stdout.split()[-1]
    return None if said == "None" else int(said)


# ------------------------------------------------------------------------------------------------------------- tables


def _line(row: Row) -> str:
    first = f"{row['what']:8} {_size(row):12} d {row['features']:<4} {row['threads']} thread(s)"
    if "ratio" not in row:
        return f"{first} {row['verdict']} {row['errors']}"
    times = " ".join(f"{with_quartiles(row[f'{side}_us']):26}" for side in ("ours", "pytorch", "peer"))
    return f"{first} {times} {row['ratio']:.2f} {row['pytorch_ratio']:.2f} {row['peak_bytes']} {row['errors']}"


def _size(row: Row) -> str:
    return f"{row['batch']} × {row['n']}"


def filled(report: Row, text: str) -> str:
    """A page's text with its tables made from the report."""
    sections = {"speed": _speed, "memory": _memory, "how": _how}
    return MARK.sub(lambda m: f"{m[1]}\n{sections[m[2]](report)}\n\n{m[3]}", text)


def _speed(report: Row) -> str:
    head = ["sets", "features", "hidden", "steps", "threads", "ours", "plain / ours", "in PyTorch alone"]
    body = [
        [_size(row).replace(" ", "\u00a0"), *(str(row[key]) for key in ("features", "hidden", "steps", "threads")),
         time(row["ours_us"][1]), f"{row['ratio']:.2f}", f"{row['pytorch_ratio']:.2f}"]
        for row in report["rows"] if "ratio" in row
    ]  # fmt: skip
    return table(head, body)


def _memory(report: Row) -> str:
    head = ["sets", "features", "hidden", "ours", "plain", "plain / ours"]
    body = []
    for row in report["rows"]:
        ours, peer = (row.get("peak_bytes", {}).get(side) for side in SIDES)
        # Below some megabytes a peak is that of the allocator.
        if row["threads"] == 1 and ours and peer and peer > 2**23:
            sizes = [f"{found / 2**20:,.1f} MiB" for found in (ours, peer)]
            first = [_size(row).replace(" ", "\u00a0"), str(row["features"]), str(row["hidden"])]
            body.append([*first, *sizes, f"{peer / ours:.1f}"])
    return table(head, body)


def _how(report: Row) -> str:
    made = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    kind = report["machine"]
    return (
        f"Measured by `{report['command']}` on {kind['cpu']}, {kind['cores']} cores, {kind['os']}, {report['date']}; "
        f"Python {kind['python']}, {made}; C library {'used' if report['native'] else 'not used'} where not told "
        "otherwise."
    )


def _circumstances() -> Row:
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/ordering.py", *arguments]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions("unshuffle", "torch"),
        "native": _native.available(),
    }


if __name__ == "__main__":
    sys.exit(main())
