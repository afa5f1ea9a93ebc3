"""DeepPermNet on patches of photographs: how well they are put back, and what the features are worth.

Run: python benchmarks/deepperm_patches.py --data DATA                     all cells that are not finished
     python benchmarks/deepperm_patches.py --data DATA --cells '*/3x3/0'   some of them; two programs may share them
     python benchmarks/deepperm_patches.py --markdown docs/reproduce.md    the tables from the results
     python benchmarks/deepperm_patches.py --figures docs/images           the pictures from the results

DATA holds flowers128.zip, whose images alone are learnt from, and osr_scenes_gray128.zip.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from time import process_time

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

import cells
from cells import Cell, Line
from pictures import flowers, scenes
from render import table
from training import FIXED, RANDOM, RAW, SOFT, Data, Pretrained, as_line, judged, pretrain, with_loss
from unshuffle import permutations
from unshuffle.data.patching import Grid
from unshuffle.evals import linear_probe, stamp
from unshuffle.evals.puzzles import solve
from unshuffle.losses import AuthorsSinkhorn, FixedPermutations, NaiveSigmoid, SinkhornCrossEntropy
from unshuffle.nets import SmallConv
from unshuffle.recipes import DeepPermRecipe, ShuffleRecipe, deepperm, shuffle
from unshuffle.report.figures import palette, style
from unshuffle.types import Result

RESULTS = Path(__file__).resolve().parent / "results" / "deepperm_patches.jsonl"
MARK = re.compile(r"(<!-- patches: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN, NONE = "not run", "–"

NAIVE, AUTHORS, SINKHORN = "naive sigmoids", "the authors' layer", "Sinkhorn, converged"
LAYERS = {NAIVE: NaiveSigmoid(), AUTHORS: AuthorsSinkhorn(), SINKHORN: SinkhornCrossEntropy()}
SHUFFLE = {SOFT: "Shuffle to Learn", FIXED: "fixed permutations, classified"}
GRIDS = {3: Grid(3, 3, gap=6), 4: Grid(4, 4, gap=4)}
SIZE, EPOCHS, SEEDS = 128, 15, (0,)
KENDALL = "pretext: Kendall tau"
# DeepPermNet, section 4.3, on ImageNet: Kendall tau of held-out images, 3 × 3; VOC 2007 classification, % mAP.
PAPER = {(NAIVE, 3): ("0.64", "65.9"), (SINKHORN, 3): ("0.72", "69.4")}


# ---------------------------------------------------------------------------------------------------------------- cells


def recipe(method: str, size: int) -> DeepPermRecipe | ShuffleRecipe:
    """The user's recipes with half their channels, on the same patches and for as many epochs."""
    common = {"backbone": SmallConv(width=16), "patches": GRIDS[size], "epochs": EPOCHS}
    if method in LAYERS:
        return replace(deepperm(), loss=LAYERS[method], **common)
    return with_loss(replace(shuffle(), **common), method)


def measured(folder: Path) -> list[Cell]:
    """All measurements, the 3 × 3 of the layers first."""
    asked = [(method, 3) for method in (*LAYERS, *SHUFFLE)] + [(method, 4) for method in LAYERS]
    return [
        Cell(f"{_word(method)}/{size}x{size}/{seed}", partial(_cell, folder, method, size, seed))
        for seed in SEEDS
        for method, size in asked
    ]


def _word(method: str) -> str:
    return re.sub(r"[^\w]+", "-", method)


def _cell(folder: Path, method: str, size: int, seed: int) -> list[Line]:
    data, others = flowers(folder, SIZE), scenes(folder, SIZE)
    layer, beside = _layer(method, size), {}
    if method == SINKHORN:
        beside = {"raw": f"{RAW}, {size} × {size}", "random": f"{RANDOM}, {size} × {size}"}
    began = process_time()
    done = pretrain(recipe(method, size), data.train, seed=seed)
    seconds = process_time() - began
    name = "deepperm" if method in LAYERS else "shuffle"
    probed = partial(judged, done, layer=layer, beside=beside, probe=linear_probe, seed=seed, recipe=name)
    lines = probed(data, counts=(len(data.train),))
    moved = probed(others, counts=(len(others.train),))
    lines += [line for line in moved if line["record"] == "result" and "pretext" not in line["task"]]
    trained = {"record": "training", "layer": layer, "cpu_seconds": round(seconds, 1), "filters": _filters(done)}
    return [*lines, *_solved(done, data, layer, name, seed), trained]


def _layer(method: str, size: int) -> str:
    return f"{SHUFFLE.get(method, method)}, {size} × {size}"


def _solved(done: Pretrained, data: Data, layer: str, name: str, seed: int) -> list[Line]:
    """Kendall's tau of the held-out photographs; a classifier of a fixed set of orders is not asked."""
    if isinstance(done.encoder.objective, FixedPermutations):
        return []
    solved = solve(done.encoder, data.test, seed=seed)
    tau = float(permutations.kendall_tau(solved.predicted, solved.true).mean())
    mark = stamp(data.name, "test", name)
    return [as_line(Result(KENDALL, "tau", tau, len(data.test), seed, layer=layer, **mark._asdict()))]


def _filters(done: Pretrained) -> list:
    first = next(m for m in done.encoder.net.modules() if isinstance(m, torch.nn.Conv2d))
    return [[round(number, 4) for number in kernel.flatten().tolist()] for kernel in first.weight]


# --------------------------------------------------------------------------------------------------------------- tables


def filled(lines: list[Line], text: str) -> str:
    """A page's text with its tables made from the results."""
    return MARK.sub(lambda m: f"{m[1]}\n{SECTIONS[m[2]](lines)}\n\n{m[3]}", text)


