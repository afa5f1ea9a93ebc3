"""Images of every mode against arithmetic of our own: transparency on a background, wide integers by their range."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unshuffle.data import Images
from unshuffle.data.image_files import SUFFIXES
from unshuffle.data.loaders import Unreadable, as_item
from unshuffle.data.mosaic import Tiles
from unshuffle.data.retrieval import Pictures
from unshuffle.evals.reassemble import read_puzzle

pytestmark = pytest.mark.untyped

N = 16
RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (N, N, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (N, N), dtype=np.uint8)
ALPHA = RNG.choice(np.array([0, 1, 100, 128, 254, 255], np.uint8), (N, N))
SAME = Images(size=N)


def saved(image: Image.Image, kind: str, **options) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return io.BytesIO(buffer.getvalue())


def png(rows: np.ndarray, depth: int, color: int, *extra: tuple[bytes, bytes], after: tuple = ()) -> io.BytesIO:
    """A PNG by its own specification: rows of packed bytes, and chunks before and after the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", N, N, depth, color, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    chunks = [head, *(chunk(*one) for one in extra), pixels, *(chunk(*one) for one in after), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def over(colors: np.ndarray, alpha: np.ndarray, background: int) -> torch.Tensor:
    """What an image looks like on a background, (3, N, N)."""
    colors = np.broadcast_to(colors[..., None], (N, N, 3)) if colors.ndim == 2 else colors
    weight = alpha[..., None].astype(float) / 255
    return torch.from_numpy(np.round(colors * weight + background * (1 - weight))).permute(2, 0, 1)


RGBA = Image.fromarray(np.dstack([COLORS, ALPHA]))
LA = Image.fromarray(np.dstack([GRAY, ALPHA]))
PALETTE = Image.fromarray(COLORS).quantize(64)
PALETTE_COLORS = np.array(PALETTE.convert("RGB"))
PALETTE_ALPHA = RNG.integers(0, 256, 256).astype(np.uint8)

TRANSPARENT = {
    "RGBA in PNG": (lambda: saved(RGBA, "PNG"), COLORS, ALPHA),
    "RGBA in TIFF": (lambda: saved(RGBA, "TIFF"), COLORS, ALPHA),
    "RGBA in WebP": (lambda: saved(RGBA, "WEBP", lossless=True, exact=True), COLORS, ALPHA),
    "RGBA in JPEG 2000": (lambda: saved(RGBA, "JPEG2000"), COLORS, ALPHA),
    "LA in PNG": (lambda: saved(LA, "PNG"), GRAY, ALPHA),
    "palette with alpha": (
        lambda: saved(PALETTE, "PNG", transparency=PALETTE_ALPHA.tobytes()), PALETTE_COLORS,
        PALETTE_ALPHA[np.array(PALETTE)],
    ),
    "palette with one transparent color": (
        lambda: saved(PALETTE, "GIF", transparency=3), PALETTE_COLORS,
        np.where(np.array(PALETTE) == 3, 0, 255).astype(np.uint8),
    ),
    "RGB with a key": (
        lambda: png(COLORS, 8, 2, (b"tRNS", struct.pack(">HHH", *COLORS[0, 0]))), COLORS,
        np.where((COLORS[0, 0] == COLORS).all(-1), 0, 255),
    ),
    "gray with a key": (
        lambda: png(GRAY, 8, 0, (b"tRNS", struct.pack(">H", GRAY[0, 0]))), GRAY, np.where(GRAY[0, 0] == GRAY, 0, 255),
    ),
}  # fmt: skip


