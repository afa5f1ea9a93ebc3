"""The page holds everything, needs nothing, and no text of the folder can act in it."""

from __future__ import annotations

import base64
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from unshuffle.report import write_report
from unshuffle.types import Figure


class Page(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(folder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_a_full_run_shows_its_tables_curves_and_pictures(full_page):
    page = Page(full_page.read_text(encoding="utf-8"))

    # Two tasks by two numbers of labels; loss and partial_ranks as curves (seconds is no curve); four pictures.
    assert len(page.all("table")) == 2
    assert len(page.all("img")) == 2 + 2 + 4
    for words in (
        "Put in order",
        "All of it.",
        "The puzzle",
        "What the map shows.",
        "unshuffle demo",
        "abc123",
        "2 cores",
    ):
        assert words in page.words
    assert "could not" not in page.words


def test_every_picture_is_inside_the_page_and_described(full_page):
    for image in Page(full_page.read_text(encoding="utf-8")).all("img"):
        head, _, data = (image["src"] or "").partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert image["alt"]
        assert int(image["width"] or 0) > 0


def test_nothing_is_fetched_and_nothing_runs(full_page):
    text = full_page.read_text(encoding="utf-8")
    page = Page(text)

    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/png", "#"))
    assert "default-src 'none'" in text


def test_the_page_is_made_for_readers_and_phones(full_page):
    page = Page(full_page.read_text(encoding="utf-8"))

    assert page.all("html")[0]["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in page.words
    links = {link["href"] for link in page.all("a")}
    assert links == {f"#{section['id']}" for section in page.all("section")}


EVIL = "\"' onerror=alert(1) <img src=x onerror=alert(1)></title></style></pre><script>alert(1)</script>"


def test_no_text_of_the_folder_becomes_html(full_run, result, arrays, write_lines):
    texts = dict.fromkeys(("task", "metric", "data", "split", "layer", "recipe", "command", "machine", "date"), EVIL)
    kinds = [Figure(kind, f"{kind}.npz", EVIL, EVIL) for kind in arrays]
    write_lines(full_run, [result._replace(**texts), *kinds, Figure(EVIL, EVIL, EVIL, EVIL)])
    np.savez(full_run / "figures" / "map.npz", **{**arrays["map"], "names": np.array([EVIL] * 4)})
    evil_key = {EVIL: EVIL}
    (full_run / "recipe.json").write_text(
        json.dumps(
            {"title": EVIL, "summary": EVIL, "seed": EVIL, "revision": EVIL, "versions": evil_key, "recipe": evil_key}
        )
    )
    (full_run / "metrics.csv").write_text(f'step,split,"{EVIL.replace(chr(34), chr(34) * 2)}"\n1,<b>,2\n')

    page = read(full_run)

    assert not page.all("script")
    assert not page.all("b") or all(not attributes for attributes in page.all("b"))
    assert all((image["src"] or "").startswith("data:") and "onerror" not in image for image in page.all("img"))
    assert len(page.all("style")) == len(page.all("title")) == len(page.all("main")) == 1
    assert page.words.count("alert(1)</script>") > 10


def test_half_a_character_does_not_stop_the_page(tmp_path):
    (tmp_path / "recipe.json").write_text('{"title": "half \\ud800 a pair"}')

    assert r"half \ud800 a pair" in read(tmp_path).words


@pytest.mark.parametrize("spoil", ["missing", "rubbish", "other arrays", "unknown kind", "escape"])
def test_a_picture_that_cannot_be_drawn_is_a_note_with_its_name(full_run, write_lines, spoil):
    figure = Figure("saliency" if spoil == "unknown kind" else "map", "odd.npz", "The odd one", "")
    path = full_run / "figures" / "odd.npz"
    if spoil == "rubbish":
        path.write_bytes(b"PK\x03\x04 not a zip")
    elif spoil != "missing":
        np.savez(path, x=np.zeros(3))
    write_lines(full_run, [figure._replace(file="../odd.npz") if spoil == "escape" else figure])

    page = read(full_run)

    assert f"The odd one ({figure.kind}) could not be drawn" in page.words
    assert len(page.all("img")) == 2


def test_without_matplotlib_the_tables_are_there_and_the_remedy_is_named(full_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)

    page = read(full_run)

    assert len(page.all("table")) == 2
    assert page.words.count("pip install 'unshuffle[train]'") == 8


@pytest.mark.parametrize("only", ["recipe.json", "results.jsonl", "metrics.csv"])
def test_what_is_absent_is_said_in_a_sentence(tmp_path, only):
    (tmp_path / only).write_text("{}" if only == "recipe.json" else "")

    page = read(tmp_path)

    for sentence in ("No results yet", "No learning curves", "No pictures", "No recipe.json"):
        assert sentence in page.words
    assert tmp_path.name in page.words


def test_what_was_skipped_is_said_on_the_page(full_run):
    with open(full_run / "results.jsonl", "a") as file:
        file.write('{"record": "res')

    assert "1 line of results.jsonl could not be read" in read(full_run).words


def test_commands_are_listed_once_each(tmp_path, result, write_lines):
    write_lines(tmp_path, [result, result, result._replace(command="unshuffle eval", date="2026-05-03")])

    page = read(tmp_path)

    assert page.words.count("unshuffle demo") == page.words.count("unshuffle eval") == 1
    assert "2026-05-01 to 2026-05-03" in page.words


def test_writing_twice_gives_the_same_page_and_leaves_nothing_behind(full_run):
    before = {path.name for path in full_run.iterdir()}
    first = write_report(full_run).read_bytes()

    assert write_report(full_run).read_bytes() == first
    assert {path.name for path in full_run.iterdir()} == before | {"report.html"}


def test_a_failure_leaves_the_old_page_whole(full_run, monkeypatch):
    path = write_report(full_run)
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        write_report(full_run)

    assert path.read_bytes() == old
    assert not list(full_run.glob(".report*"))


@pytest.mark.errors
def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a run's folder"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())
