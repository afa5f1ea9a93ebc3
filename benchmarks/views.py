"""Measures views of images beside the same pipeline in Pillow, on the same draws, one thread; see README.md.

Run: python benchmarks/views.py [--out benchmarks/results/views.json]
     python benchmarks/views.py --markdown docs/guides/views.md     (fills that page's tables)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import one_table
import pillow_views
from one_table import between, circumstances, fill, measured_by, save
from timing import interleaved, quartiles
from unshuffle.data.blur import blurred
from unshuffle.data.views import MultiView, dino_multi_crop, dino_views, simclr_views
from unshuffle.types import Raw

RESULTS = Path(__file__).parent / "results" / "views.json"
BEGIN, END = "<!-- views: written by benchmarks/views.py -->", "<!-- end of views -->"
_SAME = 2.5  # mean difference of brightness, of 255: what Pillow's rounding after every step comes to, and more
SIGMAS = (0.5, 1.0, 2.0)


class Case(NamedTuple):
    """Views of ``batch`` images of ``side`` pixels a side."""

    name: str
    views: MultiView
    side: int
    batch: int


def local(views: MultiView) -> MultiView:
    """The small crops alone."""
    crops = views.recipes[views.positives :]
    return replace(views, recipes=crops, positives=len(crops))


CASES = (
    Case("DINO, 2 views", dino_views(32), 32, 256),
    Case("SimCLR, 2 views", simclr_views(32), 32, 256),
    Case("DINO, 2 views", dino_views(224), 256, 16),
    Case("SimCLR, 2 views", simclr_views(224), 256, 16),
    Case("6 local crops", local(dino_multi_crop()), 256, 16),
)


def main() -> int:
    """Measures, prints and writes; or fills the table. 1 when outputs disagree."""
    options = one_table.options(__doc__, seconds=20.0, threads=False).parse_args()
    if options.markdown is not None:
        fill(filled, options.out or RESULTS, options.markdown)
        return 0
    torch.set_num_threads(1)
    rows = [measured(case, options.seconds) for case in CASES]
    gaussian = {str(sigma): from_gaussian(sigma) for sigma in SIGMAS}
    save({**circumstances("pillow"), "rows": rows, "gaussian": gaussian}, options.out)
    return int(any(row["difference"] > _SAME for row in rows))


def measured(case: Case, seconds: float) -> dict[str, Any]:
    """How far the two are apart, and how long they take for one view."""
    pixels = photos(case.batch, case.side)
    calls = {"ours": _ours(case, pixels), "pillow": _pillow(case, pixels)}
    difference = apart(case, calls["ours"](), calls["pillow"]())
    times = interleaved(calls, seconds=seconds, repeats=200)
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["pillow"])]
    views = case.batch * case.views.views
    row = {
        "views": case.name, "side": case.side, "size": case.views.recipes[0].crop.size, "batch": case.batch,
        "ratio": quartiles(ratios), "difference": difference,
        **{f"{name}_seconds": [time / views for time in quartiles(times[name])] for name in times},
    }  # fmt: skip
    print(
        f"{case.name}, {row['size']} px: {row['ratio'][1]:.2f} times our time, {difference:.2f} of 255 apart",
        flush=True,
    )
    return row


def photos(count: int, side: int) -> Tensor:
    """Smooth colours with some noise, (count, 3, side, side) uint8."""
    rng = np.random.default_rng(side)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    large = np.stack([np.array(Image.fromarray(s).resize((side, side), Image.Resampling.BICUBIC)) for s in small])
    noisy = (large + rng.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(noisy).permute(0, 3, 1, 2).contiguous()


def _ours(case: Case, pixels: Tensor) -> Callable[[], list[Tensor]]:
    raw = Raw(pixels, torch.arange(len(pixels)))
    return lambda: list(case.views(raw, torch.Generator().manual_seed(0)).views)


def _pillow(case: Case, pixels: Tensor) -> Callable[[], list[Tensor]]:
    """The same draws, which cost either side the same; images are Pillow's already, as decoders leave them."""
    pictures = [pillow_views.picture(image) for image in pixels]
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (case.views.mean, case.views.std))

    def call() -> list[Tensor]:
        generator, made = torch.Generator().manual_seed(0), []
        for recipe in case.views.recipes:
            drawn = pillow_views.Numbers(recipe.draw(len(pictures), case.side, case.side, generator))
            views = (pillow_views.view(image, drawn, k, recipe.crop.size) for k, image in enumerate(pictures))
            made.append(torch.stack([pillow_views.normalised(view, mean, std) for view in views]))
        return made

    return call


def apart(case: Case, ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The mean difference of the pixels, of 255."""
    std = torch.tensor(case.views.std)[:, None, None]
    return float(torch.stack([(a - b).mul(255 * std).abs().mean() for a, b in zip(ours, theirs)]).mean())


def from_gaussian(sigma: float) -> float:
    """The mean difference of Pillow's blur, as ours, from a true Gaussian's, of 255; borders are left out."""
    images, reach = photos(8, 96).float(), 16
    offsets = torch.arange(-reach, reach + 1)
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    line = (line / line.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    truth = torch.nn.functional.conv2d(images, line, groups=3)
    truth = torch.nn.functional.conv2d(truth, line.transpose(2, 3), groups=3)
    ours = blurred(images, torch.full((len(images),), sigma))[..., reach:-reach, reach:-reach]
    return float((ours - truth).abs().mean())


def filled(report: dict[str, Any], text: str) -> str:
    """The page's text with the table of a report."""
    return between(text, BEGIN, END, _table(report))


def _table(report: dict[str, Any]) -> str:
    lines = [
        "| views | pixels | images | ours | Pillow | Pillow's time in ours | apart, of 255 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["rows"]:
        low, middle, high = row["ratio"]
        lines.append(
            f"| {row['views']} | {row['side']} → {row['size']} | {row['batch']} | {_time(row['ours_seconds'][1])} | "
            f"{_time(row['pillow_seconds'][1])} | **{middle:.2g}** ({low:.2g}–{high:.2g}) | {row['difference']:.2g} |"
        )
    about = "Time of one view, from bytes to normalised numbers, one thread; medians (quartiles of the rounds' ratios)"
    blur = ", ".join(f"{apart:.2g} (σ = {sigma})" for sigma, apart in report["gaussian"].items())
    told = f"The three moving averages of the blur are on average {blur} of 255 levels from a Gaussian."
    return "\n".join([*lines, "", f"{about}. {measured_by(report, 'numpy', 'pillow')}", "", told])


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


if __name__ == "__main__":
    sys.exit(main())
