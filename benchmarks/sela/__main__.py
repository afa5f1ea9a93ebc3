"""The measurements of self-labelling and of its baselines, at a size for a processor: CIFAR-10, a thin AlexNet.

Run: python benchmarks/sela --data DATA                    all cells that are not finished, the most telling ones first
     python benchmarks/sela --data DATA --cells 'full/*'   some of them; two programs may share the work
     python benchmarks/sela --data DATA --images 50000 --epochs 400 --width 96 --device cuda    at another size
     python benchmarks/sela --markdown docs/reproduce.md   the tables from the results
     python benchmarks/sela --figures docs/images          the labels over time, as a picture

DATA holds cifar10_jpeg_train.npz and cifar10_jpeg_test.npz (or the binary batches), mnist.npz and flowers128.zip. Cells
of another size than the usual one have that in their names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import sela_cells  # noqa: E402
import sela_figures  # noqa: E402
import sela_tables  # noqa: E402
from sela_training import USUAL  # noqa: E402

import cells  # noqa: E402
import sized  # noqa: E402

RESULTS = HERE.parent / "results" / "sela.jsonl"


def main() -> None:
    """Measures, lists, renders or draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.options(parser, RESULTS)
    sized.options(parser, USUAL, width="channels of the first layer; 96 is the paper's")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw the labels over time")
    given = parser.parse_args()
    if given.figures is not None:
        sela_figures.draw(given.out, given.figures)
        return
    if given.markdown is not None:
        sela_tables.fill(given.out, given.markdown)
        return
    cells.run(sela_cells.cells(given.data, sized.given(given)), parser, given)


if __name__ == "__main__":
    main()
