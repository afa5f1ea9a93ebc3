"""The measurements of Shuffle to Learn, at a size for a processor.

Run: python benchmarks/shuffle_to_learn --data DATA                    all cells that are not finished, in their order
     python benchmarks/shuffle_to_learn --data DATA --cells 'notes/*'  some of them; two programs may share the work
     python benchmarks/shuffle_to_learn --markdown docs/reproduce.md   the tables from the results
     python benchmarks/shuffle_to_learn --figures docs/images          the figures from the results

DATA holds gm_notes.zip, fsdd.zip, flowers128.zip, osr_scenes_gray128.zip, mnist.npz and tools/make_motion_clips.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import clips  # noqa: E402
import figures  # noqa: E402
import gradients  # noqa: E402
import photos  # noqa: E402
import recordings  # noqa: E402
import search  # noqa: E402
import tables  # noqa: E402

import cells  # noqa: E402

RESULTS = HERE.parent / "results" / "shuffle_to_learn.jsonl"


def main() -> None:
    """Measures, lists or renders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.options(parser, RESULTS)
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw the figures into a folder")
    given = parser.parse_args()
    if given.markdown is not None:
        tables.fill(given.out, given.markdown)
        return
    if given.figures is not None:
        figures.draw(given.out, given.figures)
        return
    every = [
        *search.cells(given.data), *recordings.cells(given.data), *clips.cells(given.data), *photos.cells(given.data),
        *gradients.cells(given.data),
    ]  # fmt: skip
    cells.run(every, parser, given)


if __name__ == "__main__":
    main()
