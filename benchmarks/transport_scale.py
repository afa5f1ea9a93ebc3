"""Balances a matrix of ImageNet's size from disk, and smaller ones beside their peers; see README.md.

Run: python benchmarks/transport_scale.py --folder SCRATCH --out benchmarks/results/transport_scale.json
     python benchmarks/transport_scale.py --folder SCRATCH --samples 100000             (a rehearsal; of 0.6 GB)
     python benchmarks/transport_scale.py --beside --out ...                            (50,000 x 128 beside the peers)
     python benchmarks/transport_scale.py --markdown docs/ops/transport.md              (fills that page's table)

The matrix, 7.7 GB in half precision, is written to SCRATCH by a seed, once, and stays there. Each way to solve it runs
in a process of its own. Run it on an idle machine. Results of both commands go into one file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from one_table import between
from render import to_json
from timing import machine, quartiles, versions
from unshuffle import ops
from unshuffle.ops import Transport

RESULTS = Path(__file__).parent / "results" / "transport_scale.json"
BEGIN, END = "<!-- scale: written by benchmarks/transport_scale.py -->", "<!-- end of scale -->"
POWER, CLASS_TOLERANCE, MOST = 25.0, 0.01, 2000
SHARPNESS, FEATURES, NOISE = 3.0, 128, 1.0  # logits are 3 times a cosine; the noise is as long as a centre
ROWS_AT_A_TIME = 8192
BESIDE = (50_000, 128)
WAYS: dict[str, dict[str, bool]] = {"accelerated": {"accelerate": True}, "Sinkhorn's steps": {}}

Row = dict[str, Any]


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when a solution is not what it says."""
    options = _options()
    if options.markdown is not None:
        page = options.markdown.read_text()
        options.markdown.write_text(filled(json.loads((options.out or RESULTS).read_text()), page))
        return 0
    torch.set_num_threads(options.threads)
    if options.way is not None:
        print(json.dumps(solve(_path(options), (options.samples, options.classes), options.way)))
        return 0
    rows = beside() if options.beside else [*_scale(options)]
    for row in rows:
        row |= {"threads": options.threads, **_circumstances()}
    if options.out:
        _replace(options.out, rows)
    return int(any(not row["right"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the matrix is written")
    parser.add_argument("--samples", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=3000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["accelerated"], help="how to solve it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beside", action="store_true", help="measure a smaller matrix beside the peers instead")
    parser.add_argument("--out", type=Path, help="where the results go (nowhere); with --markdown, where they are")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="fill a page's table instead")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # in a process of its own
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------------------- the matrix


def blocks(samples: int, classes: int, seed: int = 0) -> Iterator[Tensor]:
    """Rows of log-probabilities: classes of Zipf's sizes, logits that are cosines to their centres.

    Uniform noise would be balanced at once. Here a ninth of all samples are of the first of 3,000 classes, and most of
    these have to go to others.
    """
    draw = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(classes, FEATURES, generator=draw), dim=-1)
    sizes = 1 / torch.arange(1, classes + 1, dtype=torch.float64)
    for first in range(0, samples, ROWS_AT_A_TIME):
        rows = min(ROWS_AT_A_TIME, samples - first)
        own = centres[torch.multinomial(sizes, rows, replacement=True, generator=draw)]
        noise = torch.randn(rows, FEATURES, generator=draw) / math.sqrt(FEATURES)
        features = torch.nn.functional.normalize(own + NOISE * noise, dim=-1)
        yield (SHARPNESS * features @ centres.T).log_softmax(-1)


def written(path: Path, samples: int, classes: int) -> float:
    """Writes the matrix where it is not there yet; how many seconds that took."""
    size, began = 2 * samples * classes, perf_counter()
    if path.exists() and path.stat().st_size == size:
        return 0.0
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for block in blocks(samples, classes):
            file.write(block.half().numpy().data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return perf_counter() - began


def _path(options: argparse.Namespace) -> Path:
    return options.folder / f"scores_{options.samples}x{options.classes}.f16"


class Watched(Sequence):
    """A matrix as one chunk, and when it was asked for: once a pass."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.times = matrix, [perf_counter()]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        self.times.append(perf_counter())
        return self.matrix

    def passes(self) -> list[float]:
        """Seconds of each pass, but for the last; the first read asked for the shape alone."""
        return np.diff(self.times[2:]).tolist()


class AnonymousMemory:
    """The most memory of this process that no file backs, in bytes, while the block of a ``with`` runs."""

    def __enter__(self) -> AnonymousMemory:
        self.peak, self._over = _anonymous(), threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, _anonymous())


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


# ---------------------------------------------------------------------------------------------------------- at scale


def _scale(options: argparse.Namespace) -> Iterator[Row]:
    """Each way in a fresh process, whose memory is then the solver's."""
    path, shape = _path(options), ("--samples", str(options.samples), "--classes", str(options.classes))
    seconds = written(path, options.samples, options.classes)
    print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB, written in {seconds:.0f} s", flush=True)
    for way in options.ways:
        command = [sys.executable, __file__, *shape, "--folder", str(options.folder), "--way", way]
        command += ["--threads", str(options.threads)]
        row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(json.dumps(row), flush=True)
        yield row


def solve(path: Path, shape: tuple[int, int], way: str) -> Row:
    """Solves a matrix from disk, from the first byte on; then looks at the answer, and how fast bytes are read."""
    _forget(path)
    size, before = path.stat().st_size, _anonymous()
    with AnonymousMemory() as memory:
        began = perf_counter()
        watched = Watched(torch.from_numpy(np.memmap(path, np.float16, "c", shape=shape)))
        found = ops.transport(
            watched, power=POWER, tolerance=1.0, class_tolerance=CLASS_TOLERANCE, max_iters=MOST, **WAYS[way]
        )
        seconds = perf_counter() - began
    passes = watched.passes()
    error = class_error(watched.matrix, found)
    return {
        "kind": "scale", "samples": shape[0], "classes": shape[1], "way": way, "bytes": size,
        "iterations": found.iterations, "seconds": seconds, "first_pass_seconds": passes[0],
        "pass_seconds": quartiles(passes), "read_seconds": read_seconds(watched.matrix),
        "anonymous_bytes": memory.peak, "anonymous_bytes_before": before,
        "class_error": found.class_error, "class_error_in_float64": error,
        "label_sizes": [int(found.sizes().min()), int(found.sizes().max())],
        "right": found.converged and error <= CLASS_TOLERANCE * (1 + 1e-3),
    }  # fmt: skip


def _forget(path: Path) -> None:
    """Asks the system to drop what it keeps of a file, so that the first pass comes from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def class_error(matrix: Tensor, found: Transport) -> float:
    """The largest relative error of a class, by a pass in float64 that shares no code with the solver's."""
    masses = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for rows in matrix.split(1024):
        masses += (POWER * rows.double() + found.class_offsets).softmax(-1).sum(0)
    return float((masses / masses.mean() - 1).abs().max())


def read_seconds(matrix: Tensor) -> float:
    """How long it takes to look at all bytes once, from the page cache."""
    words = matrix.view(-1)[: matrix.numel() // 4 * 4].view(torch.int64)
    times = []
    for _ in range(3):
        began = perf_counter()
        words.amax()
        times.append(perf_counter() - began)
    return median(times)


# ---------------------------------------------------------------------------------------------------- beside its peers


def beside() -> list[Row]:
    """Time to the same balance on the same matrix, in one process and by turns."""
    matrix = torch.cat([*blocks(*BESIDE)])
    loops = numpy_iterations(matrix)
    calls: dict[str, Callable[[], Tensor]] = {
        "accelerated": partial(_ours, matrix, accelerate=True), "Sinkhorn's steps": partial(_ours, matrix),
        "numpy": partial(_numpy, matrix, loops), "POT": partial(_pot, matrix, loops),
    }  # fmt: skip
    expected = calls["accelerated"]()
    times: dict[str, list[float]] = {name: [] for name in calls}
    rows = []
    for turn in range(3):
        for name, call in list(calls.items())[:: -1 if turn % 2 else 1]:
            began = perf_counter()
            try:
                labels = call()
            except ImportError:
                continue
            times[name].append(perf_counter() - began)
            if not turn:
                other = float((labels != expected).double().mean())
                rows.append({"kind": "beside", "way": name, "other_labels": other, "right": other < 0.02})
    for row in rows:
        mine = times["accelerated"]
        ratios = [theirs / ours for theirs, ours in zip(times[row["way"]], mine)]
        row |= {"samples": BESIDE[0], "classes": BESIDE[1], "seconds": quartiles(times[row["way"]])}
        row |= {"ratio": quartiles(ratios), "peer_iterations": loops}
        print(json.dumps(row), flush=True)
    return rows


def _ours(matrix: Tensor, *, accelerate: bool = False) -> Tensor:
    return ops.transport(
        matrix, power=POWER, tolerance=1.0, class_tolerance=CLASS_TOLERANCE, max_iters=MOST, accelerate=accelerate
    ).labels


def _powers(matrix: Tensor) -> np.ndarray:
    powers = matrix.double().numpy()
    powers -= powers.max(1, keepdims=True)
    powers *= POWER
    return np.exp(powers, out=powers)


def numpy_iterations(matrix: Tensor) -> int:
    """How many plain iterations it takes until no class is further from its share than the tolerance."""
    powers = _powers(matrix)
    samples, classes = powers.shape
    r, c = np.zeros(classes), np.full(samples, 1 / samples)
    for number in range(MOST):
        received = c @ powers
        if np.abs(classes * received * r - 1).max() <= CLASS_TOLERANCE:
            return number
        r = 1 / classes / received
        c = 1 / samples / (powers @ r)
    return MOST


def _numpy(matrix: Tensor, loops: int) -> Tensor:
    """Sinkhorn-Knopp in float64 as self-labelling's code has it, which does not look at the error meanwhile."""
    powers = _powers(matrix)
    samples, classes = powers.shape
    c = np.full(samples, 1 / samples)
    r = c[:0]
    for _ in range(loops):
        r = 1 / classes / (c @ powers)
        c = 1 / samples / (powers @ r)
    return torch.from_numpy((powers * r).argmax(1))


def _pot(matrix: Tensor, loops: int) -> Tensor:
    import ot

    cost = matrix.double().numpy()
    cost -= cost.max(1, keepdims=True)
    cost *= -POWER
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    return torch.from_numpy(ot.sinkhorn(a, b, cost, reg=1.0, numItermax=loops, stopThr=0.0, warn=False).argmax(1))


# ------------------------------------------------------------------------------------------------------------- results


def _circumstances() -> Row:
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/transport_scale.py", *arguments]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions("torch", "numpy", "POT"),
    }


_SAME = ("kind", "samples", "classes", "way", "threads")


def _replace(path: Path, rows: list[Row]) -> None:
    """Writes rows beside those of other measurements, in the place of earlier ones of the same."""
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    measured = [[row[key] for key in _SAME] for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    rest = [row for row in kept if [row[key] for key in _SAME] not in measured]
    path.write_text(to_json({"power": POWER, "class_tolerance": CLASS_TOLERANCE, "rows": [*rest, *rows]}))


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the tables of a report."""
    parts = [_scale_table(report["rows"]), _beside_table(report["rows"])]
    return between(text, BEGIN, END, "\n\n".join(part for part in parts if part))


def _scale_table(rows: list[Row]) -> str:
    rows = [row for row in rows if row["kind"] == "scale"]
    lines = [
        "| samples × classes | threads | iterations | seconds | a pass | GB/s | reading alone | anonymous memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['samples']:,} × {row['classes']:,}, {row['way']} | {row['threads']} | {row['iterations']} | "
            f"{row['seconds']:.0f} | {row['pass_seconds'][1]:.2f} s | {_speed(row, row['pass_seconds'][1])} | "
            f"{_speed(row, row['read_seconds'])} | {row['anonymous_bytes'] / 2**20:.0f} MiB |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, "", _measured(rows)]) if rows else ""


def _beside_table(rows: list[Row]) -> str:
    rows = [row for row in rows if row["kind"] == "beside"]
    lines = [
        "| samples × classes | threads | | seconds | times as long | other labels |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
        *(
            f"| {row['samples']:,} × {row['classes']:,} | {row['threads']} | {row['way']} | {row['seconds'][1]:.2f} | "
            f"{row['ratio'][1]:.1f} | {100 * row['other_labels']:.2f} % |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, "", _measured(rows)]) if rows else ""


def _speed(row: Row, seconds: float) -> str:
    return f"{row['bytes'] / seconds / 1e9:.1f}"


def _measured(rows: list[Row]) -> str:
    made = sorted({f"`{row['command']}` on {row['machine']['cpu']}, {row['date']}" for row in rows})
    return f"Until no class is further than {CLASS_TOLERANCE:.0%} from its share. Measured by {'; '.join(made)}."


if __name__ == "__main__":
    sys.exit(main())
