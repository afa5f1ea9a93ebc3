"""The measurements of GroCo and of its baseline, at a size for a processor: CIFAR-10, a quarter of ResNet-18's width.

Run: python benchmarks/groco --data DATA                    all cells that are not finished, the most telling ones first
     python benchmarks/groco --data DATA --cells 'table4/*' some of them; two programs may share the work
     python benchmarks/groco --data DATA --images 50000 --epochs 100 --width 64 --device cuda    at another size
     python benchmarks/groco --markdown docs/reproduce.md   the tables from the results

DATA holds cifar10_jpeg_train.npz and cifar10_jpeg_test.npz (or the binary batches), and for table 5 mnist.npz,
flowers128.zip and osr_scenes_gray128.zip. Cells of another size than the usual one have that in their names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import groco_cells  # noqa: E402
import groco_tables  # noqa: E402
from groco_training import USUAL  # noqa: E402

import cells  # noqa: E402
import sized  # noqa: E402

RESULTS = HERE.parent / "results" / "groco.jsonl"


def main() -> None:
    """Measures, lists or renders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.options(parser, RESULTS)
    sized.options(parser, USUAL, width="of ResNet-18's first stage; 64 is the whole")
    given = parser.parse_args()
    if given.markdown is not None:
        groco_tables.fill(given.out, given.markdown)
        return
    cells.run(groco_cells.cells(given.data, sized.given(given)), parser, given)


if __name__ == "__main__":
    main()
