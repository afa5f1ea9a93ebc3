r"""Text that the fonts of this computer can draw.

Matplotlib's own font knows Latin, Greek and Cyrillic, and draws boxes for most else. Characters that it lacks are taken
from an installed font; those that none has are written as escapes (``\u732b``), and a note says so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from unshuffle._names import escape_character, escape_name

_NO_FONTS = ("last resort", "emoji", "stix", "cm")
"""How a word begins in the names of fonts whose glyphs are boxes, coloured bitmaps or mathematics."""
_PREFERRED = (
    "noto sans",
    "source han sans",
    "wenquanyi",
    "droid sans fallback",
    "ipa",
    "nanum",
    "arial unicode",
    "unifont",
)
_found: dict[str, str | None] = {}
"""The font of each character that the default one lacks; None where no font has it."""
_escaped: set[str] = set()


def caption(name: str, most: int = 18) -> str:
    """The end of a file name as it can be drawn, as wide as ``most`` Latin letters; no escape is cut."""
    words = [_drawn(character) for character in escape_name(name)]
    kept = _that_fit(words[::-1], most)
    return "".join(words) if len(kept) == len(words) else "…" + "".join(kept[::-1])


def beginning(text: str, most: int) -> str:
    """The same of the beginning of any text."""
    words = [_drawn(character) for character in text]
    kept = _that_fit(words, most)
    return "".join(words) if len(kept) == len(words) else "".join(kept) + "…"


def _that_fit(words: Sequence[str], most: int) -> Sequence[str]:
    """All words, or the first ones that leave room for an ellipsis."""
    widths = [sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in word) for word in words]
    if sum(widths) <= most:
        return words
    return [word for word, right in zip(words, accumulate(widths)) if right < most]


def make_readable(figure: Any) -> None:
    """Gives every text of a figure fonts that have its characters, and escapes characters that none has."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        lacking = {c for c in text.get_text() if not _by_default(c)}
        if not lacking:
            continue
        families = sorted({family for c in lacking if (family := _font_of(lacking)[c]) is not None})
        text.set_fontfamily([*text.get_fontfamily(), *families])
        text.set_text("".join(map(_drawn, text.get_text())))


def note() -> str | None:
    """What to say of characters that were escaped since this was asked last; None where there were none."""
    if not _escaped:
        return None
    shown = " ".join(sorted(_escaped)[:8])
    more = f" and {len(_escaped) - 8} more" if len(_escaped) > 8 else ""
    _escaped.clear()
    return (
        f"No installed font has {shown}{more}: pictures show them as escapes. Install a font for that script, such as "
        "one of Noto Sans, to read them."
    )


def _drawn(character: str) -> str:
    """A character, or its escape where no font has it."""
    if _by_default(character) or _font_of({character})[character] is not None:
        return character
    if character.isprintable():
        _escaped.add(character)
    return escape_character(character)


def _by_default(character: str) -> bool:
    return character == "\n" or ord(character) in _charmap(_default())


def _default() -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans")))


@lru_cache(maxsize=4)
def _charmap(path: str) -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(path).get_charmap())


def _font_of(characters: Collection[str]) -> dict[str, str | None]:
    """The font of each character; all installed ones are looked through once for what is new."""
    new = {c for c in characters if c not in _found}
    for family, known in _installed() if new else ():
        here = {c for c in new if ord(c) in known}
        _found.update(dict.fromkeys(here, family))
        new -= here
        if not new:
            break
    _found.update(dict.fromkeys(new))
    return {c: _found[c] for c in characters}


def _installed() -> Iterable[tuple[str, frozenset[int]]]:
    """Names of installed fonts, and the characters that each has; those made for many scripts first."""
    from matplotlib import font_manager, ft2font

    fonts = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    plain = [
        name for name in fonts if not any(name.lower().startswith(w) or f" {w}" in name.lower() for w in _NO_FONTS)
    ]
    for name in sorted(plain, key=lambda name: (not name.lower().startswith(_PREFERRED), name)):
        try:
            font = ft2font.FT2Font(fonts[name])
            known = frozenset(font.get_charmap()) if font.scalable else frozenset()
        except Exception:  # a damaged font is as good as none
            continue
        yield name, known
