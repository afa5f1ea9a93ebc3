"""Opens a report in headless Chromium and checks that a reader would see it.

``python tests/browser.py PAGE --images 4 --tables 2`` fails unless the page shows at least so many decoded pictures
and filled tables, runs no script and fetches nothing. ``--screenshot OUT.png`` keeps a picture of the page.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_SECONDS = 600

# Written into a copy of the page: counts what the browser made of it, and leaves the answer in the document.
_PROBE = """<script>addEventListener("load", () => {
  const found = {
    images: [...document.images].map(i => i.naturalWidth),
    tables: [...document.querySelectorAll("table")].map(t => t.rows.length),
    alts: [...document.images].filter(i => i.alt).length,
    scripts: document.scripts.length - 1,
    fetched: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  document.body.setAttribute("data-probe", JSON.stringify(found));
});</script>"""


def find_browser() -> str | None:
    """Returns the path of an installed Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def check_page(path: Path, *, min_images: int, min_tables: int) -> dict:
    """Opens a page and asserts what a reader needs: pictures that decode, tables with rows, and nothing else at work.

    Args:
        path: the page.
        min_images: how many pictures it must show at least.
        min_tables: how many tables it must show at least, each with a head and one row or more.

    Returns:
        ``images``: natural widths in pixels; ``tables``: numbers of rows, heads included; ``alts``: how many pictures
        have a description; ``scripts``, ``fetched`` and ``overflow`` (pixels wider than the window), all empty or zero.

    Raises:
        AssertionError: the page falls short; the message holds what was found.
    """
    found = _probe(Path(path))
    assert len(found["images"]) >= min_images, f"{path}: {min_images} pictures expected; found {found}"
    assert len(found["tables"]) >= min_tables, f"{path}: {min_tables} tables expected; found {found}"
    assert all(found["images"]), f"{path}: a picture does not decode; found {found}"
    assert all(rows > 1 for rows in found["tables"]), f"{path}: a table has no rows; found {found}"
    assert found["alts"] == len(found["images"]), f"{path}: a picture has no description; found {found}"
    assert not found["scripts"], f"{path}: a report runs no script; found {found}"
    assert not found["fetched"], f"{path}: a report fetches nothing; found {found}"
    assert found["overflow"] <= 0, f"{path}: the page is wider than the window; found {found}"
    return found


def screenshot(path: Path, out: Path, *, width: int = 1200, height: int = 1600, dark: bool = False) -> Path:
    """Writes a PNG of the top of a page, in a window of the given size."""
    mode = ["--blink-settings=preferredColorScheme=0"] if dark else []
    _run(
        [*mode, f"--window-size={width},{height}", f"--screenshot={Path(out).resolve()}", Path(path).resolve().as_uri()]
    )
    assert Path(out).is_file(), f"{path}: the browser left no screenshot"
    return Path(out)


def _probe(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    # The page's own policy forbids scripts, ours included; only the copy goes without.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert "</head>" in text, f"{path}: no HTML head"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text.replace("</head>", f"{_PROBE}</head>", 1), encoding="utf-8")
        reader = _ProbeReader()
        reader.feed(_run(["--window-size=500,900", "--dump-dom", copy.as_uri()]))
    assert reader.answer is not None, f"{path}: the browser did not finish loading the page"
    return json.loads(reader.answer)


class _ProbeReader(HTMLParser):
    answer: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self.answer = dict(attrs).get("data-probe")


def _run(arguments: list[str]) -> str:
    browser = find_browser()
    assert browser, f"no browser: install one of {', '.join(_NAMES)}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *_FLAGS, f"--user-data-dir={profile}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, f"the browser ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Checks a report in headless Chromium.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--images", type=int, default=1, help="fewest pictures")
    parser.add_argument("--tables", type=int, default=1, help="fewest tables")
    parser.add_argument("--screenshot", type=Path, help="where to keep a picture of the page")
    options = parser.parse_args()
    found = check_page(options.page, min_images=options.images, min_tables=options.tables)
    if options.screenshot:
        screenshot(options.page, options.screenshot)
    print(f"{options.page}: {len(found['images'])} pictures and {len(found['tables'])} tables, all shown")


if __name__ == "__main__":
    main()
