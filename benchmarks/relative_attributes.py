"""Relative attributes of outdoor scenes: the tables of DeepPermNet at a size for a processor.

Run: python benchmarks/relative_attributes.py --data DATA                      all cells that are not finished
     python benchmarks/relative_attributes.py --data DATA --cells 'matrix/*'   some of them; two programs may share them
     python benchmarks/relative_attributes.py --markdown docs/reproduce.md     the tables from the results
     python benchmarks/relative_attributes.py --data DATA --effort 0.02 --out trial.jsonl     a rehearsal

DATA holds osr_scenes_gray128.zip.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cells
import relative_cells
import relative_tables

RESULTS = Path(__file__).resolve().parent / "results" / "relative_attributes.jsonl"


def main() -> None:
    """Measures, lists or renders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.options(parser, RESULTS)
    parser.add_argument("--effort", type=float, default=1.0, help="share of the usual epochs; less is a rehearsal")
    given = parser.parse_args()
    if given.markdown is not None:
        relative_tables.fill(given.out, given.markdown)
        return
    if given.effort != 1 and given.out == RESULTS:
        parser.error("a rehearsal is no result: give it another --out")
    cells.run(relative_cells.cells(given.data, given.effort), parser, given)


if __name__ == "__main__":
    main()
