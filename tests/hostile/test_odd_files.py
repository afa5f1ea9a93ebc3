"""Damaged files of every kind: an item of the right shape, or a reason in one line; never an error, never a warning.

``UNSHUFFLE_LONG=1`` tries many more.
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import Clips, Images, Series
from unshuffle.data.audio import Sounds
from unshuffle.data.loaders import Unreadable

TRIES = 500 if os.environ.get("UNSHUFFLE_LONG") else 20
RNG = np.random.default_rng(0)
RGBA = Image.fromarray(RNG.integers(0, 256, (40, 40, 4), dtype=np.uint8))


def image(kind: str, mode: str, **options) -> bytes:
    buffer = io.BytesIO()
    wide = Image.fromarray(RNG.integers(0, 65536, (40, 40)).astype(np.uint16))
    (wide if mode == "I;16" else RGBA.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    buffer = io.BytesIO()
    first, *rest = (Image.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)) for _ in range(6))
    first.save(buffer, kind, save_all=True, append_images=rest, duration=40)
    return buffer.getvalue()


def sound(kind: str, subtype: str | None = None) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    buffer = io.BytesIO()
    soundfile.write(buffer, RNG.normal(size=(4000, 2)) * 0.1, 8000, format=kind, subtype=subtype)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, RNG.normal(size=(2, 50)))
    return buffer.getvalue()


IMAGES, SOUNDS = Images(size=16), Sounds(rate=8000, seconds=0.25)
CLIPS, SERIES = Clips(frames=3, size=16), Series(shape=(2, 1, 50))
KINDS = {
    "png": (lambda: image("PNG", "RGBA"), IMAGES),
    "gray.png": (lambda: image("PNG", "LA"), IMAGES),
    "palette.png": (lambda: image("PNG", "P", transparency=bytes(range(256))), IMAGES),
    "wide.png": (lambda: image("PNG", "I;16", transparency=70), IMAGES),
    "wide.tiff": (lambda: image("TIFF", "I;16"), IMAGES),
    "rgba.tiff": (lambda: image("TIFF", "RGBA"), IMAGES),
    "webp": (lambda: image("WEBP", "RGBA"), IMAGES),
    "jp2": (lambda: image("JPEG2000", "RGBA"), IMAGES),
    "clip.gif": (lambda: animation("GIF"), CLIPS),
    "clip.webp": (lambda: animation("WEBP"), CLIPS),
    "clip.apng": (lambda: animation("PNG"), CLIPS),
    "wav": (lambda: sound("WAV"), SOUNDS),
    "rf64": (lambda: sound("RF64"), SOUNDS),
    "au": (lambda: sound("AU"), SOUNDS),
    "aiff": (lambda: sound("AIFF"), SOUNDS),
    "caf": (lambda: sound("CAF"), SOUNDS),
    "npy": (array, SERIES),
}


def spoilt(content: bytes, chance: np.random.Generator) -> bytes:
    """The file with its end cut off, bytes of its header or of all of it changed, or a part of it missing."""
    damaged = bytearray(content)
    way = chance.integers(4)
    if way == 0:
        del damaged[chance.integers(1, len(damaged)) :]
    elif way == 1:
        start = chance.integers(len(damaged))
        del damaged[start : start + chance.integers(1, 50)]
    else:
        for _ in range(chance.choice([1, 3, 10])):
            damaged[chance.integers(min(len(damaged), 80 if way == 2 else len(damaged)))] = chance.integers(256)
    return bytes(damaged)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_an_item_or_a_reason(kind, tmp_path, capfd):
    make, source = KINDS[kind]
    content, chance = make(), np.random.default_rng(list(kind.encode()))
    path = Path(tmp_path, f"a.{kind.rpartition('.')[2]}")
    path.write_bytes(content)
    data = source.open(tmp_path)
    assert not isinstance(data[0], Unreadable), data[0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(TRIES):
            path.write_bytes(spoilt(content, chance))
            sample = data[0]
            if isinstance(sample, Unreadable):
                assert sample.reason
                assert "\n" not in sample.reason
                assert str(tmp_path) not in sample.reason
            else:
                assert tuple(sample[0].shape) == source.item_shape
                assert torch.isfinite(sample[0].float()).all()
    assert "Traceback" not in capfd.readouterr().err