@pytest.mark.parametrize("background", [0, 255, 77])
@pytest.mark.parametrize("case", TRANSPARENT)
def test_transparent_pixels_show_the_background(case, background):
    file, colors, alpha = TRANSPARENT[case]

    item = Images(size=N, background=background).decode(file())

    assert (item - over(colors, alpha, background)).abs().max() <= 1  # rounding


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_key_of_gray_levels_of_few_bits_is_in_their_own_units(depth):
    levels = RNG.integers(0, 2**depth, (N, N))
    bits = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    file = png(np.packbits(bits.reshape(N, -1).astype(np.uint8), axis=1), depth, 0, (b"tRNS", struct.pack(">H", 1)))
    shown = levels * (255 // (2**depth - 1))

    item = Images(size=N, background=9).decode(file)

    assert torch.equal(item.double(), over(shown, np.where(levels == 1, 0, 255), 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_key_of_16_bit_pixels_is_compared_in_all_bits(channels):
    """A pixel that differs from the key in its lower byte only is not transparent."""
    values = np.full((N, N, channels), 0x8055, ">u2")
    values[4:8] = 0x8056
    values[8:] = 0xFFFF
    key = (b"tRNS", struct.pack(">H", 0x8056) * channels)

    item = Images(size=N, background=9).decode(png(values.reshape(N, -1), 16, 0 if channels == 1 else 2, key))

    assert [item[:, row].unique().tolist() for row in (0, 5, 12)] == [[0x80], [9], [0xFF]]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_transparent_16_bit_image_is_turned_with_its_key(orientation):
    values = np.full((N, N, 3), 0x8055, ">u2")
    values[:4] = 0x8056
    exif = Image.Exif()
    exif[0x0112] = orientation
    extra = (b"tRNS", struct.pack(">HHH", *[0x8056] * 3)), (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))

    item = Images(size=N, background=9).decode(png(values.reshape(N, -1), 16, 2, *extra))

    marked = {1: item[:, :4], 3: item[:, -4:], 6: item[:, :, -4:], 8: item[:, :, :4]}[orientation]
    assert marked.unique().tolist() == [9]
    assert (item == 9).sum() == 3 * 4 * N


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P", "1", "CMYK", "I;16"])
def test_opaque_images_are_the_same_on_any_background(mode):
    image = Image.fromarray(GRAY).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(GRAY.astype(np.uint16) * 257) if mode == "I;16" else image

    items = [Images(size=N, background=level).prepare(image.copy()) for level in (0, 255)]

    assert torch.equal(*items)
    if mode not in ("1", "P", "CMYK"):
        assert torch.equal(items[0], torch.from_numpy(GRAY).expand(3, N, N))


def test_every_door_shows_the_same_background(tmp_path):
    """A file, a PIL image, a picture of retrieval, a puzzle, and the data sets of one's own."""
    RGBA.save(tmp_path / "a.png")
    source = Images(size=N, background=255)
    file = source.decode(io.BytesIO((tmp_path / "a.png").read_bytes()))
    puzzle = read_puzzle([tmp_path / "a.png"], Tiles(1, 1), source)

    assert torch.equal(source.as_item(RGBA), file)
    for longest in (None, N):
        found = Pictures(tmp_path, ("a",), source, longest=longest)[0]
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, file)
    assert torch.equal(puzzle.tiles[0], file)
    assert torch.equal(as_item(RGBA), file)
    assert torch.equal(as_item(LA).expand(3, -1, -1), source.prepare(LA))


# ------------------------------------------------------------------------------------------------ wide integers, floats


def refusal(file: io.BytesIO, source: Images = SAME) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        source.decode(file)
    return str(error.value)


WIDE = {
    "32-bit counts": (np.linspace(10**5, 2 * 10**9, N * N).astype(np.int32), (10**5, 2 * 10**9)),
    "negative numbers": (np.linspace(-4000, -1, N * N).astype(np.int32), (-4000, -1)),
    "floats": (np.linspace(-2, 3, N * N).astype(np.float32), (-2, 3)),
    "12 bits in 16": (np.linspace(0, 4095, N * N).astype(np.uint16), (0, 4095)),
}


@pytest.mark.parametrize("case", WIDE)
def test_numbers_of_unknown_range_are_refused_and_read_with_a_range(case):
    values, (low, high) = WIDE[case]
    content = saved(Image.fromarray(values.reshape(N, N)), "TIFF").getvalue()

    assert "--source.range" in refusal(io.BytesIO(content))
    item = Images(size=N, range=(low, high)).decode(io.BytesIO(content))
    expected = np.round((values.astype(float) - low) / (high - low) * 255).reshape(N, N)
    assert (item[0] - torch.from_numpy(expected)).abs().max() <= 1


def tiff(values: np.ndarray, sample_format: int) -> io.BytesIO:
    """A TIFF of single-channel numbers by its own specification, little-endian and uncompressed."""
    pixels, kind = values.tobytes(), 8 * values.itemsize
    tags = [(256, N), (257, N), (258, kind), (259, 1), (262, 1), (273, 8), (277, 1), (278, N), (279, len(pixels)),
            (339, sample_format)]  # fmt: skip
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return io.BytesIO(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + table + b"\0\0\0\0")


@pytest.mark.parametrize(
    ("kind", "sample_format", "low", "high"),
    [("<u4", 1, 0, 2**32 - 1), ("<i4", 2, -(2**31), 2**31 - 1), ("<i2", 2, -1000, 400), ("<u2", 1, 0, 65535)],
)
def test_the_sign_of_integers_is_that_of_the_file(kind, sample_format, low, high):
    values = np.linspace(low, high, N * N).astype(kind).reshape(N, N)

    item = Images(size=N, range=(low, high)).decode(tiff(values, sample_format))

    expected = torch.from_numpy(np.linspace(0, 255, N * N).reshape(N, N))
    assert (item[0] - expected).abs().max() <= 1


def test_16_bits_that_use_their_range_are_divided_by_256_and_8_bits_ignore_a_range():
    values = np.linspace(0, 65535, N * N).astype(np.uint16).reshape(N, N)

    assert torch.equal(SAME.decode(saved(Image.fromarray(values), "PNG"))[0], torch.from_numpy(values // 256).byte())
    gray = Images(size=N, range=(0, 4095)).decode(saved(Image.fromarray(GRAY), "PNG"))
    assert torch.equal(gray[0], torch.from_numpy(GRAY))


def test_black_of_16_bits_is_black_and_dark_images_are_read_on_request():
    black = saved(Image.fromarray(np.zeros((N, N), np.uint16)), "PNG")
    dark = saved(Image.fromarray(np.full((N, N), 2570, np.uint16)), "PNG")

    assert SAME.decode(black).max() == 0
    assert Images(size=N, range=(0, 65535)).decode(dark).unique().tolist() == [10]


def test_nan_and_16_bit_colors_are_refused_where_a_range_is_given():
    floats = np.full((N, N), 0.5, np.float32)
    floats[3, 3] = np.nan
    source = Images(size=N, range=(0, 1))

    assert "NaN" in refusal(saved(Image.fromarray(floats), "TIFF"), source)
    assert "16 bits a channel" in refusal(png(np.full((N, 3 * N), 500, ">u2"), 16, 2), source)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("field", "value"),
    [("background", -1), ("background", 256), ("range", (1.0, 1.0)), ("range", (2.0, 1.0)),
     ("range", (0.0, float("inf"))), ("range", (float("nan"), 1.0)), ("max_pixels", 0)],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Images(**{field: value})


# -------------------------------------------------------------------------------------------------- formats and limits

ISO = b"\0\0\0\x18ftyp%s\0\0\0\0mif1%s"
FOREIGN = {
    ".heic": (ISO % (b"heic", b"heic"), "HEIC"),
    ".jxl": (b"\xff\x0a" + bytes(40), "JPEG XL"),
    ".jpg": (ISO % (b"heic", b"heic"), "HEIC"),  # as telephones rename them
}


@pytest.mark.parametrize("suffix", FOREIGN)
def test_images_without_a_decoder_are_found_and_named(suffix, tmp_path):
    content, name = FOREIGN[suffix]
    Path(tmp_path, f"a{suffix}").write_bytes(content)

    sample = SAME.open(tmp_path)[0]

    assert isinstance(sample, Unreadable)
    assert name in sample.reason
    assert {".heic", ".heif", ".jxl", ".avif", ".jp2", ".jfif", ".jpe"} <= set(SUFFIXES)


def test_large_images_are_allowed_by_the_option_that_the_refusal_names(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = saved(Image.fromarray(COLORS), "PNG").getvalue()

    assert "--source.max-pixels" in refusal(io.BytesIO(content))
    assert "--source.max-pixels" in refusal(io.BytesIO(content), Images(size=N, max_pixels=255))
    item = Images(size=N, max_pixels=N * N).decode(io.BytesIO(content))
    assert torch.equal(item, torch.from_numpy(COLORS).permute(2, 0, 1))
    assert Image.MAX_IMAGE_PIXELS == 100


LONG = zlib.compress(b"x" * 3_000_000)


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize(
    "chunk",
    [(b"zTXt", b"a\0\0" + LONG), (b"iTXt", b"a\0\1\0\0\0" + LONG), (b"iCCP", b"a\0\0" + LONG),
     (b"tEXt", b"a\0" + b"x" * 70_000_000)], ids=lambda chunk: chunk[0].decode(),
)  # fmt: skip
def test_long_text_in_a_png_does_not_hide_its_pixels(chunk, after):
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    file = png(COLORS, 8, 2, turned, *([] if after else [chunk]), after=(chunk,) if after else ())

    item = SAME.decode(file)

    assert torch.equal(item, torch.from_numpy(COLORS[::-1, ::-1].copy()).permute(2, 0, 1))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read(kind):
    frames = [Image.new("RGB", (N, N), color) for color in ("red", "blue")]

    item = SAME.decode(
        saved(frames[0], kind, save_all=True, append_images=frames[1:], **{"WEBP": {"lossless": True}}.get(kind, {}))
    )

    assert item[:, 8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La", "PA", "I;16B", "I;16L"])
def test_every_other_mode_of_pillow_is_converted_to_the_colors_it_means(mode):
    gray = Image.fromarray(GRAY)
    if mode.startswith("I;16"):
        image = Image.frombytes(mode, (N, N), (GRAY.astype(">u2" if mode.endswith("B") else "<u2") * 257).tobytes())
    else:
        through = {"LAB": "RGB", "HSV": "RGB", "La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, "RGB")
        image = lab(gray) if mode == "LAB" else gray.convert(through).convert(mode)

    item = SAME.prepare(image)

    assert (item.float() - torch.from_numpy(GRAY).float()).abs().max() <= 4


def lab(gray: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.applyTransform(gray.convert("RGB"), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert converted is not None
    return converted
