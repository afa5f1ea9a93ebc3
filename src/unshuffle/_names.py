r"""File names as text that every table, terminal and picture can hold, and the way back.

A file name is any sequence of bytes. Python keeps bytes that are not UTF-8 as lone surrogates, which cannot be encoded;
newlines, control characters and marks of writing direction break lines and mislead readers. All of these are written as
backslash escapes, and so is the backslash itself, so that no two names are written the same:

``\xe9`` is that byte (below ``\x80``: that character), ``\u202e`` that character, ``\\`` a backslash.

Other names, in any script, are left as they are.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_BYTE = 0xDC00
"""What Python adds to a byte that is not UTF-8 (PEP 383)."""


def escape_name(name: str) -> str:
    r"""A file name as printable text; :func:`unescape_name` gives the name back.

    Example:
        >>> escape_name("caf\udce9\n.png"), escape_name("café.png")
        ('caf\\xe9\\x0a.png', 'café.png')
    """
    return _UNSAFE.sub(_escape, name)


def unescape_name(text: str) -> str:
    r"""The file name that :func:`escape_name` wrote as ``text``; ``os.fsencode`` of it gives the bytes on the disk.

    Example:
        >>> unescape_name(r"caf\xe9.png") == "caf\udce9.png"
        True
    """
    return _ESCAPED.sub(_unescape, text)


def encodable(text: str) -> str:
    """Any text with lone surrogates alone escaped, so that it can be encoded as UTF-8."""
    return _SURROGATE.sub(_escape, text)


def escape_character(character: str) -> str:
    r"""One character as it is escaped: ``\x0a``, ``\u732b``, ``\U0001f600``."""
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if _BYTE + 0x80 <= code <= _BYTE + 0xFF:
        return f"\\x{code - _BYTE:02x}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _escape(match: re.Match[str]) -> str:
    return escape_character(match[0])


def _unescape(match: re.Match[str]) -> str:
    if match[1] is not None:
        byte = int(match[1], 16)
        return chr(byte if byte < 0x80 else _BYTE + byte)
    return "\\" if match[2] is None else chr(int(match[2], 16))
