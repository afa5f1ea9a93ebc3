"""Permutation-Optimisation, measured cell by cell: sorting, mosaics, implicit permutations, the ablation of appendix D.

Run: python benchmarks/permutation_optimisation.py --list
     python benchmarks/permutation_optimisation.py --cells 'numbers/*' --data data/
     python benchmarks/permutation_optimisation.py --markdown docs/reproduce.md     (fills its tables, measures nothing)

A finished cell is one JSON line of the results file, with its settings, seconds, machine, date and command; it is not
measured again while that line is there. A cell that is stopped goes on where it was: trainings are runs below --runs.
``--data`` is a folder with MNIST and CIFAR-10 in a layout that ``--dataset mnist`` and ``--dataset cifar10`` read.
"""

from __future__ import annotations

import argparse
import json
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from permutation_cells import CELLS, Cell, Options, measure
from permutation_tables import fill
from unshuffle.evals.results import stamp

RESULTS = Path(__file__).parent / "results" / "permutation_optimisation.jsonl"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The finished cells of a results file, by name."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["cell"]: line for line in map(json.loads, lines)}


def finished(cell: Cell, options: Options) -> dict[str, Any]:
    """Measures one cell."""
    began = time.monotonic()
    values = measure(cell, options)
    mark = stamp(cell.name, "test", cell.name)
    return {
        "cell": cell.name, "values": values, "settings": cell.settings(options), "seconds": time.monotonic() - began,
        "machine": mark.machine, "date": mark.date, "command": f"python benchmarks/{mark.command}",
    }  # fmt: skip


def main() -> None:
    """Measures the cells that are asked for and not there yet, or fills tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["*"], help="names, or patterns of names")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where MNIST and CIFAR-10 lie")
    parser.add_argument("--runs", type=Path, default=Path("runs/permutation-optimisation"), help="trainings go here")
    parser.add_argument("--epochs", type=int, help="of mosaics and classifiers, in place of the paper's 20")
    parser.add_argument("--images", type=int, help="use so many images of either part only")
    parser.add_argument("--sets", type=int, default=64, help="sets of numbers in each cell of the evaluation")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    parser.add_argument("--list", action="store_true", help="name the cells, and whether each is measured")
    parser.add_argument("--markdown", type=Path, nargs="+", help="fill these pages from the results, measure nothing")
    asked = parser.parse_args()
    done = read(asked.out)
    if asked.markdown:
        for page in asked.markdown:
            page.write_text(fill(done, page.read_text()))
        return
    chosen = [cell for cell in CELLS.values() if any(fnmatch(cell.name, pattern) for pattern in asked.cells)]
    if not chosen:
        parser.error(f"no cell is named {' or '.join(asked.cells)}; see --list")
    if asked.list:
        print("\n".join(f"{'done' if cell.name in done else '-':5} {cell.name}" for cell in chosen))
        return
    torch.set_num_threads(max(1, torch.get_num_threads()))
    options = Options(asked.data, asked.runs, asked.epochs, asked.images, asked.sets, asked.device)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for cell in chosen:
        if cell.name in done:
            continue
        print(cell.name, flush=True)
        line = finished(cell, options)
        with open(asked.out, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"  {line['seconds']:.0f} s: {json.dumps(line['values'])[:300]}", flush=True)


if __name__ == "__main__":
    main()