def _restored(lines: list[Line]) -> str:
    """How well held-out photographs are put back."""
    asked = [(method, 3) for method in (*LAYERS, SOFT)] + [(method, 4) for method in LAYERS]
    rows = [
        [
            _layer(method, size),
            *(_found(lines, task, _layer(method, size)) for task in (KENDALL, PARTIAL, EXACT)),
            PAPER.get((method, size), (NONE, NONE))[0],
        ]
        for method, size in asked
    ]
    rows += [["by chance, 3 × 3", "0", f"{1 / 9:.3f}", "0.000", NONE]]
    return _with_how(lines, table(["", "Kendall tau", "patches in place", "whole images", "paper: Kendall tau"], rows))


def _transfer(lines: list[Line]) -> str:
    """A linear probe of the same kind on frozen features, all labels."""
    layers = [(f"{RAW}, 3 × 3", None), (f"{RANDOM}, 3 × 3", None)]
    layers += [(_layer(method, 3), (method, 3)) for method in (*LAYERS, *SHUFFLE)]
    layers += [(f"{RANDOM}, 4 × 4", None)] + [(_layer(method, 4), (method, 4)) for method in LAYERS]
    rows = [
        [
            name, _found(lines, "class", name), _found(lines, "category", name), _cost(lines, name),
            NONE if key is None else PAPER.get(key, (NONE, NONE))[1],
        ]
        for name, key in layers
    ]  # fmt: skip
    head = ["features", "flowers, of 5", "scenes, of 8", "training, seconds of a core", "paper: VOC 2007, % mAP"]
    return _with_how(lines, table(head, rows))


PARTIAL, EXACT = "pretext: partial ranks", "pretext: exact order"
SECTIONS = {"restored": _restored, "transfer": _transfer}


def _found(lines: list[Line], task: str, layer: str) -> str:
    values = [v["value"] for v in lines if v["record"] == "result" and (v["task"], v["layer"]) == (task, layer)]
    return f"{fmean(values):.3f}" if values else NOT_RUN


def _cost(lines: list[Line], layer: str) -> str:
    seconds = [v["cpu_seconds"] for v in lines if v["record"] == "training" and v["layer"] == layer]
    return f"{fmean(seconds):.0f}" if seconds else NONE


def _with_how(lines: list[Line], made: str) -> str:
    command = "`python benchmarks/deepperm_patches.py --data DATA`"
    if not lines:
        return f"{made}\n\nNot run; {command} measures it."
    when = ", ".join(sorted({f"{line['machine']}, {line['date']}" for line in lines if line["record"] == "result"}))
    minutes = sum(line["cpu_seconds"] for line in lines if line["record"] == "cost") / 60
    return f"{made}\n\nMeasured by {command} on {when}: {minutes:.0f} minutes of one core."


# ------------------------------------------------------------------------------------------------------------- pictures


def draw(lines: list[Line], folder: Path) -> None:
    """Writes the two pictures as SVG and PNG, of what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = {line["cell"]: line for line in lines if line["record"] == "curve"}
    trained = [line for line in lines if line["record"] == "training"]
    filters = {line["layer"]: np.array(line["filters"]).reshape(-1, 3, 3, 3) for line in trained}
    with style(), rc_context({"svg.hashsalt": "unshuffle"}):  # the same file from the same lines
        if curves:
            _convergence(curves).savefig(folder / "deepperm_convergence.svg", metadata={"Date": None})
        if filters:
            _first_layers(filters).savefig(folder / "deepperm_filters.png", dpi=100, metadata={"Software": None})


def _convergence(curves: dict[str, Line]) -> Figure:
    """Patches in place of photographs kept out of the training, after each epoch."""
    names = {size: {method: f"{_word(method)}/{size}x{size}/{SEEDS[0]}" for method in LAYERS} for size in GRIDS}
    shown = {size: own for size, own in names.items() if any(name in curves for name in own.values())}
    figure = Figure(figsize=(4 * len(shown), 3.2), layout="constrained")
    for (size, own), axes in zip(shown.items(), figure.subplots(1, len(shown), squeeze=False)[0]):
        for color, (method, name) in zip(palette(len(LAYERS)), own.items()):
            if name in curves:
                line = curves[name]
                axes.plot(line["step"], line["partial_ranks"], label=method, color=color)
        axes.axhline(1 / size**2, color="grey", linewidth=0.8, linestyle=":", label="by chance")
        axes.set(xlabel="step", ylabel="patches in place", title=f"{size} × {size}")
    figure.axes[0].legend(frameon=False)
    return figure


def _first_layers(filters: dict[str, np.ndarray]) -> Figure:
    """A row of filters for each network, each filter in its own range."""
    most = max(len(weight) for weight in filters.values())
    figure = Figure(figsize=(8, 0.75 * len(filters)), layout="constrained")
    grid = figure.subplots(len(filters), most, squeeze=False)
    for row, (layer, weight) in zip(grid, filters.items()):
        for axes in row:
            axes.set_axis_off()
        for axes, kernel in zip(row, weight):
            low, high = kernel.min(), kernel.max()
            axes.imshow(((kernel - low) / (high - low)).transpose(1, 2, 0), interpolation="nearest")
        row[0].set_title(layer, loc="left", fontsize=7)
    return figure


def main() -> None:
    """Measures, lists or renders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.options(parser, RESULTS)
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw the pictures into a folder")
    given = parser.parse_args()
    if given.figures is not None or given.markdown is not None:
        _render(given.out, given.markdown or (), given.figures)
        return
    cells.run(measured(given.data or Path()), parser, given)


def _render(results: Path, pages: Sequence[Path], folder: Path | None) -> None:
    lines = cells.read(results)
    for page in pages:
        page.write_text(filled(lines, page.read_text()))
    if folder is not None:
        draw(lines, folder)


if __name__ == "__main__":
    main()
