"""What every picture is drawn on: ink, ground, colours, and a PNG at the end.

One picture serves light and dark pages: the ground is transparent and the ink a grey that reads on both. Matplotlib is
imported on first use, without pyplot, and the reader's own style and backend are left alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from unshuffle.report.fonts import beginning, make_readable

Arrays = Mapping[str, np.ndarray]

INK, WRONG = "#7d8492", "#dd4b3e"
# Of middling lightness, so that each reads on white and on black.
TEN = ["#3f87d9", "#ee8a2b", "#3ca65c", "#d9534f", "#9673c9", "#a4725a", "#dd79b8", "#8a8f98", "#b3a62a", "#2fb3c4"]
_STYLE = {
    "text.parse_math": False,  # a `$` in a label is a dollar, not mathematics
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "font.size": 9.5,
    "agg.path.chunksize": 10_000,
}
_DPI = 192  # twice that of a page, for sharp screens


def need(arrays: Arrays, *names: str) -> list[np.ndarray]:
    """The arrays of these names.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"its file must hold the arrays {', '.join(names)}; missing: {', '.join(missing)}.")
    return [arrays[name] for name in names]


@contextmanager
def style() -> Iterator[None]:
    """Ink and ground of every picture, for as long as one is drawn."""
    try:
        import matplotlib.style
    except ModuleNotFoundError as error:
        raise ImportError("pictures need matplotlib: pip install 'unshuffle[train]'") from error
    with matplotlib.style.context(["default", _STYLE]):
        yield


def blank(width: float, height: float) -> tuple[Any, Any]:
    """A figure of that many inches, and its axes."""
    figure, (axes,) = panels(width, height, 1)
    return figure, axes


def panels(width: float, height: float, count: int) -> tuple[Any, list[Any]]:
    """A figure of that many inches, and several axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, count, place) for place in range(1, count + 1)]


@contextmanager
def board(width: float, height: float, *, inches: float) -> Iterator[tuple[Any, Any]]:
    """One bare pair of axes for many small images: units are ``inches`` long, y runs downwards."""
    figure, axes = blank(width * inches, height * inches)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    yield figure, axes


def tile(
    axes: Any,
    picture: np.ndarray,
    x: float,
    y: float,
    width: float,
    *,
    spectrogram: bool = False,
    frame: str | None = None,
) -> None:
    """One picture, (H, W) or (H, W, 3) in [0, 1], at (x, y), ``width`` wide and 1 high."""
    axes.imshow(
        np.clip(np.nan_to_num(np.asarray(picture, dtype=float)), 0, 1),
        extent=(x, x + width, y + 1, y),
        aspect="auto",
        origin="lower" if spectrogram else "upper",
        cmap="magma" if spectrogram else "gray",
        vmin=0,
        vmax=1,
    )
    if frame:
        axes.plot([x, x + width, x + width, x, x], [y, y, y + 1, y + 1, y], color=frame, lw=2, clip_on=False)


def palette(count: int) -> list[Any]:
    """As many colours, each of which reads on white and on black."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if count <= 10:
        return [to_rgb(colour) for colour in TEN[:count]]
    if count <= 20:
        return list(colormaps["tab20"].colors)[:count]  # type: ignore[attr-defined]
    return [colour[:3] for colour in colormaps["turbo"](np.linspace(0.05, 0.95, count))]


def short(name: str, most: int = 24) -> str:
    """A name as long as a legend holds."""
    return beginning(name, most)


def finished(figure: Any) -> bytes:
    """The figure as a PNG, all of its text in fonts that have it."""
    make_readable(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.03)
    return buffer.getvalue()
