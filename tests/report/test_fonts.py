"""Names in any script and of any bytes on pictures: drawn where a font has them, escaped where none has."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from unshuffle.report import fonts
from unshuffle.report.figures import draw
from unshuffle.report.fonts import caption
from unshuffle.report.neighbours import draw_neighbours
from unshuffle.report.sheet import draw_sheet

NAMES = [
    "猫.png", "고양이.png", "😀.png", "\ue000.png", "caf\udce9.png", "a\nb.png", "a\tb.png", "\x1b[31mred.png",
    "-rf.png", "\u202egnp.png", "=1+1.png", "<b>&.png", "$\\frac{$.png", "x" * 250, "猫" * 80, "_hidden", "", "عربى",
    "e\u0301",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(fonts, "_found", {})
    monkeypatch.setattr(fonts, "_escaped", set())


@pytest.fixture
def cat_font(tmp_path, monkeypatch):
    """A font with one character, 猫, that is installed for as long as the test lasts."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "One Cat", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cat.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "cat.ttf")


@pytest.fixture
def no_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "_installed", list)


def ink(png: bytes) -> int:
    return int((np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3] > 0).sum())


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_drawn_without_a_warning(name):
    images, scores = np.full((2, 6, 6), 0.5), np.arange(2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sheet(images, [name, "b.png"], scores)
        draw_neighbours(images, images[:, None], scores[:, None], names=[name] * 2, found_names=[[name]] * 2)
        xy, label = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2
        draw("map", {"xy": xy, "label": label, "names": np.array([name, "dog"])})


def test_a_character_that_no_font_has_is_escaped_and_said_once(no_fonts):
    assert caption("猫.png") == r"\u732b.png"
    assert caption("猫.png") == r"\u732b.png"

    assert "No installed font has 猫: " in (fonts.note() or "")
    assert fonts.note() is None


def test_a_character_that_an_installed_font_has_is_drawn_with_it(cat_font):
    images = np.full((1, 6, 6), 0.5)

    assert caption("猫.png") == "猫.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw_sheet(images, ["猫"], np.zeros(1))
    assert fonts.note() is None
    assert ink(drawn) > ink(draw_sheet(images, [""], np.zeros(1)))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("short.png", "short.png"),
        ("exactly-18-letters", "exactly-18-letters"),
        ("more-than-18-letters.png", "…n-18-letters.png"[-18:]),
        ("a\nb.png", r"a\x0ab.png"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("back\\slash.png", r"back\\slash.png"),
    ],
)
def test_captions_end_as_names_do(name, shown):
    assert caption(name) == (shown if len(name) <= 18 else f"…{name[-17:]}")


def test_a_long_caption_cuts_no_escape(no_fonts):
    assert caption("猫犬花.png") == r"…\u72ac\u82b1.png"
    assert caption("猫犬花鳥.png") == r"…\u82b1\u9ce5.png"


def test_plain_names_are_drawn_as_before():
    """The figure's own fonts are left alone where they have everything."""
    from matplotlib.figure import Figure

    figure = Figure()
    text = figure.text(0, 0, "Größe: 5 µm ↓")
    before = text.get_fontfamily()
    fonts.make_readable(figure)

    assert text.get_fontfamily() == before
    assert text.get_text() == "Größe: 5 µm ↓"
