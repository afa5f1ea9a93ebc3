"""The page: one run's folder as a single HTML file that opens anywhere.

Nothing is fetched and nothing runs: pictures are data URIs, the style is inline, and a content security policy forbids
the rest. All text comes from a folder that strangers may have written, so all of it is escaped.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from unshuffle._files import write_atomically
from unshuffle._names import encodable
from unshuffle.report import fonts
from unshuffle.report.figures import draw, draw_curve
from unshuffle.report.read import Metrics, RunFolder, read_arrays, read_run
from unshuffle.report.sweeps import draw_sweep, sweeps
from unshuffle.report.tables import tables, to_html
from unshuffle.types import Figure, Result

_UNINTERESTING = {"seconds"}  # logged for other readers; a curve of it says nothing
_WIDE = 480  # pixels; wider pictures take a row of the page, and scroll on a phone

_STYLE = """
:root { color-scheme: light dark; --ground: #fcfcfb; --card: #ffffff; --ink: #1c1f26; --soft: #626a78; --line: #e4e5e8;
  --accent: #3557b7; --best: #eaf0ff; --warn: #fff6df; --warn-line: #e3c46e; }
@media (prefers-color-scheme: dark) { :root { --ground: #131519; --card: #191c22; --ink: #e7e9ee; --soft: #9aa2b1;
  --line: #2b2f38; --accent: #93b0ff; --best: #222d4a; --warn: #2c2616; --warn-line: #75622b; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: clamp(1.7rem, 5vw, 2.4rem); line-height: 1.2; letter-spacing: -0.02em; margin: 0.2rem 0 0.8rem; }
h2 { font-size: 1.3rem; letter-spacing: -0.01em; margin: 3.2rem 0 1.1rem; }
h3 { font-size: 1rem; margin: 0; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.kind { color: var(--accent); font-weight: 600; font-size: 0.85rem; letter-spacing: 0.04em; margin: 0; }
.summary { font-size: 1.1rem; max-width: 44rem; margin: 0 0 0.8rem; }
.facts, nav, figcaption p, .absent { color: var(--soft); font-size: 0.92rem; }
.facts { margin: 0; } nav { margin-top: 1.1rem; display: flex; flex-wrap: wrap; gap: 0.3rem 1.3rem; }
.cards { display: flex; flex-wrap: wrap; gap: 1.1rem; align-items: flex-start; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.2rem;
  max-width: 100%; margin: 0; }
.table { overflow-x: auto; flex: 1 1 auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
caption { text-align: left; padding-bottom: 0.6rem; color: var(--soft); font-size: 0.9rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 5rem); }
caption b { color: var(--ink); }
th, td { padding: 0.4rem 0.8rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: 0.88rem; border-top: 0; }
tr > :first-child { text-align: left; padding-left: 0; } tbody th { font-weight: 500; }
td strong { background: var(--best); border-radius: 5px; padding: 0.1rem 0.35rem; margin-right: -0.35rem; }
.cards + .curves { margin-top: 1.1rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.1rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1.1rem; } .pictures .card { flex: 1 1 24rem; min-width: 0; }
.pictures .wide { flex-basis: 100%; }
figcaption { margin-bottom: 0.7rem; } figcaption p { margin: 0.15rem 0 0; max-width: 46rem; }
.scroll { overflow-x: auto; } img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.wide img { min-width: 34rem; }
.note { background: var(--warn); border: 1px solid var(--warn-line); border-radius: 10px; padding: 0.7rem 1.1rem;
  margin: 1.4rem 0 0; font-size: 0.92rem; } .note p { margin: 0.15rem 0; } .card .note { margin: 0; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: 0.55rem 1.4rem;
  margin: 0 0 1.2rem; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
@media (max-width: 34rem) { main { padding-top: 1.8rem; } dl { grid-template-columns: 1fr; gap: 0.1rem; }
  dd { margin-bottom: 0.7rem; } .card { padding: 0.8rem 0.9rem; } table { font-size: 0.88rem; }
  th, td { padding: 0.4rem 0.55rem; } }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 0.85rem; }
pre { margin: 0 0 0.4rem; white-space: pre-wrap; } details pre { margin-top: 0.7rem; }
summary { cursor: pointer; color: var(--accent); }
@media print { .card { break-inside: avoid; } nav { display: none; } }
"""


def write_report(folder: Path) -> Path:
    """Writes ``report.html`` into a run's folder: its tables, learning curves and pictures, and how they were made.

    The file appears whole or not at all; an older one is replaced.

    Args:
        folder: a run's folder.

    Returns:
        The path of the page.

    Raises:
        ValueError: ``folder`` holds none of recipe.json, results.jsonl and metrics.csv.
        UnsafePath: its report.html is a link.
    """
    page = render(read_run(folder))
    path = Path(folder) / "report.html"
    # JSON can spell half a character, which UTF-8 cannot.
    write_atomically(path, lambda file: file.write(encodable(page).encode()))
    return path


def render(run: RunFolder) -> str:
    """Returns the page of a run as HTML text."""
    fonts.note()  # what earlier pictures lacked is none of this page's concern
    sections = {
        "Results": _results(run),
        "Learning curves": _curves(run.metrics),
        "Pictures": _pictures(run),
        "How this was made": _origin(run),
    }
    lacking = fonts.note()
    notes = run.notes if lacking is None else [*run.notes, lacking]
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in sections)
    body = "\n".join(
        f'<section id="{_anchor(name)}">\n<h2>{name}</h2>\n{html}\n</section>' for name, html in sections.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(run.title)} · unshuffle</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
{_header(run)}
<nav aria-label="Sections">{links}</nav>
{_note(notes)}
</header>
{body}
</main>
</body>
</html>
"""


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _header(run: RunFolder) -> str:
    summary = f'<p class="summary">{escape(run.summary)}</p>' if run.summary else ""
    counts = {"result": len(run.results), "learning run": len(run.metrics), "picture": len(run.figures)}
    facts = [f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    line = escape(" · ".join([*facts, *_dates(run)]))
    return f'<p class="kind">unshuffle report</p>\n<h1>{escape(run.title)}</h1>\n{summary}\n<p class="facts">{line}</p>'


def _note(lines: list[str]) -> str:
    return f'<aside class="note">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</aside>' if lines else ""


def _absent(text: str) -> str:
    return f'<p class="absent">{escape(text)}</p>'


def _results(run: RunFolder) -> str:
    if not run.results:
        return _absent("No results yet: nothing was evaluated in this folder.")
    cards = "\n".join(f'<div class="card table">{to_html(table)}</div>' for table in tables(run.results))
    figures = "".join(_sweep(lines) for lines in sweeps(run.results))
    return f'<div class="cards">\n{cards}\n</div>' + (f'\n<div class="curves">\n{figures}</div>' if figures else "")


def _sweep(lines: list[Result]) -> str:
    first = lines[0]
    words = f"{first.metric} on {first.data} ({first.split}) by number of labels; mean and standard deviation."
    return _card(first.task, words, f"{first.task}: {first.metric} by number of labels", lambda: draw_sweep(lines))


def _curves(metrics: list[Metrics]) -> str:
    columns = dict.fromkeys(column for run in metrics for column, _ in run.series)
    cards = [_curve(metrics, column) for column in columns if column not in _UNINTERESTING]
    if not cards:
        return _absent("No learning curves: no training was logged in this folder.")
    return f'<div class="curves">\n{"".join(cards)}</div>'


def _curve(metrics: list[Metrics], column: str) -> str:
    ends = [
        f"{' '.join(filter(None, (run.name, split)))} {values[-1]:.3g}"
        for run in metrics
        for (name, split), (_, values) in run.series.items()
        if name == column
    ]
    # More ends than a line or two holds are for the eye, not for reading.
    caption = f"Last: {' · '.join(ends)}" if len(ends) <= 6 else f"{len(ends)} curves; thin for training."
    return _card(column, caption, f"{column} by step", lambda: draw_curve(metrics, column))


def _pictures(run: RunFolder) -> str:
    if not run.figures:
        return _absent("No pictures: no evaluation left one in this folder.")
    return f'<div class="pictures">\n{"".join(_picture(run.path, figure) for figure in run.figures)}</div>'


def _picture(folder: Path, figure: Figure) -> str:
    alt = f"{figure.title} ({figure.kind})"
    return _card(figure.title, figure.caption, alt, lambda: draw(figure.kind, read_arrays(folder, figure)))


def _card(title: str, caption: str, alt: str, make: Callable[[], bytes]) -> str:
    """A picture with its words; where it cannot be drawn, a note takes its place."""
    words = f"<h3>{escape(title)}</h3>" + (f"<p>{escape(caption)}</p>" if caption else "")
    try:
        png = make()
        width, height = (side // 2 for side in struct.unpack(">II", png[16:24]))  # drawn at twice a page's density
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        image = f'<div class="scroll"><img src="{source}" width="{width}" height="{height}" alt="{escape(alt)}"></div>'
    except Exception as error:  # whatever is wrong with one picture, the reader gets the rest of the page
        width, image = 0, _note([f"{alt} could not be drawn: {str(error) or type(error).__name__}"])
    kind = "card wide" if width > _WIDE else "card"
    return f'<figure class="{kind}">\n<figcaption>{words}</figcaption>\n{image}\n</figure>\n'


def _origin(run: RunFolder) -> str:
    commands = [
        f"<pre><code>{escape(line)}</code></pre>" for line in dict.fromkeys(r.command for r in run.results) if line
    ]
    facts = {
        "Commands" if len(commands) > 1 else "Command": "".join(commands),
        "Seed": _plain(run.recipe.get("seed")),
        "Revision": _plain(run.recipe.get("revision")),
        "Versions": _plain(run.recipe.get("versions")),
        "Machine": "<br>".join(escape(m) for m in dict.fromkeys(r.machine for r in run.results) if m),
        "Measured": escape("".join(_dates(run))),
    }
    lines = "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items() if text)
    if not run.recipe:
        return (f"<dl>{lines}</dl>" if lines else "") + _absent(
            "No recipe.json: how this run was made is not recorded."
        )
    recipe = escape(json.dumps(run.recipe, indent=2, ensure_ascii=False))
    return (
        f"<dl>\n{lines}\n</dl>\n<details><summary>The whole recipe</summary><pre><code>{recipe}</code></pre></details>"
    )


def _plain(value: Any) -> str:
    """A value of free JSON as one escaped line; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return escape(", ".join(f"{name} {item}" for name, item in value.items()))
    return escape(str(value))


def _dates(run: RunFolder) -> list[str]:
    days = sorted({result.date for result in run.results if result.date})
    return [days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"] if days else []
